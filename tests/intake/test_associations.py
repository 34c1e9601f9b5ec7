"""What the index knows of associations whose receiver died."""

import sqlalchemy as sa

from adapters.storage import IntakeWriter
from daemon.audit import Kind
from daemon.database import schema as t
from tests.daemon.rows import events
from tests.steps.installation import Association, Installation, image


def states(installation: Installation) -> list[str]:
    with installation.database.read() as connection:
        return list(connection.execute(sa.select(t.association.c.state)).scalars())


def test_an_association_is_lost_with_its_receiver_and_its_study_closes(installation: Installation):
    association = Association(installation)
    association.store(image())
    installation.indexer.pass_once()
    assert states(installation) == ["open"]
    installation.receiver.close()
    installation.receiver = IntakeWriter(installation.node.store, "receiver-2", objects_per_batch=4)
    installation.indexer.pass_once()
    assert states(installation) == ["lost"]
    (event,) = events(installation.database, Kind.ASSOCIATION_LOST)
    assert event["details"] == {"association": association.id}
    installation.indexer.pass_once()
    assert installation.revisions() == ["closed"]
    installation.work()
