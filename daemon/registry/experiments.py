"""Experiments: a challenger beside the version in production, on a share of the studies that come.

In an `ab` experiment the challenger's answers about its share are reported in the place of production's. In a `shadow`
one production answers every study, and the challenger is asked besides; what it says is logged and never reported. A
study's part is drawn from its tag under a key, so that all its revisions have the same, and those of two experiments
have nothing to do with each other. One experiment a model at a time.
"""

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from daemon.audit import AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.registry.errors import NoSuchExperiment, NotComparable
from daemon.registry.stages import Stage, Version, move
from daemon.registry.versions import by_id, find, in_production, locked
from runtime import ModelDescription


class ExperimentKind(StrEnum):
    """What becomes of the challenger's answers."""

    AB = "ab"  # reported
    SHADOW = "shadow"  # logged


class ExperimentState(StrEnum):
    """Whether studies still take part."""

    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. `share` of the studies, above 0 and at most 1, get the challenger."""

    id: str
    kind: ExperimentKind
    model: str
    control_id: str
    challenger_id: str
    share: float
    state: ExperimentState
    looks: int
    started_at: float
    ended_at: float | None


_COLUMNS = tuple(t.experiment.c[name] for name in Experiment.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who answers about a study: `version`, in the course of `experiment` if that is an A/B experiment. `shadow` is the
    experiment for which its challenger is to be asked too.
    """

    version: Version
    experiment: str | None = None
    shadow: str | None = None


def assign(connection: sa.Connection, key: bytes, model: str, study_tag: str, *, lock: bool = False) -> Assignment:
    """Who answers about the study with this tag. With `lock` that holds until the transaction ends.

    Raises `NotServed`.
    """
    production = in_production(connection, model, lock=lock)
    running = find_running(connection, model)
    if running is None:
        return Assignment(production)
    takes_part = position(key, running.id, study_tag) < running.share
    if running.kind is ExperimentKind.SHADOW:
        return Assignment(production, shadow=running.id if takes_part else None)
    return Assignment(by_id(connection, running.challenger_id) if takes_part else production, experiment=running.id)


def position(key: bytes, experiment_id: str, study_tag: str) -> float:
    """Where a study stands in an experiment: evenly in [0, 1), the same each time, unknown without the key."""
    digest = hmac.new(key, f"{experiment_id}/{study_tag}".encode(), hashlib.sha256).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def start(
    connection: sa.Connection,
    audit: AuditWriter,
    kind: ExperimentKind,
    model: str,
    version: str,
    share: float,
    actor: str,
) -> Experiment:
    """Let a candidate challenge the version in production.

    Raises `NoSuchVersion`, `NotServed`, and `NotComparable` for a version that is no candidate, a share that is none,
    or while another experiment about the model runs.
    """
    challenger = find(locked(connection, model), model, version)
    control = in_production(connection, model)
    if challenger.stage is not Stage.CANDIDATE:
        raise NotComparable(f"{challenger} is {challenger.stage}; only a candidate can challenge production")
    if not 0 < share <= 1 or (kind is ExperimentKind.AB and share == 1):
        raise NotComparable("the share is above 0 and at most 1; of an A/B experiment below 1, so that both answer")
    if find_running(connection, model) is not None:
        raise NotComparable(f"an experiment about {model} runs already; stop it first")
    if kind is ExperimentKind.SHADOW:
        move(connection, audit, challenger, Stage.SHADOW, actor)
    made = str(uuid.uuid4())
    connection.execute(
        sa.insert(t.experiment).values(
            id=made,
            kind=kind,
            model=model,
            control_id=control.id,
            challenger_id=challenger.id,
            share=share,
            state=ExperimentState.RUNNING,
            looks=0,
            started_at=database_now(),
        )
    )
    details: dict[str, Detail] = {
        "experiment": Id(made),
        "kind": kind,
        "model": Name(model),
        "control": Name(f"v{control.version}"),
        "challenger": Name(f"v{challenger.version}"),
        "permille": round(share * 1000),
    }
    audit.record(connection, AuditEvent(Kind.EXPERIMENT_STARTED, actor=actor, details=details))
    return find_experiment(connection, made)


def stop(connection: sa.Connection, audit: AuditWriter, model: str, actor: str) -> Experiment:
    """End the experiment that runs about a model. Raises `NoSuchExperiment`."""
    locked(connection, model)
    ended = end_running(connection, audit, model, actor)
    if ended is None:
        raise NoSuchExperiment(f"no experiment about {model} runs")
    return ended


def end_running(connection: sa.Connection, audit: AuditWriter, model: str, actor: str) -> Experiment | None:
    """End the experiment about a model whose versions the caller has locked; None where none runs."""
    running = find_running(connection, model)
    if running is None:
        return None
    connection.execute(
        sa.update(t.experiment)
        .where(t.experiment.c.id == running.id)
        .values(state=ExperimentState.ENDED, ended_at=database_now())
    )
    challenger = by_id(connection, running.challenger_id)
    if challenger.stage is Stage.SHADOW:
        move(connection, audit, challenger, Stage.CANDIDATE, actor)
    details: dict[str, Detail] = {"experiment": Id(running.id), "model": Name(model)}
    audit.record(connection, AuditEvent(Kind.EXPERIMENT_ENDED, actor=actor, details=details))
    return find_experiment(connection, running.id)


def find_running(connection: sa.Connection, model: str) -> Experiment | None:
    """The experiment that runs about a model."""
    query = sa.select(*_COLUMNS).where(t.experiment.c.model == model, t.experiment.c.state == ExperimentState.RUNNING)
    row = connection.execute(query).first()
    return _experiment(row) if row else None


def find_newest(connection: sa.Connection, model: str) -> Experiment:
    """The experiment about a model that began last, running or ended. Raises `NoSuchExperiment`."""
    query = sa.select(*_COLUMNS).where(t.experiment.c.model == model).order_by(t.experiment.c.started_at.desc())
    row = connection.execute(query.limit(1)).first()
    if row is None:
        raise NoSuchExperiment(f"there was no experiment about {model} yet")
    return _experiment(row)


def find_experiment(connection: sa.Connection, experiment_id: str) -> Experiment:
    """The experiment of that id. Raises `NoSuchExperiment`."""
    row = connection.execute(sa.select(*_COLUMNS).where(t.experiment.c.id == experiment_id)).first()
    if row is None:
        raise NoSuchExperiment("there is no such experiment; `kopru models experiment show MODEL` shows the last one")
    return _experiment(row)


def check_comparable(control: ModelDescription, challenger: ModelDescription) -> None:
    """Raise `NotComparable` unless both answer the same questions: the same labels by name and code."""
    questions = [[(label.name, label.system, label.code) for label in p.labels] for p in (control, challenger)]
    if questions[0] != questions[1]:
        raise NotComparable(
            f"{challenger.name} {challenger.version} has other labels than {control.version}, so nothing of the two"
            " can be compared; try it out with `kopru models evaluate`"
        )


def _experiment(row: sa.Row[Any]) -> Experiment:
    values = dict(row._mapping)
    return Experiment(**values | {"kind": ExperimentKind(values["kind"]), "state": ExperimentState(values["state"])})
