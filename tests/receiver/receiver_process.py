"""A receiver as a process of its own, on an inherited listening socket: what the daemon starts, without the daemon.

Run as ``python -m tests.receiver.receiver_process '{"root": …}'``; prints ``ready`` and serves until its standard input
is closed. A mutation, to show that a test can fail, takes away what makes objects durable.
"""

import json
import os
import socket
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from adapters.dicom import AcceptorSettings, serve_acceptor
from adapters.keys import KeyStore, MasterKey
from adapters.storage import IntakeWriter, ObjectStore

MASTER_KEY = bytes(range(32))


@dataclass(frozen=True)
class ReceiverOptions:
    """How the process is to receive."""

    root: str
    descriptor: int = -1
    receiver_id: str = "receiver-1"
    called_ae: str | None = "KOPRU"
    calling_aes: list[str] | None = None
    maximum_associations: int = 16
    maximum_pdu_bytes: int = 1 << 20
    maximum_object_bytes: int = 64 << 20
    minimum_free_bytes: int = 0
    request_timeout_seconds: float = 5.0
    network_timeout_seconds: float = 10.0
    drain_seconds: float = 5.0
    objects_per_batch: int = 256
    mutations: list[str] = field(default_factory=list)


def open_store(root: Path) -> ObjectStore:
    """The object store of a receiver under `root`, with its keys."""
    keys = KeyStore([root / "keys-a", root / "keys-b"], MasterKey(MASTER_KEY))
    return ObjectStore(root / "store", keys)


def _mutate(mutation: str) -> None:
    if mutation == "no fsync":
        os.fsync = lambda _: None  # type: ignore[assignment]
    elif mutation == "no fsync of folders":
        import adapters.storage.intake

        adapters.storage.intake.fsync_directory = lambda _: None
    else:
        raise ValueError(mutation)


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True)
    options = ReceiverOptions(**json.loads(sys.argv[1]))
    store = open_store(Path(options.root))
    intake = IntakeWriter(
        store,
        options.receiver_id,
        minimum_free_bytes=options.minimum_free_bytes,
        objects_per_batch=options.objects_per_batch,
    )
    store.keys.current_epoch()
    for mutation in options.mutations:
        _mutate(mutation)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    settings = AcceptorSettings(
        called_ae=options.called_ae,
        calling_aes=None if options.calling_aes is None else frozenset(options.calling_aes),
        slots_directory=Path(options.root) / "slots",
        maximum_associations=options.maximum_associations,
        maximum_pdu_bytes=options.maximum_pdu_bytes,
        maximum_object_bytes=options.maximum_object_bytes,
        request_timeout_seconds=options.request_timeout_seconds,
        network_timeout_seconds=options.network_timeout_seconds,
        drain_seconds=options.drain_seconds,
    )
    listener = socket.socket(fileno=options.descriptor)
    print("ready", flush=True)
    serve_acceptor(settings, listener, intake, stop)
    intake.close()


def arguments(options: ReceiverOptions) -> list[str]:
    """The command line of the process."""
    return [sys.executable, "-m", "tests.receiver.receiver_process", json.dumps(asdict(options))]


if __name__ == "__main__":
    main()
