"""Processes a study again because an operator wants it: a new revision of what is in use now, closed at once."""

import time
from typing import Any

import sqlalchemy as sa

from daemon.control.errors import CommandFailed, no_such_study
from daemon.database import schema as t
from daemon.intake import contradiction_of
from daemon.intake.closing import close_revision
from daemon.intake.placing import begin_revision
from daemon.node import Node
from daemon.states import RevisionState, Standing


def process_rest(connection: sa.Connection, node: Node, actor: str, study: str, reason: str) -> str:
    """Process a study of which an instance was decided on. A study that is held is not: that is another decision."""
    state = connection.execute(
        sa.select(t.revision.c.state).where(t.revision.c.study_id == study).order_by(t.revision.c.number.desc())
    ).scalar()
    if state == RevisionState.HELD:
        raise CommandFailed(
            "this instance's study is held for another reason; see `kopru studies show`, settle that first, and only"
            " then decide about the instance",
            3,
        )
    return process_again(connection, node, actor, study, reason, may_be_empty=True)


def process_again(
    connection: sa.Connection,
    node: Node,
    actor: str,
    study: str,
    reason: str,
    *,
    may_be_empty: bool = False,
    policy: dict[str, Any] | None = None,
) -> str:
    """Begin and close a new revision of what is current in a study, to be de-identified under `policy` if there is one
    (`Recipes.of`). Gives its id.
    """
    connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study).with_for_update())
    newest = connection.execute(
        sa.select(t.revision.c.priority, t.revision.c.state)
        .where(t.revision.c.study_id == study)
        .order_by(t.revision.c.number.desc())
    ).first()
    if newest is None:
        raise no_such_study()
    if contradiction_of(connection, study) is not None:
        raise CommandFailed("this study contradicts itself; decide with `kopru studies keep` or `studies correct`", 3)
    current = connection.execute(
        sa.select(sa.func.max(t.instance.c.received_at)).where(
            t.instance.c.study_id == study, t.instance.c.standing == Standing.CURRENT
        )
    ).scalar_one()
    if current is None and not may_be_empty:
        raise CommandFailed("no instance of this study is in use, so there is nothing to process", 3)
    revision = begin_revision(connection, node.audit, study, newest.priority, current or time.time(), actor=actor)
    connection.execute(sa.update(t.revision).where(t.revision.c.id == revision).values(policy=policy))
    # Of a study that is still arriving, only a part may be here: then the report says so.
    forced = newest.state == RevisionState.ASSEMBLING
    close_revision(connection, node.audit, revision, reason=reason, forced=forced, actor=actor)
    return revision
