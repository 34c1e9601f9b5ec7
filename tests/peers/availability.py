"""Which peers the tests use, how to see whether one is there, and how to get it.

A test names its peers by markers. Where a peer is missing the test is skipped and the run's end lists it; with
KOPRU_REQUIRE_PEERS=1, as in `.ci/run`, it fails instead. Hardware and data that no package brings are never demanded.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.peers import mlserver, node

ROOT = Path(__file__).parents[2]
_OWN_PROGRAMS = str(Path(sys.prefix) / "bin")
_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin")
DCMTK_COMMANDS = ("storescu", "storescp", "dcmsend", "echoscu", "dcmdump", "dcmodify", "dump2dcm", "dcmconv", "dcmcrle")


def command(name: str, *folders: str) -> Path | None:
    """Where a program lies: in `folders`, in the system's, or on the path.

    The system's come first and this environment's are left out, since pynetdicom brings an `echoscu` of its own.
    """
    named = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != _OWN_PROGRAMS]
    path = os.pathsep.join([*folders, *_SYSTEM_FOLDERS, *named])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def postgresql_folder() -> Path | None:
    """The folder of PostgreSQL's own programs (`initdb`, `postgres`), the newest where there are several."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    found = command("initdb", *[str(folder) for folder in reversed(versions)])
    return found.resolve().parent if found else None


def data_folder() -> Path:
    """Where the supplied radiographs lie: KOPRU_TEST_DATA, else `../shared/data` beside the checkout."""
    named = os.environ.get("KOPRU_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def _commands(*names: str) -> Callable[[], bool]:
    return lambda: all(command(name) for name in names)


def _node_is_ready() -> bool:
    return node.node_command() is not None and node.packages_installed()


@dataclass(frozen=True)
class Peer:
    """Something the tests talk to. `marker` names it, `get` says how to come by it."""

    marker: str
    what: str
    get: str
    find: Callable[[], bool]
    demanded: bool = True  # by KOPRU_REQUIRE_PEERS=1

    @cached_property
    def present(self) -> bool:
        """Whether it is there; looked for once."""
        return self.find()


PEERS = (
    Peer("dcmtk", "the DICOM tools of dcmtk", "apt-get install dcmtk", _commands(*DCMTK_COMMANDS)),
    Peer("orthanc", "the DICOM server Orthanc", "apt-get install orthanc", _commands("Orthanc")),
    Peer("postgresql", "PostgreSQL's server programs", "apt-get install postgresql", lambda: bool(postgresql_folder())),
    Peer("node", "Node.js 20 and the locked npm packages", "make test", _node_is_ready),
    Peer("mlserver", "MLServer in an environment of its own", "make test", mlserver.installed),
    Peer("dciodvfy", "the IOD verifier of dicom3tools", "apt-get install dicom3tools", _commands("dciodvfy")),
    Peer("strace", "the system-call tracer", "apt-get install strace", _commands("strace")),
    Peer("cc", "a C compiler", "apt-get install gcc libc6-dev", _commands("cc")),
    Peer("systemd", "systemd-analyze", "apt-get install systemd", _commands("systemd-analyze")),
    Peer(
        "torch",
        "PyTorch, to train models",
        "make torch",
        lambda: importlib.util.find_spec("torch") is not None,
    ),
    Peer(
        "data",
        "the supplied radiographs",
        "set KOPRU_TEST_DATA to their folder",
        lambda: (data_folder() / "chest-xray").is_dir(),
        demanded=False,
    ),
    Peer(
        "gpu",
        "an NVIDIA GPU",
        "run on a machine that has one",
        lambda: any(Path("/dev").glob("nvidia[0-9]*")),  # a container may have been given any of them
        demanded=False,
    ),
)
BY_MARKER = {peer.marker: peer for peer in PEERS}


def peers_are_demanded() -> bool:
    """Whether a missing peer is a failure."""
    return os.environ.get("KOPRU_REQUIRE_PEERS", "") == "1"
