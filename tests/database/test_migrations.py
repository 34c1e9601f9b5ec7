"""The migrations lead to the tables that the code uses, on both databases, once, whoever starts first."""

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from daemon.database import Database
from daemon.database.migrate import NewerDatabaseError, migrate
from daemon.database.schema import metadata

_MIGRATE_AT_THE_WORD = """
import sys
from daemon.database import Database
from daemon.database.migrate import migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(Database(sys.argv[1]))
"""


@pytest.fixture
def empty_database(empty_database_url):
    database = Database(empty_database_url)
    yield database
    database.dispose()


def _revision(database):
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def test_migrations_make_the_tables_of_the_schema(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_comparison_can_fail(database):
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE lease ADD COLUMN surprise INTEGER"))
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata)


def test_migrating_again_changes_nothing(database):
    before = _revision(database)
    migrate(database)
    assert _revision(database) == before is not None


def test_processes_that_start_at_once_migrate_once(empty_database, empty_database_url):
    command = [sys.executable, "-c", _MIGRATE_AT_THE_WORD, empty_database_url]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        starter.stdin.write("go\n")
        starter.stdin.flush()
    for starter in starters:
        _, errors = starter.communicate(timeout=60)
        assert starter.returncode == 0, errors
    assert _revision(empty_database)


def test_a_database_of_a_newer_version_is_refused(database):
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    with pytest.raises(NewerDatabaseError, match="from-the-future"):
        migrate(database)


def test_a_failing_migration_leaves_the_database_as_it_was(empty_database):
    with empty_database.write() as connection:
        connection.execute(sa.text("CREATE TABLE task (id INTEGER)"))  # in the way of one of ours
    with pytest.raises(sa.exc.DBAPIError):
        migrate(empty_database)
    with empty_database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["task"]
