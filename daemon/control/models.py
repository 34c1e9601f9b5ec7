"""What an operator can do with versions of models: see them, promote, roll back, compare in experiments, say who was
right. No package is changed and no study named here.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import sqlalchemy as sa

from daemon.control.errors import CommandFailed
from daemon.control.routes import obstacle_to
from daemon.database import schema as t
from daemon.node import Node
from daemon.pipelines import load_sound_packages
from daemon.registry import ExperimentKind, ExperimentState, NotServed, Packages, RegistryError, promote, rollback
from daemon.registry.comparison import compare
from daemon.registry.experiments import (
    Experiment,
    check_comparable,
    find_experiment,
    find_newest,
    start,
    stop,
)
from daemon.registry.signing_off import SignOff, sign_off
from daemon.registry.stages import Version
from daemon.registry.versions import by_id, find, in_production, locked
from runtime import ModelPackage, RuntimeFailure

_T = TypeVar("_T")


def models_list(node: Node, actor: str) -> list[Any]:
    """The models that the runtime serves."""
    try:
        return [model.model_dump(mode="json") for model in node.runtime.models()]
    except RuntimeFailure as error:
        raise CommandFailed(f"the model runtime does not answer ({type(error).__name__}); see the log") from None


def models_versions(node: Node, actor: str) -> list[dict[str, Any]]:
    """All versions that the registry knows, with how often each was asked."""
    asked = sa.select(sa.func.count()).where(t.inference.c.version_id == t.model_version.c.id).scalar_subquery()
    columns = [t.model_version.c[name] for name in ("name", "version", "stage", "weights_sha256", "package_sha256")]
    times = [t.model_version.c[name] for name in ("imported_at", "stage_since")]
    query = sa.select(*columns, *times, asked.label("inferences"))
    with node.database.read() as connection:
        rows = connection.execute(query.order_by(t.model_version.c.name, t.model_version.c.imported_at)).mappings()
        return [dict(row) for row in rows]


def models_promote(node: Node, actor: str, model: str, version: str) -> dict[str, Any]:
    """Let a version answer from the next study on."""
    here = _packages(node, model)

    def work(connection: sa.Connection) -> dict[str, Any]:
        here(find(locked(connection, model), model, version))
        before = promote(connection, node.audit, model, version, actor)
        return {"model": model, "version": version, "before": before.version}

    return _decided(node, work) | {"obstacle": obstacle_to(node, model, version)}


def models_rollback(node: Node, actor: str, model: str) -> dict[str, Any]:
    """Let the version answer again that did before the present one."""
    here = _packages(node, model)

    def work(connection: sa.Connection) -> dict[str, Any]:
        left, back = rollback(connection, node.audit, model, actor)
        here(back)
        return {"model": model, "version": back.version, "before": left.version}

    done = _decided(node, work)
    return done | {"obstacle": obstacle_to(node, model, done["version"])}


def models_experiment_start(
    node: Node, actor: str, kind: str, model: str, version: str, share: float
) -> dict[str, Any]:
    """Let a candidate challenge the version in production."""
    if kind not in set(ExperimentKind):
        raise CommandFailed(f"there is no such kind of experiment; there are: {', '.join(ExperimentKind)}", 2)
    here = _packages(node, model)

    def work(connection: sa.Connection) -> dict[str, Any]:
        challenger = find(locked(connection, model), model, version)
        check_comparable(here(in_production(connection, model)), here(challenger))
        started = start(connection, node.audit, ExperimentKind(kind), model, version, share, actor)
        return _described(connection, started)

    return _decided(node, work) | {"obstacle": obstacle_to(node, model, version)}


def models_experiment_stop(node: Node, actor: str, model: str) -> dict[str, Any]:
    """End the experiment that runs about a model."""
    return _decided(node, lambda connection: _described(connection, stop(connection, node.audit, model, actor)))


def models_experiment_show(node: Node, actor: str, model: str) -> dict[str, Any]:
    """The figures of the last experiment about a model. While it runs, that somebody looked is counted."""

    def look(connection: sa.Connection) -> Experiment:
        newest = find_newest(connection, model)
        if newest.state is ExperimentState.RUNNING:
            looks = t.experiment.c.looks
            connection.execute(sa.update(t.experiment).where(t.experiment.c.id == newest.id).values(looks=looks + 1))
        return find_experiment(connection, newest.id)

    experiment = _decided(node, look)
    with node.database.read() as connection:
        comparison = compare(connection, node.keys, experiment)
        agreement = comparison.agreement
        return _described(connection, experiment) | {
            "studies": dict(comparison.studies),
            "left_out": comparison.left_out,
            "agreement": agreement
            and {"hits": agreement.hits, "total": agreement.total, "low_high": _interval(agreement.interval)},
            "measures": [measure.as_json() for measure in comparison.measures],
        }


def models_feedback(node: Node, actor: str, study: str, outcome: str) -> dict[str, Any]:
    """Keep whether the model was right about a study, as a person found when signing its report off."""
    if outcome not in set(SignOff):
        raise CommandFailed(f"there is no such outcome; there are: {', '.join(SignOff)}", 2)
    revision = _decided(node, lambda connection: sign_off(connection, node.audit, study, SignOff(outcome), actor))
    return {"study": study, "revision": revision, "outcome": outcome}


def _packages(node: Node, model: str) -> Callable[[Version], ModelPackage]:
    """Finds the package of a version of the model. One that cannot be used is in the way of nothing but itself: what is
    broken may be why somebody rolls back.
    """
    loaded, problems = load_sound_packages(node.settings)
    packages = Packages(model, {package.version: package for package in loaded if package.name == model})

    def of(version: Version) -> ModelPackage:
        try:
            return packages.of(version)
        except NotServed as error:
            raise NotServed("; ".join((str(error), *problems))) from None

    return of


def _decided(node: Node, work: Callable[[sa.Connection], _T]) -> _T:
    try:
        return node.database.retrying(work)
    except RegistryError as error:
        raise CommandFailed(str(error)) from None


def _described(connection: sa.Connection, experiment: Experiment) -> dict[str, Any]:
    control, challenger = (by_id(connection, i) for i in (experiment.control_id, experiment.challenger_id))
    return asdict(experiment) | {"control": _version(control), "challenger": _version(challenger)}


def _version(version: Version) -> dict[str, str]:
    return {"version": version.version, "stage": version.stage}


def _interval(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if interval[0] == interval[0] else None
