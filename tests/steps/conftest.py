"""The installation whose steps are tested."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.database import Database
from daemon.database.schema import metadata
from tests.peers.storescp import StoreScp
from tests.steps.installation import Installation, Make


@pytest.fixture(scope="session")
def lasting_postgresql_url(postgresql_server, postgresql_template: str) -> str:
    """The URL of one database for many tests: making one for each would take longer than the tests."""
    return postgresql_server.url(postgresql_server.create(postgresql_template))


@pytest.fixture
def emptied_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with empty tables, on SQLite and on PostgreSQL in turn."""
    if dialect == "sqlite":
        file = tmp_path / "kopru.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        return f"sqlite+pysqlite:///{file}"
    database = Database(request.getfixturevalue("lasting_postgresql_url"))
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    database.dispose()
    return database.url.render_as_string(hide_password=False)


@pytest.fixture
def installation(tmp_path: Path, emptied_database_url: str, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation on SQLite and PostgreSQL in turn; in the end nothing may be dropped.

    It has the destinations that the test's module names as `DESTINATIONS`, else two.
    """
    made = Installation(tmp_path, emptied_database_url, getattr(request.module, "DESTINATIONS", ("reports", "archive")))
    try:
        yield made
        made.assert_nothing_is_dropped()
    finally:
        made.close()


@pytest.fixture
def make(tmp_path: Path, emptied_database_url: str) -> Iterator[Make]:
    """Makes an installation with these archives; in the end nothing may be dropped."""
    made: list[Installation] = []

    def one(*archives: dict[str, Any], reports: tuple[str, ...] = ("reports",), **sections: Any) -> Installation:
        made.append(Installation(tmp_path / "node", emptied_database_url, reports, archives, **sections))
        return made[-1]

    try:
        yield one
        for installation in made:
            installation.assert_nothing_is_dropped()
    finally:
        for installation in made:
            installation.close()


@pytest.fixture
def teaching(tmp_path: Path) -> Iterator[StoreScp]:
    """One more archive."""
    made = StoreScp(tmp_path / "teaching")
    yield made
    made.stop()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[StoreScp]:
    made = StoreScp(tmp_path)
    yield made
    made.stop()
