"""The database: tables (`schema`), connections (`Database`), the server's clock, migrations."""

from daemon.database.clock import CLOCK_TOLERANCE_SECONDS, database_now
from daemon.database.connection import Database

__all__ = ["CLOCK_TOLERANCE_SECONDS", "Database", "database_now"]
