"""What becomes of the model's answer: refused by the gate, or signed, sealed, and checked again later."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from daemon.attestation import Standing, attest, verify_result
from daemon.audit import SigningKey
from daemon.queue import TaskState
from pipelines.results import StudyResult
from runtime import NoRoute
from runtime.verdict import Verdict
from tests.steps.installation import Installation, image


def verified(installation: Installation) -> dict:
    (study,) = installation.ask("studies.list")
    (row,) = installation.ask("studies.verify", study=study["study"])
    return row


@pytest.fixture
def inferred(installation: Installation) -> Installation:
    installation.send(image())
    installation.work("deidentify", "infer")
    return installation


def test_an_image_that_the_model_was_not_made_for_gets_no_finding_but_a_reason(installation: Installation):
    installation.model.verdict = Verdict.UNLIKE
    installation.send(image())
    installation.work("deidentify", "infer", "report", "deliver")
    (outcome,) = installation.result().outcomes
    assert (outcome.findings, outcome.not_analysable) == ((), Verdict.UNLIKE.sentence)
    for report in (installation.folder / "reports").glob("*.json"):
        assert Verdict.UNLIKE.sentence[1:] in report.read_text(encoding="utf-8")
        assert "probability" not in report.read_text(encoding="utf-8").lower()


def test_a_study_waits_visibly_for_a_model_without_a_route(installation: Installation):
    """The operator reads for each route why it cannot be gone; the study goes on once one can."""
    said = "chest-xray-3class 0.2.0: no route can answer at present: cuda: there is no GPU; cpu float32: it failed"

    def no_route() -> None:
        raise NoRoute(said)

    installation.model.before = no_route
    installation.send(image())
    installation.work("deidentify", "infer")
    (task,) = installation.ask("tasks.list", kind="infer", state=TaskState.READY)
    assert said in task["last_error"]
    installation.model.before = lambda: None
    installation.hurry()
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_a_runtime_that_does_not_judge_gets_no_word(installation: Installation):
    installation.model.verdict = None
    installation.send(image())
    installation.work("deidentify")
    installation.attempt(installation.claim("infer"))
    assert installation.revisions() == ["deidentified"]


def test_a_result_is_signed_and_can_be_checked_later(inferred: Installation):
    row = verified(inferred)
    assert row["standing"] == "valid"
    assert row["model"] == "chest-xray-3class"
    (outcome,) = inferred.result().outcomes
    assert outcome.input_sha256
    assert outcome.output_sha256


@pytest.mark.parametrize("change", ["probability", "model", "output", "time", "signature"])
def test_a_changed_result_is_found_out(inferred: Installation, change: str):
    result = inferred.result()
    (outcome,) = result.outcomes
    attestation = result.attestation
    assert attestation is not None
    finding = replace(outcome.findings[0], probability=0.01)
    changed = {
        "probability": replace(result, outcomes=(replace(outcome, findings=(finding, *outcome.findings[1:])),)),
        "model": replace(result, model=replace(result.model, weights_sha256="0" * 64)),
        "output": replace(result, outcomes=(replace(outcome, output_sha256="0" * 64),)),
        "time": replace(result, attestation=replace(attestation, at="2020-01-01T00:00:00+00:00")),
        "signature": replace(result, attestation=replace(attestation, signature="AAAA")),
    }[change]
    inferred.put_result(changed)
    assert verified(inferred)["standing"] == "wrong"


def test_a_result_of_another_key_is_told_from_a_wrong_one(inferred: Installation, tmp_path):
    other = SigningKey.load_or_create(tmp_path / "other.key")
    result = inferred.result()
    assert result.attestation is not None
    inferred.put_result(attest(result, {}, other, datetime.now(UTC)))
    assert verified(inferred)["standing"] == "other-key"


def test_a_result_from_before_results_were_signed_is_read_and_called_unsigned(inferred: Installation):
    result = inferred.result()
    raw = json.loads(result.to_json())
    del raw["attestation"]
    for outcome in raw["outcomes"]:
        del outcome["output_sha256"]
        outcome["not_analysable"] = None  # as it was written then
    inferred.put_result(StudyResult.from_json(json.dumps(raw).encode()))
    assert verified(inferred)["standing"] == "unsigned"
    assert StudyResult.from_json(result.to_json()) == result
    assert verify_result(result, SigningKey.load_or_create(inferred.node.settings.runtime.result_key_file).public) is (
        Standing.VALID
    )
