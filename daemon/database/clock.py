"""The database's own clock as an SQL expression: seconds since the Unix epoch, so that hosts need not agree on the
time.
"""

from typing import Any, Final

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

CLOCK_TOLERANCE_SECONDS: Final = 60.0
"""Clocks of hosts may differ by this. What is noted as later than that was noted before the clock was set back."""


class database_now(GenericFunction[float]):  # noqa: N801 - reads as the SQL function it is
    """The current time of the database server, in seconds since 1970-01-01 UTC."""

    type = Double()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::double precision"
