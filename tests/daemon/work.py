"""What the tests have worker processes do. Imports little, since each new worker imports it."""

import logging
import os
import signal
import threading
import time
import warnings
from pathlib import Path

from tests.waiting import wait_until

PLANTED = "BULUNMAZ^SAHIS"
LONG = 600.0


def block(file: Path) -> None:
    """Say who works, then keep the worker busy in a system call, as a codec that hangs would."""
    file.with_suffix(".part").write_text(str(os.getpid()))
    file.with_suffix(".part").rename(file)
    time.sleep(LONG)


def die(how: signal.Signals) -> None:
    os.kill(os.getpid(), how)


def fail(error: Exception) -> None:
    raise error


def speak() -> None:
    """Everything by which a library in a worker can speak to standard error."""
    warnings.warn(f"Invalid value for VR PN: {PLANTED}", stacklevel=1)
    logging.getLogger("somelibrary").warning("cannot decode %s", PLANTED)
    logging.getLogger("pydicom").error("cannot decode %s", PLANTED)
    threading.Thread(target=fail, args=(ValueError(PLANTED),)).start()


def finish_when_told(folder: Path) -> str:
    """Say that the work began, and end it when the test says so."""
    (folder / "began").touch()
    wait_until((folder / "finish").exists, "the test to say that the work may end")
    return "finished"


def take(seconds: float) -> None:
    """Work that takes this long."""
    time.sleep(seconds)
