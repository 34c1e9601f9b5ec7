"""Run by Alembic: applies migrations on the connection that `daemon.database.migrate` hands over, in its transaction.

From the command line (``make migration``) there is no such connection; the URL then comes from ``-x url=…``.
"""

import sqlalchemy as sa
from alembic import context

from daemon.database.connection import Database
from daemon.database.schema import metadata


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_handed_over = context.config.attributes.get("connection")
if _handed_over is not None:
    _run(_handed_over)
else:
    _database = Database(context.get_x_argument(as_dictionary=True)["url"])
    with _database.write() as _connection:
        _run(_connection)
