"""The stages of a model's version, and every move that is allowed. The only place that changes them.

    candidate ─▶ production ─▶ retired
      ▲   │        ▲    ▲         │
      │   ▼        │    └─────────┘   a rollback, or promoted once more
      shadow ──────┘

A version begins as `candidate`; the first of its name begins in `production`. A unique index keeps it at one version in
production for each name; whoever moves one locks all versions of the name first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import sqlalchemy as sa

from daemon.audit import AuditEvent, AuditWriter, Detail, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.registry.errors import IllegalStage


class Stage(StrEnum):
    """What a version may do."""

    SHADOW = "shadow"  # is asked beside the one in production; its answers are never reported
    CANDIDATE = "candidate"  # is not asked, but for the share of studies that an experiment gives it
    PRODUCTION = "production"  # answers
    RETIRED = "retired"  # has answered, and does not any more


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model as the registry knows it. Two packages are the same one if `package_sha256` is equal."""

    id: str
    name: str
    version: str
    weights_sha256: str
    package_sha256: str
    stage: Stage
    replaced_id: str | None
    decided_by_person: bool

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


_S = Stage
MOVES: Mapping[Stage, frozenset[Stage]] = MappingProxyType(
    {
        _S.PRODUCTION: frozenset({_S.CANDIDATE, _S.SHADOW, _S.RETIRED}),
        _S.RETIRED: frozenset({_S.PRODUCTION}),
        _S.SHADOW: frozenset({_S.CANDIDATE}),
        _S.CANDIDATE: frozenset({_S.SHADOW}),
    }
)
"""For each stage, the stages from which it may be entered."""


def move(connection: sa.Connection, audit: AuditWriter, version: Version, target: Stage, actor: str) -> None:
    """Move a version within the caller's transaction, with its audit event. Raises `IllegalStage`."""
    changed = connection.execute(
        sa.update(t.model_version)
        .where(t.model_version.c.id == version.id, t.model_version.c.stage.in_(MOVES[target]))
        .values(stage=target, stage_since=database_now(), decided_by_person=is_person(actor))
    )
    if changed.rowcount != 1:
        raise IllegalStage(
            f"{version} is {version.stage} and cannot become {target}; allowed from: {', '.join(sorted(MOVES[target]))}"
        )
    details: dict[str, Detail] = {
        "model": Name(version.name),
        "version": Name(f"v{version.version}"),
        "before": version.stage,
        "after": target,
    }
    audit.record(connection, AuditEvent(Kind.MODEL_MOVED, actor=actor, details=details))


def is_person(actor: str) -> bool:
    """Whether an actor of the audit log is an account at the control socket, and no process of ours."""
    return actor.startswith(("user:", "uid:"))
