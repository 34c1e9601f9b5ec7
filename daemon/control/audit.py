"""What the control socket tells of the audit log: whether it holds, its end, and all of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from daemon.audit import AuditError, AuditEvent, Kind, PublicKey, public_key_path, verify
from daemon.audit.export import export
from daemon.control.answers import report_as_json
from daemon.control.errors import CommandFailed
from daemon.control.limits import rows
from daemon.database import schema as t
from daemon.node import Node


def audit_verify(node: Node, actor: str) -> dict[str, Any]:
    """Check the whole log against its signed heads; that it was checked, and what came out, is recorded in turn."""
    heads_file = node.settings.audit.heads_directory / "heads.jsonl"
    try:
        report = verify(node.database, _public_key(node), heads_file)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; see audit.heads_directory") from None
    event = AuditEvent(
        Kind.LOG_VERIFIED,
        actor=actor,
        details={"size": report.size, "problems": len(report.problems) + report.omitted},
    )
    node.database.retrying(lambda connection: node.audit.record(connection, event))
    return report_as_json(report)


def _public_key(node: Node) -> PublicKey:
    try:
        return PublicKey.read(public_key_path(node.settings.audit.signing_key_file))
    except AuditError as error:
        raise CommandFailed(str(error)) from None


def audit_tail(node: Node, actor: str, count: int = 20) -> list[dict[str, Any]]:
    """The last events, oldest first."""
    query = sa.select(t.audit_event.c.body, t.audit_event.c.log_index).order_by(t.audit_event.c.id.desc())
    with node.database.read() as connection:
        found = connection.execute(query.limit(rows(count))).all()
    return [{"event": row.body.decode(), "log_index": row.log_index} for row in reversed(found)]


def audit_export(node: Node, actor: str) -> Iterator[str]:
    """The sealed log as the lines of an export file."""
    key = _public_key(node)
    event = AuditEvent(Kind.LOG_EXPORTED, actor=actor)
    node.database.retrying(lambda connection: node.audit.record(connection, event))
    with tempfile.TemporaryDirectory(dir=node.settings.node.data) as folder:
        path = Path(folder) / "export"
        export(node.database, path, key)
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")
