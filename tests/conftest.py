"""What all tests share: the loopback fence, the peers with their skips and their list at the end, the databases.

Markers name the peers a test needs (`tests/peers/availability.py`). The long forms of the proofs are marked `soak` and
run only with ``-m soak`` or KOPRU_SOAK=1.
"""

import os
import runpy
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.peers.availability import BY_MARKER, PEERS, ROOT, peers_are_demanded

_LOOPBACK = ROOT / "tests" / "peers" / "loopback"

# This process, and every Python process that a test starts, stays on the loopback interface and finds the packages.
runpy.run_path(str(_LOOPBACK / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(_LOOPBACK), str(ROOT)])


_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30  # a whole run leaves less than a tenth of it at a time


def _work_in_memory() -> None:
    """Put what tests write into memory where there is room and nobody chose a place: fsync makes them wait for a disk,
    and what is asked of the system is the same. The long forms of the proofs write to the disk.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    memory = os.statvfs(_MEMORY)
    if memory.f_bavail * memory.f_frsize >= _ROOM_BYTES and not memory.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_configure(config: pytest.Config) -> None:
    if not _soak_is_wanted(config):
        _work_in_memory()
    # A busy machine draws and runs examples slowly; that says nothing of what is tested.
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")
    for peer in PEERS:
        config.addinivalue_line("markers", f"{peer.marker}: needs {peer.what}")
    config.addinivalue_line("markers", "soak: the long form of a proof; run with -m soak or KOPRU_SOAK=1")


def _soak_is_wanted(config: pytest.Config) -> bool:
    return os.environ.get("KOPRU_SOAK", "") == "1" or "soak" in config.option.markexpr


_SLOW_FOLDERS = ("system", "lint", "steps", "contention", "receiver")


def _slow_folders_first(item: pytest.Item) -> int:
    folders = {folder.name for folder in item.path.parents}
    return next((place for place, slow in enumerate(_SLOW_FOLDERS) if slow in folders), len(_SLOW_FOLDERS))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_slow_folders_first)  # else one worker has them left while the others are done
    if _soak_is_wanted(config):
        return
    long_forms = [item for item in items if item.get_closest_marker("soak")]
    if long_forms:
        config.hook.pytest_deselected(items=long_forms)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [p for m in item.iter_markers() if (p := BY_MARKER.get(m.name)) and not p.present]
    if not missing:
        return
    reason = "; ".join(f"needs {p.what} ({p.get})" for p in missing)
    if peers_are_demanded() and any(p.demanded for p in missing):
        pytest.fail(f"{reason}; KOPRU_REQUIRE_PEERS=1 makes this a failure", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was left out because a peer is missing, and how to get it."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        for marker in BY_MARKER.keys() & getattr(report, "keywords", {}).keys():
            if not BY_MARKER[marker].present:
                left_out[marker].append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section("left out: peers that are missing")
    for marker, tests in sorted(left_out.items()):
        peer = BY_MARKER[marker]
        terminalreporter.line(f"{peer.what}: {peer.get}")
        for test in sorted(tests):
            terminalreporter.line(f"    {test}")


# Fixtures import what they need when they are used, so that what is missing or broken breaks only its own tests.


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The supplied radiographs and tables; tests that use it are marked `data`."""
    from tests.peers import availability

    return availability.data_folder()


@pytest.fixture(scope="session")
def dcmtk():
    """Runs dcmtk's tools: ``dcmtk("echoscu", "127.0.0.1", port)``; tests that use it are marked `dcmtk`."""
    from tests.peers.dcmtk import Dcmtk

    return Dcmtk()


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory):
    from tests.peers.orthanc import Orthanc

    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture
def orthanc(orthanc_server):
    """An empty Orthanc; tests that use it are marked `orthanc`."""
    orthanc_server.clear()
    return orthanc_server


@pytest.fixture(scope="session")
def postgresql_server():
    """The PostgreSQL server of this run; tests that use it are marked `postgresql`."""
    from tests.peers.postgresql import PostgreSQL

    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server) -> str:
    """The name of a database that has the tables."""
    from daemon.database import Database
    from daemon.database.migrate import migrate

    def fill(url: str) -> None:
        database = Database(url)
        migrate(database)
        database.dispose()

    return postgresql_server.make_template(fill)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database that has the tables, closed: to be copied."""
    from daemon.database import Database
    from daemon.database.migrate import migrate

    file = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    database = Database(f"sqlite+pysqlite:///{file}")
    migrate(database)
    database.dispose()
    return file


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def dialect(request: pytest.FixtureRequest) -> str:
    """Both databases in turn."""
    return str(request.param)


@pytest.fixture
def empty_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if dialect == "sqlite":
        yield f"sqlite+pysqlite:///{tmp_path / 'kopru.sqlite'}"
        return
    server = request.getfixturevalue("postgresql_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database with all tables: what a test hands to another process."""
    if dialect == "sqlite":
        file = tmp_path / "kopru.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite+pysqlite:///{file}"
        return
    server = request.getfixturevalue("postgresql_server")
    name = server.create(request.getfixturevalue("postgresql_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database(database_url: str):
    """A `daemon.database.Database` with all tables, on SQLite and on PostgreSQL in turn."""
    from daemon.database import Database

    opened = Database(database_url)
    yield opened
    opened.dispose()
