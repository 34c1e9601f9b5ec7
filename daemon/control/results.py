"""Checks stored results against the signatures that the engine put on them. Shows no result and no identity."""

from typing import Any

import sqlalchemy as sa

from adapters.keys import KeyStoreError
from daemon.attestation import Standing, verify_result
from daemon.audit import AuditError, PublicKey, public_key_path
from daemon.control.errors import CommandFailed, no_such_study
from daemon.database import schema as t
from daemon.node import Node
from daemon.vault import open_column
from pipelines.results import StudyResult


def studies_verify(node: Node, actor: str, study: str) -> list[dict[str, Any]]:
    """Whether the study's results are what the engine signed: a row for each revision that has one."""
    query = (
        sa.select(t.result, t.revision.c.number)
        .join(t.revision, t.revision.c.id == t.result.c.revision_id)
        .where(t.revision.c.study_id == study)
        .order_by(t.revision.c.number)
    )
    with node.database.read() as connection:
        if connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study)).first() is None:
            raise no_such_study()
        found = connection.execute(query).all()
    try:
        key = PublicKey.read(public_key_path(node.settings.runtime.result_key_file))
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    return [_checked(node, row, key) for row in found]


def _checked(node: Node, row: sa.Row[Any], key: PublicKey) -> dict[str, Any]:
    about = {"revision": row.number, "model": row.model, "version": row.model_version}
    try:
        entry = node.keys.patient(row.patient_id)
        result = StudyResult.from_json(open_column(entry, "result", row.id, row.sealed_result))
    except (KeyStoreError, ValueError, KeyError, TypeError) as error:  # erased, damaged, or of a later version
        return about | {"standing": "unreadable", "signed_at": None, "key": None, "reason": type(error).__name__}
    standing, signed = verify_result(result, key), result.attestation
    reason = ""
    if (row.model, row.model_version) != (result.model.name, result.model.version):
        standing, reason = Standing.WRONG, "the row names another model than the result"
    return about | {
        "standing": standing.value,
        "signed_at": signed.at if signed else None,
        "key": signed.key if signed else None,
        "reason": reason,
    }
