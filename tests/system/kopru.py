"""A real daemon in a temporary folder: started as `kopru serve`, fed over C-STORE, asked over its control socket."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from adapters.dicom import send_files
from daemon.control import ControlClient, ControlError
from tests.peers.process import free_port
from tests.waiting import wait_until

SOURCE = "TESTPACS"
ISSUER = "test-hospital"
SYSTEM = "urn:oid:1.2.3.4.5"

_SETTINGS = """\
[node]
name = "test"
data = "{data}"
runtime_directory = "{runtime}"

[database]
url = "{database}"

[dicom]
port = {port}
receivers = {receivers}

[store]
minimum_free_bytes = 0

[engine]
pixel_workers = 1
lease_seconds = 5.0

[[sources]]
ae_title = "{source}"
issuer = "{issuer}"
timezone = "Europe/Istanbul"
settle_seconds = {settle}
timeout_seconds = {timeout}

[[destinations]]
{destination}
"""


class Kopru:
    """A daemon under test. `start` and `stop` may be called again; the data stays. `more` is added to the settings.

    Where it serves one test after the other, `turn_over` begins a new page: what earlier tests put in is shown no more.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        fhir_url: str | None = None,
        more: str = "",
        receivers: int = 1,
        settle: float = 0.5,
        timeout: float = 20.0,
    ) -> None:
        self.folder = folder
        self.runtime = Path(tempfile.mkdtemp(prefix="kopru-test-"))
        self.data = folder / "data"
        self.reports = folder / "reports"
        self.log = folder / "kopru.log"
        self.port = free_port()
        self.settings = folder / "kopru.toml"
        if fhir_url:
            destination = (
                f'name = "ehr"\nkind = "fhir"\nurl = "{fhir_url}"\nconfirm_research = true\n'
                f'timeout_seconds = 20.0\npatient_systems = {{ "{ISSUER}" = "{SYSTEM}" }}'
            )
        else:
            destination = f'name = "reports"\nkind = "directory"\npath = "{self.reports}"'
        folder.mkdir(parents=True, exist_ok=True)
        url = sa.make_url(database_url.replace("sqlite+pysqlite", "sqlite"))
        self.environment = {**os.environ, "KOPRU_DATABASE__PASSWORD": url.password or ""}
        if not url.password:
            del self.environment["KOPRU_DATABASE__PASSWORD"]
        self.settings.write_text(
            _SETTINGS.format(
                data=self.data,
                runtime=self.runtime,
                database=url._replace(password=None).render_as_string(),
                port=self.port,
                receivers=receivers,
                source=SOURCE,
                issuer=ISSUER,
                settle=settle,
                timeout=timeout,
                destination=destination,
            )
            + more
        )
        self.client = ControlClient(self.runtime)
        self.process: subprocess.Popen[bytes] | None = None
        self._earlier: set[str] = set()
        self._earlier_refusals: Counter[str] = Counter()

    def start(self) -> "Kopru":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "--config", self.settings, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        wait_until(self._is_ready, f"the daemon to get ready; its log is {self.log}", 90)
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended:\n{self.log.read_text()[-4000:]}"
        try:
            return bool(self.ask("status")["runtime"] == "ready")
        except ControlError:
            return False

    def stop(self) -> int:
        """SIGTERM, and wait; gives the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """kill -9 of the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End what runs and remove the sockets."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def ask(self, command: str, **arguments: Any) -> Any:
        return self.client.ask(command, **arguments)

    def cli(self, *arguments: str | Path, code: int | None = 0) -> str:
        """Run the command line against this daemon; gives what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "daemon.cli", "--config", self.settings, *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=120,
        )
        if code is not None:
            assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def send(self, paths: Iterable[Path]) -> list[Path]:
        """C-STORE the files; gives those that were acknowledged."""
        results = send_files(list(paths), called_ae="KOPRU", host="127.0.0.1", port=self.port, calling_ae=SOURCE)
        return [result.path for result in results if result.stored]

    def turn_over(self) -> "Kopru":
        """Begin a new page once no work is under way; start again if the test before ended the daemon."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        wait_until(self._is_idle, "the work of the test before to end", 60)
        self._earlier.update(study["study"] for study in self.studies())
        self._earlier_refusals = self._times_refused()
        for report in self.reports.glob("[!.]*"):
            report.unlink()
        return self

    def _is_idle(self) -> bool:
        status = self.ask("status")
        under_way = [name for name in status["tasks"] if name.endswith(("/ready", "/running"))]
        return not under_way and not status["revisions"].get("assembling") and status["index"]["waiting"] == 0

    def studies(self) -> list[dict[str, Any]]:
        """The studies of this page."""
        return [study for study in self.ask("studies.list", limit=1000) if study["study"] not in self._earlier]

    def refused(self) -> Counter[str]:
        """What the operator sees refused on this page: how often from whom."""
        return self._times_refused() - self._earlier_refusals

    def _times_refused(self) -> Counter[str]:
        times: Counter[str] = Counter()
        for row in self.ask("status")["refused_last_day"]:
            times[row["source"]] += row["times"]
        return times

    def wait_for_states(self, states: dict[str, int], seconds: float = 60.0) -> list[dict[str, Any]]:
        """Wait until the newest revisions are in these states, so many of each."""

        def reached() -> bool:
            counted: dict[str, int] = {}
            for study in self.studies():
                counted[study["state"]] = counted.get(study["state"], 0) + 1
            return counted == states

        try:
            wait_until(reached, f"studies to be {states}", seconds)
        except AssertionError:
            others = [study for study in self.studies() if study["state"] not in states][:5]
            raise AssertionError(
                f"waited for {states}; not yet, such as {others}\n{self.log.read_text()[-4000:]}"
            ) from None
        return self.studies()

    def children(self) -> dict[str, list[int]]:
        """Process ids of the living children by kind."""
        assert self.process is not None
        found: dict[str, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid and b"daemon.supervision.child" in command:
                kind = command[command.index(b"daemon.supervision.child") + 1].decode()
                found.setdefault(kind, []).append(int(entry.name))
        return found

    def kill_child(self, kind: str) -> None:
        """kill -9 of one child of the kind, if one lives."""
        for pid in self.children().get(kind, [])[:1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
