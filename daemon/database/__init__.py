"""The database: tables (`schema`), connections (`Database`), the server's clock, migrations."""

from daemon.database.clock import database_now
from daemon.database.connection import Database

__all__ = ["Database", "database_now"]
