"""What the registry knows of a model's versions, and what makes two packages the same one. Changes nothing."""

import hashlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from daemon.audit.events import canonical_json
from daemon.database import schema as t
from daemon.registry.errors import NoSuchVersion, NotServed
from daemon.registry.stages import Stage, Version
from runtime import ModelDescription

_COLUMNS = tuple(t.model_version.c[name] for name in Version.__dataclass_fields__)


def package_sha256(package: ModelDescription) -> str:
    """The hex digest of all that a package says: of its files by their digests, and of what its answers mean.

    What is left at its default does not count, so that a key which a later version of kopru adds changes no digest.
    """
    said = package.model_dump(mode="json", include=set(ModelDescription.model_fields), exclude_defaults=True)
    return hashlib.sha256(canonical_json(said)).hexdigest()


def in_production(connection: sa.Connection, name: str, *, lock: bool = False) -> Version:
    """The version that answers. With `lock` nobody changes that before the transaction ends. Raises `NotServed`."""
    query = sa.select(*_COLUMNS).where(t.model_version.c.name == name, t.model_version.c.stage == Stage.PRODUCTION)
    row = connection.execute(query.with_for_update(read=True) if lock else query).first()
    if row is None:
        raise NotServed(f"no version of {name} is in production; promote one with `kopru models promote`")
    return _version(row)


def answering(connection: sa.Connection) -> dict[str, str | None]:
    """For each model that the registry knows, the version in production; None where there is none."""
    v = t.model_version.c
    query = sa.select(v.name, sa.func.max(sa.case((v.stage == Stage.PRODUCTION, v.version)))).group_by(v.name)
    return dict(connection.execute(query).tuples().all())


def by_id(connection: sa.Connection, version_id: str) -> Version:
    """The version of that id, which is there."""
    return _version(connection.execute(sa.select(*_COLUMNS).where(t.model_version.c.id == version_id)).one())


def find(versions: Iterable[Version], name: str, version: str) -> Version:
    """The one of that version. Raises `NoSuchVersion`."""
    there = list(versions)
    for one in there:
        if one.version == version:
            return one
    listed = ", ".join(v.version for v in there) or "none"
    raise NoSuchVersion(f"the registry has no version {version} of {name}; there are: {listed}")


def locked(connection: sa.Connection, name: str) -> list[Version]:
    """All versions of a model, oldest first, which nobody else changes before the transaction ends."""
    query = sa.select(*_COLUMNS).where(t.model_version.c.name == name)
    query = query.order_by(t.model_version.c.imported_at, t.model_version.c.id)
    return [_version(row) for row in connection.execute(query.with_for_update())]


def _version(row: sa.Row[Any]) -> Version:
    values = dict(row._mapping)
    return Version(**values | {"stage": Stage(values["stage"])})
