"""Brings a database to the tables of this version. Every start calls `migrate`; it must be safe when two do at once.

The whole of it is one transaction, held by one process at a time: it either arrives at the newest revision or leaves
the database as it was. A database of a newer kopru is refused, never touched.
"""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from daemon.database.connection import Database

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6B6F707275  # "kopru": one migration at a time in a PostgreSQL database


class NewerDatabaseError(RuntimeError):
    """The database was made by a newer version of kopru than this one."""

    def __init__(self, revision: str, newest: str) -> None:
        super().__init__(
            f"the database is at revision {revision!r}, which this version of kopru does not know "
            f"(its newest is {newest!r}); start the newer version, or restore the backup made before the upgrade"
        )


def migration_config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration for the migrations that lie in this package."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(database: Database, tell: Callable[[sa.Connection, str | None, str], None] | None = None) -> None:
    """Make or upgrade all tables. Raises `NewerDatabaseError`; any other failure leaves the database unchanged.

    `tell` is called in the same transaction, if anything was changed, with the revisions before (None: the database was
    empty) and after.
    """
    with database.write() as connection:
        if not database.is_sqlite:  # on SQLite the write lock is held already
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        config = migration_config(connection)
        scripts = ScriptDirectory.from_config(config)
        newest = scripts.get_current_head() or ""
        known = {script.revision for script in scripts.walk_revisions()}
        current = MigrationContext.configure(connection).get_current_revision()
        if current == newest:
            return
        if current is not None and current not in known:
            raise NewerDatabaseError(current, newest)
        command.upgrade(config, "head")
        if tell is not None:
            tell(connection, current, newest)
