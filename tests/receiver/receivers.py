"""Starts receiver processes on one shared socket, looks into what they stored, and ends them."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.storage import ObjectRef, ObjectStore, Receipt, ReceiptKind
from tests.receiver.receiver_process import ReceiverOptions, arguments, open_store

ROOT = Path(__file__).parents[2]


class Receivers:
    """Receiver processes of one host: one socket, one store, one key store."""

    def __init__(self, root: Path, options: ReceiverOptions | None = None) -> None:
        self.root = root
        self._options = replace(options or ReceiverOptions(root=""), root=str(root))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.processes: list[subprocess.Popen[str]] = []
        self.log_path = root / "receivers.log"
        self._opened: dict[ObjectRef, tuple[Receipt, bytes]] = {}

    def start(
        self,
        *,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        receiver_id: str | None = None,
    ) -> subprocess.Popen[str]:
        """Start one more process and wait until it serves; `prefix` is a command that runs it, such as a tracer."""
        options = replace(
            self._options,
            descriptor=self._listener.fileno(),
            receiver_id=receiver_id or f"receiver-{len(self.processes) + 1}",
        )
        with self.log_path.open("a") as log:
            process = subprocess.Popen(
                [*prefix, *arguments(options)],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                pass_fds=[self._listener.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"the receiver did not start:\n{self.log_path.read_text()}"
        return process

    def stop(self) -> None:
        """Let all processes drain and end; kill those that do not."""
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def kill(self) -> None:
        """End all processes as a crash does."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """Stop, and free the port."""
        self.stop()
        self._listener.close()

    def store(self) -> ObjectStore:
        """The store as another process sees it."""
        return open_store(self.root)

    def opened(self) -> list[tuple[ObjectRef, Receipt, bytes]]:
        """Everything in the intake, opened; what was opened before is not opened again."""
        store = self.store()
        refs = [
            ref for receiver in store.receivers() for batch in store.batches(receiver) for ref in store.objects(batch)
        ]
        self._opened.update({ref: store.open(ref) for ref in refs if ref not in self._opened})
        return [(ref, *self._opened[ref]) for ref in refs]

    def instances(self) -> dict[str, bytes]:
        """The stored data sets by SOP Instance UID."""
        return {r.sop_instance_uid: data for _, r, data in self.opened() if r.kind is ReceiptKind.INSTANCE}

    def events(self) -> list[Receipt]:
        """The events in the order of their time."""
        found = [receipt for _, receipt, _ in self.opened() if receipt.kind is ReceiptKind.EVENT]
        return sorted(found, key=lambda receipt: receipt.received_at)
