"""Connections that lie idle in the pool while the server goes away are replaced before anybody uses them."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from daemon.database import Database, connection

pytestmark = pytest.mark.postgresql


@pytest.fixture
def postgresql_url(postgresql_server, postgresql_template: str) -> Iterator[str]:
    name = postgresql_server.create(postgresql_template)
    yield postgresql_server.url(name)
    postgresql_server.drop(name)


def pid(database: Database) -> int:
    with database.read() as used:
        return int(used.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_was_cut_off_while_idle_is_replaced_unseen(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
):
    database, other = Database(postgresql_url), Database(postgresql_url)
    first = pid(database)
    with other.write() as killer:
        killer.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.0)
    assert pid(database) != first
    database.dispose()
    other.dispose()


def test_a_connection_in_steady_use_is_kept(postgresql_url: str):
    database = Database(postgresql_url)
    assert pid(database) == pid(database)
    database.dispose()


def test_a_read_is_of_one_moment_and_changes_nothing(postgresql_url: str):
    database = Database(postgresql_url)
    with database.write() as writing:
        writing.execute(sa.text("CREATE TABLE moment (number int)"))
    with database.read() as reading:
        assert reading.execute(sa.text("SELECT count(*) FROM moment")).scalar_one() == 0
        with database.write() as writing:
            writing.execute(sa.text("INSERT INTO moment VALUES (1)"))
        assert reading.execute(sa.text("SELECT count(*) FROM moment")).scalar_one() == 0
    with pytest.raises(sa.exc.InternalError), database.read() as reading:
        reading.execute(sa.text("INSERT INTO moment VALUES (2)"))
    database.dispose()
