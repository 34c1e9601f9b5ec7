"""A lease: the right to act alone (DESIGN §4), kept in the table `lease` and timed by the database's clock.

The holder confirms its lease inside each transaction that relies on it. That locks the row until the commit, so a
holder that was too slow and lost its lease cannot commit anything afterwards: time alone is never trusted.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from daemon.database.clock import CLOCK_TOLERANCE_SECONDS, database_now
from daemon.database.schema import lease as _lease


@dataclass(frozen=True, slots=True)
class Lease:
    """A right that was granted. `generation` is greater than that of every holder before."""

    name: str
    owner: str
    generation: int


def acquire(connection: sa.Connection, name: str, owner: str, seconds: float) -> Lease | None:
    """Take a lease that is free, has run out or is `owner`'s already; None while another holds it.

    One that lasts longer than any is granted for was granted before the clock was set back: it is free, too.
    """
    longest = database_now() + seconds + CLOCK_TOLERANCE_SECONDS
    free = sa.or_(_lease.c.until <= database_now(), _lease.c.until > longest, _lease.c.owner == owner)
    taken = connection.execute(
        sa.update(_lease)
        .where(_lease.c.name == name, free)
        .values(owner=owner, until=database_now() + seconds, generation=_lease.c.generation + 1)
        .returning(_lease.c.generation)
    ).scalar_one_or_none()
    if taken is not None:
        return Lease(name, owner, taken)
    if connection.execute(sa.select(_lease.c.name).where(_lease.c.name == name)).first() is not None:
        return None
    until = connection.execute(sa.select(database_now() + seconds)).scalar_one()
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(_lease).values(name=name, owner=owner, until=until, generation=1))
    except sa.exc.IntegrityError:  # another process made the row first, and holds it
        return None
    return Lease(name, owner, 1)


def confirm(connection: sa.Connection, lease: Lease, seconds: float) -> bool:
    """Whether the lease still is the holder's; if so it lasts `seconds` from now, and nobody takes it before this
    commits.
    """
    return _update(connection, lease, database_now() + seconds)


def release(connection: sa.Connection, lease: Lease) -> bool:
    """Give the lease back, so that the next holder need not wait; False when it was lost before."""
    return _update(connection, lease, sa.literal(0.0))


def _update(connection: sa.Connection, lease: Lease, until: sa.ColumnElement[float]) -> bool:
    mine = (_lease.c.name == lease.name, _lease.c.owner == lease.owner, _lease.c.generation == lease.generation)
    return connection.execute(sa.update(_lease).where(*mine).values(until=until)).rowcount == 1
