"""Runs the demonstration: its own daemon on a free port, the phantom study over C-STORE, and the wait for the report.

Nothing here is special to the demo but the settings: the daemon, the receiver, the model and the report are the real
ones.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydicom import Dataset
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adapters.dicom import SendError, send_files
from daemon.cli.output import console, say
from daemon.control import ControlClient, ControlError
from daemon.demo.phantom import phantom_study
from daemon.demo.telling import tell
from daemon.states import NEEDS_A_PERSON, RevisionState
from daemon.supervision.supervisor import is_running

T = TypeVar("T")
_AE_TITLE: Final = "KOPRU"
_SOURCE: Final = "DEMO-PACS"
_START_SECONDS: Final = 60.0
_REPORT_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1
_MARK: Final = ".kopru-demo"  # only a folder with this file is ever removed
_PREFIX: Final = "kopru-demo-"


class DemoFailed(Exception):
    """The demonstration did not get to its end; the message says where to look."""


@dataclass(frozen=True)
class Stage:
    """Where the demo's things are."""

    out: Path
    runtime_directory: Path
    port: int

    @property
    def data(self) -> Path:
        """The daemon's data folder."""
        return self.out / "data"

    @property
    def reports(self) -> Path:
        """Where reports are written."""
        return self.out / "reports"

    @property
    def settings_file(self) -> Path:
        """The daemon's settings."""
        return self.out / "kopru.toml"

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.out / "kopru.log"

    @property
    def sent(self) -> Path:
        """The sample study's files."""
        return self.out / "sample-study"


def run_demo(out: Path, *, keep: bool) -> None:
    """Play the demonstration in the folder `out`, which is made anew. Raises `DemoFailed`."""
    _clear(out)
    remove_leftovers(Path(tempfile.gettempdir()))
    with _runtime_directory(out / "data") as runtime_directory:
        _play(Stage(out, runtime_directory, _free_port()), keep=keep)


def _play(stage: Stage, *, keep: bool) -> None:
    study = _write_sample(stage)
    began = time.monotonic()
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=False
    ) as progress:
        daemon = _step(progress, "start the daemon", lambda: _start(stage))
        try:
            client = ControlClient(stage.runtime_directory)
            _step(progress, "wait until it receives", lambda: _wait_until_ready(daemon, client, stage))
            _step(progress, "send the sample study over C-STORE", lambda: _send(stage))
            shown = _step(progress, "assemble, de-identify, infer, report", lambda: _wait_for_report(client, stage))
            verified = _step(progress, "verify the audit log", lambda: _verified(client))
        except BaseException:
            _stop(daemon)
            shutil.rmtree(stage.runtime_directory, ignore_errors=True)
            raise
    tell(stage.reports, study, shown, verified, seconds=time.monotonic() - began)
    if keep:
        say("\nThe daemon runs on, as process ", (str(daemon.pid), "bold"))
        say("Stop it   ", (f"kill {daemon.pid}", "bold"))
        say("Ask it    ", (f"kopru --config {stage.settings_file} status", "bold"))
        say("Send to   ", (f"{_AE_TITLE}@127.0.0.1:{stage.port}", "bold"), f", calling as {_SOURCE}")
        say("Its log   ", (str(stage.log), "bold"))
        say("Sockets   ", (str(stage.runtime_directory), "bold"), "; the next demo after its end removes them")
    else:
        _stop(daemon)
        shutil.rmtree(stage.runtime_directory, ignore_errors=True)
    say("\nEverything is in ", (str(stage.out), "bold"), ": settings, log, sealed data, sample study, reports.")


@contextlib.contextmanager
def _runtime_directory(data: Path) -> Iterator[Path]:
    """A new folder for the sockets of the daemon on `data`, marked so that a later demo can tell whether it is still in
    use: by us, as long as we hold the mark's lock, or by the daemon.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / _MARK).open("w", encoding="utf-8") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.write(str(data))
        mark.flush()
        yield folder


def remove_leftovers(folder: Path) -> None:
    """Remove what earlier demos left in the folder for temporary files: those that were kept running and have ended
    since, or were killed.
    """
    for left in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another demo removes the same
            if not left.is_symlink() and left.stat().st_uid == os.geteuid() and (left / _MARK).is_file():
                _remove_unused(left)


def _remove_unused(left: Path) -> None:
    with (left / _MARK).open(encoding="utf-8") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        data = Path(mark.read())
        if data.is_absolute() and not (data.is_dir() and is_running(data)):
            shutil.rmtree(left, ignore_errors=True)


def _step(progress: Progress, description: str, work: Callable[[], T]) -> T:
    task = progress.add_task(description, total=1)
    result = work()
    progress.update(task, completed=1, description=f"[green]✓[/] {description}")
    return result


def _clear(out: Path) -> None:
    """Make the folder anew, but never remove one that is not an earlier demo's, or whose daemon still runs."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).is_file():
            raise DemoFailed(f"{out} is not an earlier demo's folder; give another with --out")
        if is_running(out / "data"):
            raise DemoFailed(f"the daemon of an earlier demo still runs on {out}; stop it, or give another with --out")
        shutil.rmtree(out)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    (out / _MARK).touch()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _write_sample(stage: Stage) -> list[Dataset]:
    stage.sent.mkdir()
    study = phantom_study()
    for number, image in enumerate(study, 1):
        image.save_as(stage.sent / f"{number}.dcm", enforce_file_format=True)
    return study


_SETTINGS: Final = """\
# The demo's settings. Everything else has its default; `kopru --config THIS config show` lists all.
[node]
name = "demo"
data = "{data}"
runtime_directory = "{runtime_directory}"

[dicom]
address = "127.0.0.1"
port = {port}
ae_title = "{ae_title}"
receivers = 1

[store]
minimum_free_bytes = 0

[engine]
pixel_workers = 1

[[sources]]
ae_title = "{source}"
issuer = "demo"
timezone = "Europe/Istanbul"
settle_seconds = 1.0

[[destinations]]
name = "reports"
kind = "directory"
path = "{reports}"
"""


def _start(stage: Stage) -> subprocess.Popen[bytes]:
    stage.settings_file.write_text(
        _SETTINGS.format(
            data=stage.data,
            runtime_directory=stage.runtime_directory,
            port=stage.port,
            ae_title=_AE_TITLE,
            source=_SOURCE,
            reports=stage.reports,
        ),
        encoding="utf-8",
    )
    with stage.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon.cli", "--config", str(stage.settings_file), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_ready(daemon: subprocess.Popen[bytes], client: ControlClient, stage: Stage) -> None:
    for _ in _until(_START_SECONDS):
        if daemon.poll() is not None:
            raise DemoFailed(f"the daemon ended with code {daemon.returncode}; its log is {stage.log}")
        with contextlib.suppress(ControlError):
            if client.ask("status")["runtime"] == "ready":
                return
    raise DemoFailed(f"the daemon did not get ready in {_START_SECONDS:.0f} s; its log is {stage.log}")


def _send(stage: Stage) -> None:
    try:
        results = list(
            send_files(
                sorted(stage.sent.iterdir()),
                called_ae=_AE_TITLE,
                host="127.0.0.1",
                port=stage.port,
                calling_ae=_SOURCE,
            )
        )
    except SendError as error:
        raise DemoFailed(f"the study could not be sent: {error}; the daemon's log is {stage.log}") from None
    if refused := [result.message for result in results if not result.stored]:
        raise DemoFailed(f"the daemon refused an image: {refused[0]}; its log is {stage.log}")


def _wait_for_report(client: ControlClient, stage: Stage) -> dict[str, Any]:
    """The study as the daemon shows it, once its report is delivered."""
    for _ in _until(_REPORT_SECONDS):
        for study in client.ask("studies.list"):
            if study["state"] == RevisionState.DELIVERED:
                shown: dict[str, Any] = client.ask("studies.show", study=study["study"])
                return shown
            if study["state"] in NEEDS_A_PERSON:
                raise DemoFailed(f"the study is {study['state']}: {study['reason']}; the daemon's log is {stage.log}")
    raise DemoFailed(f"no report within {_REPORT_SECONDS:.0f} s; the daemon's log is {stage.log}")


def _verified(client: ControlClient) -> dict[str, Any]:
    report: dict[str, Any] = client.ask("audit.verify")
    if report["problems"]:
        raise DemoFailed("the audit log does not verify; run `kopru audit verify`")
    return report


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _until(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_SECONDS)
