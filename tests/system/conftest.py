"""Daemons under test, and the FHIR server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.medplum import fhir_server, medplum  # noqa: F401 - fixtures
from tests.system.kopru import Kopru


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite database that the daemon will make."""
    return f"sqlite:///{tmp_path / 'data' / 'kopru.sqlite'}"


@pytest.fixture
def kopru(tmp_path: Path, sqlite_url: str) -> Iterator[Kopru]:
    """A running daemon on SQLite that writes reports into a directory."""
    daemon = Kopru(tmp_path, sqlite_url)
    try:
        yield daemon.start()
    finally:
        daemon.close()
