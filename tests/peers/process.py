"""Peers as child processes: ended with the test run, even when that is killed, with their output kept for a failure."""

import ctypes
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PeerProcess:
    """A running peer. `log` is the file that takes its output; `user` is the account it runs under, if not ours."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        account = pwd.getpwnam(user) if user else None
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                preexec_fn=_end_with_parent,
            )

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def output(self, last: int = 4000) -> str:
        """The last characters of what it wrote."""
        return self.log.read_text(errors="replace")[-last:]

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """Ask it to end with `how`; kill it when it has not done so after `seconds`."""
        if not self.running:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
