"""What a person found when signing a report off: whether the model was right. Keeps no finding."""

from enum import StrEnum

import sqlalchemy as sa

from daemon.audit import AuditEvent, AuditWriter, Id, Kind
from daemon.database import database_now
from daemon.database import schema as t
from daemon.registry.errors import NotServed


class SignOff(StrEnum):
    """Whether what the report said of the model's findings was right."""

    RIGHT = "right"
    WRONG = "wrong"


def sign_off(connection: sa.Connection, audit: AuditWriter, study_id: str, outcome: SignOff, actor: str) -> str:
    """Keep it for the newest revision of the study that a model has answered, in the place of what was said before.

    Gives that revision's id. Raises `NotServed` where no model has answered about the study.
    """
    newest = connection.execute(
        sa.select(t.revision.c.id)
        .join(t.result, t.result.c.revision_id == t.revision.c.id)
        .where(t.revision.c.study_id == study_id)
        .order_by(t.revision.c.number.desc())
        .limit(1)
        .with_for_update(of=t.revision)  # whoever else signs it off comes before or after
    ).scalar()
    if newest is None:
        raise NotServed("no model has answered about such a study; `kopru studies list` shows those there are")
    connection.execute(sa.delete(t.sign_off).where(t.sign_off.c.revision_id == newest))
    connection.execute(sa.insert(t.sign_off).values(revision_id=newest, outcome=outcome, at=database_now()))
    event = AuditEvent(Kind.SIGNED_OFF, actor=actor, details={"revision": Id(newest), "outcome": outcome})
    audit.record(connection, event)
    return str(newest)
