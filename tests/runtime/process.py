"""The runtime as a process of its own, for tests that talk to it, attack it and kill it."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from runtime import serve

_START_SECONDS = 60.0


class RuntimeProcess:
    """One process. `log` is the file of its standard error."""

    def __init__(self, socket: Path, packages: Sequence[Path], log: Path) -> None:
        self.socket = socket
        with log.open("ab") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.runtime.process", str(socket), *map(str, packages)],
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == b"ready\n", log.read_text()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(_START_SECONDS)

    def stop(self) -> int:
        self.popen.terminate()
        return self.popen.wait(_START_SECONDS)


@contextlib.contextmanager
def running(socket: Path, packages: Sequence[Path], log: Path) -> Iterator[RuntimeProcess]:
    """Start a process and end it with the block."""
    process = RuntimeProcess(socket, packages, log)
    try:
        yield process
    finally:
        process.kill()
        assert process.popen.stdout is not None
        process.popen.stdout.close()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    socket, *packages = map(Path, sys.argv[1:])
    serve(socket, packages, on_ready=lambda: print("ready", flush=True), stop=stop, threads=1)


if __name__ == "__main__":
    main()
