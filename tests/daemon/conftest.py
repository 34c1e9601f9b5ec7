"""A `Node` on either database, with a key store and an object store of its own, and studies to put into it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.folders import prepare_folders
from daemon.node import Node
from daemon.settings import Settings, load_settings


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings on embedded defaults; the sockets lie in a short path (unix(7))."""
    runtime = Path(tempfile.mkdtemp(prefix="kopru-test-"))
    environ = {
        "HOME": str(tmp_path),
        "KOPRU_NODE__NAME": "test",
        "KOPRU_NODE__DATA": str(tmp_path / "data"),
        "KOPRU_NODE__RUNTIME_DIRECTORY": str(runtime),
        "KOPRU_DATABASE__URL": database_url,
        "KOPRU_STORE__MINIMUM_FREE_BYTES": "0",
    }
    yield load_settings(None, {}, environ).settings
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    """What a process of the daemon works with; nothing else runs."""
    prepare_folders(settings)
    opened = Node.open(settings, "test")
    yield opened
    opened.database.dispose()
