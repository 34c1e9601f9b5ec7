"""Which version of each model answers, and how that changes: by new packages, by promoting, by rolling back.

The registry follows the packages that the settings name (`register`); what answers is decided here alone. A change is
one transaction with its audit event, and the next study goes by it: nothing is restarted. It ends the experiment that
ran about the model, since that compared with what was in production.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from daemon.audit import AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.registry.errors import IllegalStage, NoSuchVersion
from daemon.registry.experiments import end_running
from daemon.registry.stages import Stage, Version, move
from daemon.registry.versions import find, locked, package_sha256
from runtime import ModelDescription

_log = structlog.get_logger(__name__)
_ENGINE = "engine"


def register(connection: sa.Connection, audit: AuditWriter, packages: Sequence[ModelDescription]) -> None:
    """Make the registry follow the packages of this host, in the order of the settings. For each name:

    1. A version that the registry does not know comes in as `candidate`, and answers nothing.
    2. Where no version was ever in production, the first of the packages is.
    3. Where the version in production is among the packages, it stays.
    4. Where it is not (an upgrade of kopru brought another, or the settings name another in its place), the first of
       the packages about which no person has decided takes its place, so that studies go on. One that a person retired
       or set aside is never brought back by this: then studies wait until a person promotes one.

    A package that has the name and version of another one is none of the registry: it does not answer (`Packages.of`).
    """
    for name in sorted({package.name for package in packages}):
        of_name = [package for package in packages if package.name == name]
        known = {version.version: version for version in locked(connection, name)}
        for package in of_name:
            if package.version not in known:
                _insert(connection, audit, package)
            elif known[package.version].package_sha256 != package_sha256(package):
                _tell_unlike(connection, audit, known[package.version])
        _fill_production(connection, audit, of_name)


def _fill_production(connection: sa.Connection, audit: AuditWriter, packages: Sequence[ModelDescription]) -> None:
    versions = {version.package_sha256: version for version in locked(connection, packages[0].name)}
    here = [version for p in packages if (version := versions.get(package_sha256(p))) is not None]
    present = next((version for version in versions.values() if version.stage is Stage.PRODUCTION), None)
    if present in here:
        return
    free = [version for version in here if not version.decided_by_person]
    if free:
        _put_into_production(connection, audit, free[0], present, _ENGINE)
        _log.info("model_in_production", model=free[0].name, version=free[0].version)
    elif present is None:
        _log.error("no_model_in_production", model=packages[0].name)
    else:
        _log.error("model_in_production_not_here", model=present.name, version=present.version)


def promote(connection: sa.Connection, audit: AuditWriter, name: str, version: str, actor: str) -> Version:
    """Let a version answer from now on; the one before is retired. Gives the version that answered before.

    Raises `NoSuchVersion`, `IllegalStage` for the one that is in production already.
    """
    versions = locked(connection, name)
    chosen = find(versions, name, version)
    present = next((v for v in versions if v.stage is Stage.PRODUCTION), None)
    _put_into_production(connection, audit, chosen, present, actor)
    return present or chosen


def rollback(connection: sa.Connection, audit: AuditWriter, name: str, actor: str) -> tuple[Version, Version]:
    """Let the version answer that answered before the present one. Gives both: the one that left, the one that is back.

    A second rollback goes one further back. Raises `NoSuchVersion`, `IllegalStage` where there was none before.
    """
    versions = locked(connection, name)
    present = next((v for v in versions if v.stage is Stage.PRODUCTION), None)
    if present is None:
        raise NoSuchVersion(f"no version of {name} is in production; `kopru models list` shows those there are")
    before = next((v for v in versions if v.id == present.replaced_id), None)
    if before is None:
        raise IllegalStage(f"{present} is the first that was in production; promote another version in its place")
    _put_into_production(connection, audit, before, present, actor, remember=False)
    return present, before


def _put_into_production(
    connection: sa.Connection,
    audit: AuditWriter,
    version: Version,
    present: Version | None,
    actor: str,
    *,
    remember: bool = True,
) -> None:
    end_running(connection, audit, version.name, actor)
    if present is not None and present.id != version.id:
        move(connection, audit, present, Stage.RETIRED, actor)
    move(connection, audit, version, Stage.PRODUCTION, actor)
    if remember and present is not None:
        connection.execute(
            sa.update(t.model_version).where(t.model_version.c.id == version.id).values(replaced_id=present.id)
        )


def _insert(connection: sa.Connection, audit: AuditWriter, package: ModelDescription) -> None:
    values = {
        "id": str(uuid.uuid4()),
        "name": package.name,
        "version": package.version,
        "weights_sha256": package.weights_sha256,
        "package_sha256": package_sha256(package),
        "stage": Stage.CANDIDATE,
        "decided_by_person": False,
        "imported_at": database_now(),
        "stage_since": database_now(),
    }
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(t.model_version).values(values))
    except sa.exc.IntegrityError:  # another host's engine started at the same moment, and has it in
        return
    audit.record(connection, AuditEvent(Kind.MODEL_REGISTERED, actor=_ENGINE, details=_named(package)))


def _tell_unlike(connection: sa.Connection, audit: AuditWriter, known: Version) -> None:
    details: dict[str, Detail] = {"model": Name(known.name), "version": Name(f"v{known.version}")}
    details["registered"] = Id(known.package_sha256)
    audit.record(connection, AuditEvent(Kind.MODEL_UNLIKE, actor=_ENGINE, details=details))
    _log.error("model_unlike_its_registered_version", model=known.name, version=known.version)


def _named(package: ModelDescription) -> dict[str, Detail]:
    return {
        "model": Name(package.name),
        "version": Name(f"v{package.version}"),
        "weights": Id(package.weights_sha256),
        "package": Id(package_sha256(package)),
    }
