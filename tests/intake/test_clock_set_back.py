"""A study whose times are of before the clock was set back: quiet is counted from now, and not from long ago."""

import time

import pytest
import sqlalchemy as sa

from daemon.database import schema as t
from daemon.intake.closing import close_due
from tests.steps.installation import Association, Installation, image

DESTINATIONS = ("reports",)
DAY = 86400.0


@pytest.mark.parametrize("read", ["nothing", "all"])
def test_quiet_begins_anew(installation: Installation, read: str):
    Association(installation).store(image())
    installation.indexer.pass_once()
    node = installation.node
    with node.database.write() as connection:
        times = {name: t.revision.c[name] + DAY for name in ("opened_at", "last_instance_at")}
        connection.execute(sa.update(t.revision).values(times))

    def close(indexed_until: float) -> list[str]:
        close_due(node.database, node.database.retrying, node.audit, node.settings, indexed_until)
        return installation.revisions()

    assert close(0.0 if read == "nothing" else time.time()) == ["assembling"]  # a disk failed since the start
    assert close(time.time()) == ["assembling"]
    assert close(time.time() + 100_000) == ["closed"]
