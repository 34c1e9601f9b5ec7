"""Which version answers, how that changes, and what a study hears of it, on SQLite and PostgreSQL."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from daemon.control import CommandFailed
from daemon.database import schema as t
from daemon.registry import MOVES, IllegalStage, Stage, assign, move, package_sha256, promote, register, rollback
from daemon.registry.experiments import ExperimentKind, position, start, stop
from daemon.registry.log import open_answer
from daemon.registry.versions import answering, find, locked
from daemon.steps.asking import ask
from daemon.steps.preparing import KeptInputs, Prepared
from pipelines.chest_xray import ChestXray
from pipelines.pipeline import PreparedInput
from runtime import BackendFailure, ModelPackage
from tests.steps.installation import Installation, image

MODEL = "chest-xray-3class"
STUDIES = 8
WITH_ANY_DATABASE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what does not turn on the database; the other tests prove both."""


def version_of(package: ModelPackage, version: str, **changes: Any) -> ModelPackage:
    return package.model_copy(update={"version": version, **changes})


@pytest.fixture
def bundled(installation: Installation) -> ModelPackage:
    """The version in production."""
    (package,) = installation.packages.by_version.values()
    return package


@pytest.fixture
def newer(installation: Installation, bundled: ModelPackage) -> ModelPackage:
    """A second version, which came beside the first."""
    package = version_of(bundled, "9.0.0")
    installation.packages.by_version["9.0.0"] = package  # type: ignore[index]
    enter(installation, bundled, package)
    return package


def enter(installation: Installation, *packages: ModelPackage) -> None:
    with installation.database.write() as connection:
        register(connection, installation.node.audit, packages)


def stages(installation: Installation) -> dict[str, str]:
    with installation.database.read() as connection:
        rows = connection.execute(sa.select(t.model_version).where(t.model_version.c.name == MODEL)).all()
    return {row.version: row.stage for row in rows}


def act(installation: Installation, work: Any, *arguments: Any) -> Any:
    with installation.database.write() as connection:
        return work(connection, installation.node.audit, *arguments, "user:operator")


def answered(installation: Installation) -> list[tuple[str, bool]]:
    """Version and whether it was reported, of each row of the log."""
    query = sa.select(t.model_version.c.version, t.inference.c.reported).join(
        t.inference, t.inference.c.version_id == t.model_version.c.id
    )
    with installation.database.read() as connection:
        return sorted(connection.execute(query).tuples().all())


def results(installation: Installation) -> list[str]:
    with installation.database.read() as connection:
        return list(connection.execute(sa.select(t.result.c.model_version)).scalars())


def test_the_first_version_answers_and_the_next_waits_to_be_promoted(
    installation: Installation, bundled: ModelPackage, newer: ModelPackage
):
    assert stages(installation) == {bundled.version: "production", "9.0.0": "candidate"}
    installation.send(image())
    installation.work()
    assert results(installation) == [bundled.version]


def test_a_promoted_version_answers_the_next_study_without_a_restart_and_a_rollback_undoes_it(
    installation: Installation, bundled: ModelPackage, newer: ModelPackage
):
    act(installation, promote, MODEL, "9.0.0")
    installation.send(image(1))
    installation.work()
    act(installation, rollback, MODEL)
    installation.send(image(2))
    installation.work()
    assert sorted(results(installation)) == sorted([bundled.version, "9.0.0"])
    assert stages(installation) == {bundled.version: "production", "9.0.0": "retired"}
    with pytest.raises(IllegalStage, match="first that was in production"):
        act(installation, rollback, MODEL)


def test_others_are_told_which_version_is_in_production(installation: Installation, newer: ModelPackage):
    act(installation, promote, MODEL, "9.0.0")
    with installation.database.write() as connection:
        connection.execute(sa.insert(t.model_version).values(_retired_row(connection)))
    with installation.database.read() as connection:
        assert answering(connection) == {MODEL: "9.0.0", "all-retired": None, "news2": "1.0.0"}


def _retired_row(connection: sa.Connection) -> dict[str, Any]:
    row = connection.execute(sa.select(t.model_version).where(t.model_version.c.stage == Stage.RETIRED)).one()
    return row._asdict() | {"id": "another", "name": "all-retired", "replaced_id": None}


def test_an_answer_of_a_version_that_was_replaced_meanwhile_is_not_reported(
    installation: Installation, newer: ModelPackage
):
    installation.meanwhile("infer", lambda: act(installation, promote, MODEL, "9.0.0"))
    installation.send(image())
    installation.work()
    installation.hurry()
    installation.work()
    assert results(installation) == ["9.0.0"]
    assert answered(installation) == [("9.0.0", True)]


@WITH_ANY_DATABASE
def test_an_upgrade_keeps_serving(installation: Installation, bundled: ModelPackage):
    enter(installation, version_of(bundled, "9.0.0"))
    assert stages(installation) == {bundled.version: "retired", "9.0.0": "production"}
    enter(installation, bundled)
    assert stages(installation) == {bundled.version: "production", "9.0.0": "retired"}, "and so does a downgrade"


def test_no_upgrade_brings_back_what_a_person_retired(
    installation: Installation, bundled: ModelPackage, newer: ModelPackage
):
    act(installation, promote, MODEL, "9.0.0")
    enter(installation, bundled)
    assert stages(installation)["9.0.0"] == "production"
    installation.packages.by_version.pop("9.0.0")  # type: ignore[attr-defined]
    installation.send(image())
    installation.work("deidentify")
    installation.attempt(installation.claim("infer"))
    assert installation.revisions() == ["deidentified"], "it waits"
    (task,) = installation.ask("tasks.list", kind="infer")
    assert "is not among runtime.packages" in task["last_error"]


@WITH_ANY_DATABASE
def test_other_content_under_a_known_version_answers_nothing(installation: Installation, bundled: ModelPackage):
    changed = version_of(bundled, bundled.version, intended_use="Something else.")
    assert package_sha256(changed) != package_sha256(bundled)
    enter(installation, changed)
    installation.packages.by_version[bundled.version] = changed  # type: ignore[index]
    installation.send(image())
    installation.work("deidentify")
    installation.attempt(installation.claim("infer"))
    assert results(installation) == []
    assert "not the one that was registered" in installation.ask("tasks.list", kind="infer")[0]["last_error"]


def test_only_the_listed_moves_are_allowed(installation: Installation, newer: ModelPackage):
    with installation.database.write() as connection:
        connection.execute(sa.delete(t.model_version).where(t.model_version.c.version != "9.0.0"))
        for before, after in itertools.product(Stage, Stage):
            connection.execute(sa.update(t.model_version).values(stage=before))
            version = find(locked(connection, MODEL), MODEL, "9.0.0")
            if before in MOVES[after]:
                move(connection, installation.node.audit, version, after, "engine")
            else:
                with pytest.raises(IllegalStage):
                    move(connection, installation.node.audit, version, after, "engine")
            now = find(locked(connection, MODEL), MODEL, "9.0.0").stage
            assert now is (after if before in MOVES[after] else before)


def test_the_database_itself_allows_one_version_in_production(installation: Installation, newer: ModelPackage):
    with pytest.raises(sa.exc.IntegrityError), installation.database.write() as connection:
        connection.execute(sa.update(t.model_version).values(stage=Stage.PRODUCTION))


def test_of_two_promotions_at_once_one_comes_after_the_other(
    installation: Installation, bundled: ModelPackage, newer: ModelPackage
):
    enter(installation, bundled, newer, version_of(bundled, "9.1.0"))
    ready = threading.Barrier(2)

    def one(version: str) -> None:
        ready.wait()
        installation.database.retrying(
            lambda connection: promote(connection, installation.node.audit, MODEL, version, "user:operator")
        )

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(one, version) for version in ("9.0.0", "9.1.0")]:
            done.result()
    assert sorted(stages(installation).values()) == ["production", "retired", "retired"]


def test_the_log_has_no_answer_in_the_clear_and_opens_under_the_patients_key(installation: Installation):
    installation.send(image())
    installation.work()
    with installation.database.read() as connection:
        row = connection.execute(sa.select(t.inference)).one()
    assert (row.reported, row.failure, row.gate) == (True, None, "fits")
    assert b"Normal" not in row.sealed_answer
    scores, _ = open_answer(installation.node.keys.patient(row.patient_id), row.id, row.sealed_answer)
    assert sorted(round(score, 3) for score in scores.values()) == [0.1, 0.2, 0.7]


# Experiments


@given(st.uuids().map(str), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_studys_place_is_stable_and_within_bounds(experiment: str, tag: str):
    assert 0 <= position(b"k" * 32, experiment, tag) < 1
    assert position(b"k" * 32, experiment, tag) == position(b"k" * 32, experiment, tag)


def test_places_are_even_and_those_of_two_experiments_are_unrelated():
    first = [position(b"k" * 32, "a", str(n)) < 0.3 for n in range(5000)]
    second = [position(b"k" * 32, "b", str(n)) < 0.3 for n in range(5000)]
    assert sum(first) == pytest.approx(1500, abs=150)
    both = sum(a and b for a, b in zip(first, second, strict=True))
    assert both == pytest.approx(450, abs=90)


def test_an_ab_experiment_reports_the_challenger_about_its_share(
    installation: Installation, bundled: ModelPackage, newer: ModelPackage
):
    act(installation, start, ExperimentKind.AB, MODEL, "9.0.0", 0.5)
    for number in range(1, STUDIES + 1):
        installation.send(image(number))
    installation.work()
    assert set(results(installation)) == {bundled.version, "9.0.0"}
    with installation.database.read() as connection:
        for row in connection.execute(
            sa.select(t.study.c.uid_tag, t.result.c.model_version)
            .join(t.revision, t.revision.c.study_id == t.study.c.id)
            .join(t.result, t.result.c.revision_id == t.revision.c.id)
        ):
            key = installation.node.master.subkey("experiments")
            assert assign(connection, key, MODEL, row.uid_tag).version.version == row.model_version
    act(installation, stop, MODEL)
    with installation.database.read() as connection:
        assert assign(connection, b"k" * 32, MODEL, "any").version.version == bundled.version


def test_a_shadow_is_logged_and_not_reported(installation: Installation, bundled: ModelPackage, newer: ModelPackage):
    installation.model.scores["9.0.0"] = [0.1, 0.1, 0.8]
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    assert stages(installation)["9.0.0"] == "shadow"
    installation.send(image())
    installation.work()
    assert results(installation) == [bundled.version]
    assert answered(installation) == sorted([(bundled.version, True), ("9.0.0", False)])
    act(installation, stop, MODEL)
    assert stages(installation)["9.0.0"] == "candidate"


@pytest.fixture
def decoded(installation: Installation) -> list[str]:
    """The names of the functions that worker processes were given, filled as they work."""
    functions: list[str] = []
    call = installation.workers.call

    def counted(function: Any, *arguments: Any, **named: Any) -> Any:
        functions.append(function.__name__)
        return call(function, *arguments, **named)

    installation.workers.call = counted  # type: ignore[method-assign]
    return functions


@WITH_ANY_DATABASE
def test_what_is_prepared_for_one_version_is_shared_by_its_shadow(
    installation: Installation, newer: ModelPackage, decoded: list[str]
):
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    installation.send(image())
    installation.work()
    assert len(answered(installation)) == 2
    assert decoded.count("_read") == 1


@WITH_ANY_DATABASE
@pytest.mark.parametrize("forgotten", [False, True])
def test_a_shadow_that_wants_another_input_gets_its_own(
    installation: Installation,
    bundled: ModelPackage,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    forgotten: bool,
):
    """Nor is anything lost where what was prepared has been forgotten meanwhile."""
    other = {} if forgotten else {"preprocessing": bundled.preprocessing.model_copy(update={"mean": 0.25})}
    if forgotten:
        monkeypatch.setattr(KeptInputs, "take", lambda *_: None)
    package = version_of(bundled, "9.0.0", **other)
    installation.packages.by_version["9.0.0"] = package  # type: ignore[index]
    enter(installation, bundled, package)
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    installation.send(image())
    installation.work()
    assert len(answered(installation)) == 2
    assert decoded.count("_read") == 2


@WITH_ANY_DATABASE
def test_kept_inputs_are_few_and_go_with_time(bundled: ModelPackage):
    def of(number: int) -> Prepared:
        return (PreparedInput(str(number), np.zeros((1, 10, 10), np.float32), ""),)

    pipeline = ChestXray()
    kept = KeptInputs(most_bytes=1000)
    for number in range(4):
        kept.keep([str(number)], pipeline, bundled, of(number))
    assert [kept.take([str(number)], pipeline, bundled) is None for number in range(4)] == [True, True, False, False]
    assert kept.take(["3"], pipeline, bundled) is None
    old = KeptInputs(seconds=0)
    old.keep(["0"], pipeline, bundled, of(0))
    assert old.take(["0"], pipeline, bundled) is None


@WITH_ANY_DATABASE
def test_a_shadow_that_fails_does_not_touch_the_study(
    installation: Installation, newer: ModelPackage, monkeypatch: pytest.MonkeyPatch
):
    def fails(context: Any, pipeline: Any, package: ModelPackage, *rest: Any) -> Any:
        if package.version == "9.0.0":
            raise BackendFailure("it is broken")
        return ask(context, pipeline, package, *rest)

    monkeypatch.setattr("daemon.steps.shadow.ask", fails)
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    installation.send(image())
    installation.work()
    assert installation.revisions() == ["delivered"]
    with installation.database.read() as connection:
        (failed,) = connection.execute(sa.select(t.inference).where(~t.inference.c.reported)).all()
    assert (failed.failure, failed.sealed_answer) == ("BackendFailure", None)


def test_a_promotion_ends_the_experiment(installation: Installation, newer: ModelPackage):
    act(installation, start, ExperimentKind.SHADOW, MODEL, "9.0.0", 1.0)
    act(installation, promote, MODEL, "9.0.0")
    with installation.database.read() as connection:
        (row,) = connection.execute(sa.select(t.experiment)).all()
    assert (row.state, stages(installation)["9.0.0"]) == ("ended", "production")


# What an operator is told


@pytest.fixture
def console(installation: Installation, bundled: ModelPackage, newer: ModelPackage, monkeypatch: pytest.MonkeyPatch):
    """The commands, on a host that has both packages."""
    monkeypatch.setattr("daemon.control.models.load_sound_packages", lambda _settings: ((bundled, newer), ()))
    return installation


def test_an_operator_compares_signs_off_and_promotes(console: Installation, bundled: ModelPackage):
    console.model.scores |= {bundled.version: [1.0, 0.0, 0.0], "9.0.0": [0.0, 0.0, 1.0]}
    console.ask("models.experiment-start", kind="shadow", model=MODEL, version="9.0.0", share=1.0)
    for number in range(1, 9):
        console.send(image(number))
    console.work()
    shown = console.ask("models.experiment-show", model=MODEL)
    assert (shown["studies"], shown["looks"], shown["left_out"]) == ({"control": 8, "challenger": 8}, 1, 0)
    assert shown["agreement"]["hits"] == 0
    measures = {measure["measure"]: measure for measure in shown["measures"]}
    assert measures["present: COVID-19"]["challenger"]["hits"] == 8
    assert measures["present: COVID-19"]["difference"]["p_value"] == pytest.approx(2 / 2**8)
    assert console.ask("models.experiment-show", model=MODEL)["looks"] == 2
    (study, *_) = console.ask("studies.list")
    assert console.ask("models.feedback", study=study["study"], outcome="right")["outcome"] == "right"
    assert console.ask("models.promote", model=MODEL, version="9.0.0")["before"] == bundled.version
    assert console.ask("models.rollback", model=MODEL)["version"] == bundled.version
    listed = {row["version"]: row for row in console.ask("models.versions") if row["name"] == MODEL}
    assert (listed["9.0.0"]["stage"], listed["9.0.0"]["inferences"]) == ("retired", 8)


@WITH_ANY_DATABASE
def test_sign_offs_count_in_an_ab_experiment(console: Installation):
    console.ask("models.experiment-start", kind="ab", model=MODEL, version="9.0.0", share=0.5)
    for number in range(1, STUDIES + 1):
        console.send(image(number))
    console.work()
    for study in console.ask("studies.list"):
        console.ask("models.feedback", study=study["study"], outcome="wrong")
    shown = console.ask("models.experiment-show", model=MODEL)
    (right,) = [measure for measure in shown["measures"] if measure["measure"] == "signed off as right"]
    assert right["control"]["total"] + right["challenger"]["total"] == STUDIES
    assert right["control"]["hits"] == 0


def test_what_an_erased_patient_answered_is_left_out(console: Installation):
    console.ask("models.experiment-start", kind="shadow", model=MODEL, version="9.0.0", share=1.0)
    for number in (1, 2):
        console.send(image(number))
    console.work()
    with console.database.read() as connection:
        patient = connection.execute(sa.select(t.inference.c.patient_id)).scalars().first()
    console.node.keys.destroy_patient(patient)
    shown = console.ask("models.experiment-show", model=MODEL)
    assert (shown["studies"], shown["left_out"]) == ({"control": 1, "challenger": 1}, 2)


@WITH_ANY_DATABASE
def test_what_cannot_be_is_refused(console: Installation):
    refusals: list[tuple[str, dict[str, Any], str]] = [
        ("promote", {"model": MODEL, "version": "7"}, "has no version 7"),
        ("promote", {"model": "none", "version": "1"}, "there are: none"),
        ("rollback", {"model": MODEL}, "first that was in production"),
        ("experiment-stop", {"model": MODEL}, "no experiment"),
        ("experiment-show", {"model": MODEL}, "no experiment"),
        ("experiment-start", {"kind": "ab", "model": MODEL, "version": "9.0.0", "share": 1.0}, "below 1"),
        ("experiment-start", {"kind": "abc", "model": MODEL, "version": "9.0.0", "share": 0.5}, "no such kind"),
        ("feedback", {"study": "none", "outcome": "right"}, "no model has answered"),
        ("feedback", {"study": "none", "outcome": "maybe"}, "no such outcome"),
    ]
    for command, arguments, says in refusals:
        with pytest.raises(CommandFailed, match=says):
            console.ask(f"models.{command}", **arguments)
