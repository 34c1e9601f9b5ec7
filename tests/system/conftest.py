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


@pytest.fixture(scope="module")
def daemon_of_the_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kopru]:
    folder = tmp_path_factory.mktemp("kopru")
    daemon = Kopru(folder, f"sqlite:///{folder / 'data' / 'kopru.sqlite'}")
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def kopru(daemon_of_the_file: Kopru) -> Kopru:
    """A running daemon on SQLite that writes reports into a directory: one for all tests of a file, to each a new page.

    Starting one takes many times as long as most tests.
    """
    return daemon_of_the_file.turn_over()
