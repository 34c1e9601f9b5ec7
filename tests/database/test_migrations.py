"""The migrations lead to the tables that the code uses, on both databases, once, whoever starts first."""

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from daemon.database import Database
from daemon.database.migrate import NewerDatabaseError, migrate, migration_config
from daemon.database.schema import metadata
from daemon.intake.modalities import MODALITIES

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


def test_what_an_operator_rejected_is_told_from_what_a_note_named_and_odd_modalities_go(empty_database):
    rows = [
        {
            "id": "a",
            "standing": "rejected",
            "reason": "rejected by an operator: cannot be proven clean",
            "modality": "CT",
        },
        {"id": "b", "standing": "rejected", "reason": "named by a rejection note", "modality": "12345678950"},
        {"id": "c", "standing": "current", "reason": None, "modality": None},
        *({"id": f"m{term}", "standing": "current", "reason": None, "modality": term} for term in MODALITIES),
    ]
    with empty_database.write() as connection:
        command.upgrade(migration_config(connection), "0002")
        required = "object_ref, uid_tag, sop_class_uid, transfer_syntax_uid, content_tag, identity_tag, pixel_tag"
        connection.execute(
            sa.text(
                f"INSERT INTO instance (id, standing, reason, modality, {required}, byte_length, received_at) "
                "VALUES (:id, :standing, :reason, :modality, :id, '', '', '', '', '', '', 0, 0)"
            ),
            rows,
        )
    migrate(empty_database)
    with empty_database.read() as connection:
        found = connection.execute(sa.text("SELECT id, standing, modality FROM instance")).all()
    after = {row.id: (row.standing, row.modality) for row in found}
    assert after["a"] == ("rejected-by-operator", "CT")
    assert after["b"] == ("rejected", None)
    assert after["c"] == ("current", None)
    assert all(after[f"m{term}"] == ("current", term) for term in MODALITIES)
