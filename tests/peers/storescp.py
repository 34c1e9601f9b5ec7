"""dcmtk's `storescp` as an archive: keeps what it gets as files, bit for bit, and can be away for a while."""

import os
import socket
from pathlib import Path

from tests.peers.availability import command
from tests.peers.process import PeerProcess, free_port
from tests.waiting import wait_until


class StoreScp:
    """An archive with a port of its own, which takes nothing until it is started."""

    aet = "ARCHIVE"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / "archive"
        self.folder.mkdir(parents=True)
        self._log = folder / "storescp.log"
        self._process: PeerProcess | None = None

    def start(self, *options: str) -> None:
        """Begin to take what comes; `options` are those of the program, by default `+xa` for every transfer syntax."""
        program = command("storescp")
        assert program, "storescp of dcmtk is not installed"
        arguments = ("-aet", self.aet, "+B", *(options or ("+xa",)), "-od", str(self.folder), str(self.port))
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        self._process = PeerProcess([program, *arguments], log=self._log, env=environment)
        wait_until(self._listens, f"storescp to listen; its log ends:\n{self._process.output()}")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.running, f"storescp ended at once:\n{self._process.output()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def files(self) -> list[Path]:
        """What it has."""
        return sorted(self.folder.iterdir())

    def stop(self) -> None:
        """End it; what it has stays."""
        if self._process is not None:
            self._process.stop()
