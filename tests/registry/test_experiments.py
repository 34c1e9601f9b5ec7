"""What experiments and the log of inferences keep of studies whose model refuses, fails, or whose patient changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from daemon.audit import AuditWriter, Kind
from daemon.database import schema as t
from daemon.engine.tasks import STEPS
from daemon.registry.experiments import ExperimentKind, start
from daemon.registry.log import open_answer
from runtime import BackendFailure, ModelPackage
from runtime.inference import InferenceResult
from runtime.verdict import Verdict
from tests.registry.test_versions import (  # noqa: F401 - fixtures
    MODEL,
    STUDIES,
    WITH_ANY_DATABASE,
    act,
    bundled,
    console,
    newer,
    results,
)
from tests.steps.conftest import make  # noqa: F401 - a fixture
from tests.steps.corrections import B, of, settle
from tests.steps.installation import Installation, another, image, paused_after, records
from tests.steps.test_volumes import Open, slices, volumes  # noqa: F401 - a fixture


def answers_with(
    installation: Installation, version: str, change: Callable[[InferenceResult], InferenceResult]
) -> None:
    """What a version answers from now on."""
    real = installation.model.infer

    def infer(model: str, inputs: Any, *, version: str, **rest: Any) -> InferenceResult:
        answer = real(model, inputs, version=version, **rest)
        return change(answer) if version == asked else answer

    asked = version
    installation.model.infer = infer  # type: ignore[method-assign]


def fails(_answer: InferenceResult) -> InferenceResult:
    raise BackendFailure("it is broken")


def refuses(answer: InferenceResult) -> InferenceResult:
    return replace(answer, gate=(Verdict.UNLIKE,))


def send_studies(installation: Installation) -> None:
    for number in range(1, STUDIES + 1):
        installation.send(image(number))
    installation.work()


def shown(installation: Installation) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = installation.ask("models.experiment-show", model=MODEL)
    return answer, {measure["measure"]: measure for measure in answer["measures"]}


def logged(installation: Installation) -> list[sa.Row[Any]]:
    with installation.database.read() as connection:
        return list(connection.execute(sa.select(t.inference)).all())


# What counts


@WITH_ANY_DATABASE
def test_what_a_gate_refuses_is_no_finding_of_nothing(console: Installation, bundled: ModelPackage):  # noqa: F811
    console.model.scores |= {bundled.version: [1.0, 0.0, 0.0]}
    answers_with(console, "9.0.0", refuses)
    console.ask("models.experiment-start", kind="shadow", model=MODEL, version="9.0.0", share=1.0)
    send_studies(console)
    answer, measures = shown(console)
    refused = measures["not analysable"]
    assert (refused["control"]["hits"], refused["challenger"]["hits"]) == (0, STUDIES)
    assert refused["difference"]["p_value"] == pytest.approx(2 / 2**STUDIES)
    assert measures["present: Normal"]["challenger"]["total"] == 0
    assert answer["agreement"]["total"] == 0, "nothing was said twice that could agree"


@WITH_ANY_DATABASE
def test_a_challenger_that_fails_on_its_share_is_seen_to_fail(console: Installation):  # noqa: F811
    answers_with(console, "9.0.0", fails)
    console.ask("models.experiment-start", kind="ab", model=MODEL, version="9.0.0", share=0.5)
    send_studies(console)
    failed_studies = [study for study in console.ask("studies.list") if study["state"] == "failed"]
    assert 0 < len(failed_studies) < STUDIES
    _, measures = shown(console)
    failed = measures["failed"]
    assert (failed["control"]["hits"], failed["control"]["total"]) == (0, STUDIES - len(failed_studies))
    assert failed["challenger"]["hits"] == failed["challenger"]["total"] == len(failed_studies)


@WITH_ANY_DATABASE
def test_a_study_that_failed_at_first_and_was_answered_then_has_not_failed(console: Installation):  # noqa: F811
    real = console.model.infer
    answers_with(console, "9.0.0", fails)
    console.ask("models.experiment-start", kind="ab", model=MODEL, version="9.0.0", share=0.99)
    console.send(image())
    console.work()
    console.model.infer = real  # type: ignore[method-assign]
    (task,) = console.ask("tasks.list", kind="infer", state="dead")
    console.ask("tasks.retry", task=task["id"])
    console.work()
    _, measures = shown(console)
    assert measures["failed"]["challenger"] | {"low": 0, "high": 0} == {
        "hits": 0, "total": 1, "value": 0.0, "low": 0, "high": 0
    }  # fmt: skip


# What is kept


@WITH_ANY_DATABASE
def test_no_number_of_an_answer_lies_in_the_clear(console: Installation):  # noqa: F811
    """A model of one label has one score: whoever reads it knows the finding."""
    console.send(image())
    console.work()
    (row,) = logged(console)
    assert not [value for value in row if isinstance(value, float) and value == pytest.approx(0.7)]
    scores, _ = open_answer(console.node.keys.patient(row.patient_id), row.id, row.sealed_answer)
    assert max(scores.values()) == pytest.approx(0.7)


@WITH_ANY_DATABASE
def test_what_was_found_in_a_volume_is_logged_as_it_is_reported(volumes: Open):  # noqa: F811
    installation = volumes()
    installation.send(*slices())
    installation.work()
    (finding,) = installation.result().outcomes[0].findings
    (row,) = logged(installation)
    scores, present = open_answer(installation.node.keys.patient(row.patient_id), row.id, row.sealed_answer)
    assert scores == {"Lesion": finding.probability}
    assert present == {"Lesion"}


def test_a_shadow_that_answers_while_the_patient_is_corrected_leaves_nothing_about_the_former(
    installation: Installation,
    bundled: ModelPackage,  # noqa: F811
    newer: ModelPackage,  # noqa: F811
):
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    first = image()
    installation.send(first)
    former_tags: set[str] = set()
    corrections = [of(B, first)]

    def correct(answer: InferenceResult) -> InferenceResult:
        if corrections:
            former_tags.update(tag for row in logged(installation) for tag in (row.instance_tag, row.input_tag))
            installation.send(corrections.pop())
            for _ in range(3):
                installation.indexer.pass_once()
        return answer

    answers_with(installation, "9.0.0", correct)
    installation.work()
    settle(installation)
    with installation.database.read() as connection:
        (rightful,) = connection.execute(sa.select(t.study.c.patient_id)).scalars()
    assert {row.patient_id for row in logged(installation)} == {rightful}
    assert len(former_tags) == 2
    assert not former_tags & {tag for row in logged(installation) for tag in (row.instance_tag, row.input_tag)}
    for row in logged(installation):
        open_answer(installation.node.keys.patient(rightful), row.id, row.sealed_answer)


@WITH_ANY_DATABASE
def test_a_pair_is_of_one_revision(console: Installation, bundled: ModelPackage):  # noqa: F811
    """A late image is answered by production at once, and by its shadow later on."""
    console.ask("models.experiment-start", kind="shadow", model=MODEL, version="9.0.0", share=1.0)
    first = image()
    console.model.scores |= {bundled.version: [1.0, 0.0, 0.0], "9.0.0": [1.0, 0.0, 0.0]}
    console.send(first)
    console.work()
    console.model.scores |= {bundled.version: [0.0, 0.0, 1.0], "9.0.0": [0.0, 0.0, 1.0]}
    console.send(another(first))
    console.work(*(kind for kind in STEPS if kind != "shadow"))
    answer, _ = shown(console)
    assert (answer["agreement"]["hits"], answer["agreement"]["total"]) == (1, 1)
    console.work()
    answer, measures = shown(console)
    assert (answer["agreement"]["hits"], answer["agreement"]["total"]) == (1, 1)
    assert measures["present: COVID-19"]["challenger"]["hits"] == 1, "the newest that both have answered"


def test_of_two_people_who_sign_off_at_once_the_later_one_counts(console: Installation):  # noqa: F811
    console.send(image())
    console.work()
    (study,) = console.ask("studies.list")

    def sign(outcome: str) -> Callable[[], object]:
        return lambda: console.ask("models.feedback", study=study["study"], outcome=outcome)

    console.collide(paused_after(AuditWriter, "record", records(Kind.SIGNED_OFF)), sign("right"), sign("wrong"))
    with console.database.read() as connection:
        assert list(connection.execute(sa.select(t.sign_off.c.outcome)).scalars()) == ["wrong"]


@WITH_ANY_DATABASE
def test_of_an_erased_patient_no_shadow_is_asked(console: Installation):  # noqa: F811
    console.ask("models.experiment-start", kind="shadow", model=MODEL, version="9.0.0", share=1.0)
    console.send(image())
    console.work(*(kind for kind in STEPS if kind != "shadow"))
    (row,) = logged(console)
    console.node.keys.destroy_patient(row.patient_id)
    asked: list[InferenceResult] = []
    answers_with(console, "9.0.0", lambda answer: asked.append(answer) or answer)
    console.work()
    assert ([task["state"] for task in console.ask("tasks.list", kind="shadow")], asked) == (["done"], [])
