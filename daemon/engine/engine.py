"""Starts and stops the engine's loops: tasks, indexing, sealing, schedule. One engine a host works at a time (a file
lock); of the loops that must be alone in the whole installation, each holds a lease in the database.
"""

import fcntl
import os
import threading
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from adapters.keys import KeyStoreError
from adapters.storage import StoreError
from daemon.audit import AuditError, AuditEvent, Kind, Name, Sealer, SigningKey
from daemon.database.lease import Lease, acquire, release
from daemon.deidentification import Recipes
from daemon.destinations import delivered_to, open_archives, open_destinations, open_pacs
from daemon.engine.schedule import Schedule
from daemon.engine.tasks import TaskLoop
from daemon.engine.wakeup import WakeUp
from daemon.intake import COMPARING_SECONDS, INDEX_LEASE_SECONDS, Indexer, IndexingLost
from daemon.logs import configure_logging, places
from daemon.node import Node
from daemon.pipelines import load_packages, open_pipelines
from daemon.registry import register
from daemon.steps import Context
from daemon.workers import Workers

_LOOK_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


class Engine:
    """All loops of one engine process."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock_fd = _hold(node.settings.node.runtime_directory / "engine.lock")
        self._owner = f"{node.settings.node.name[:24]}.{uuid.uuid4().hex[:12]}"
        log = node.settings.log
        speak = partial(configure_logging, log.level, log.format, process="worker")
        self._workers = Workers(node.settings.engine.pixel_workers, speak)
        self._comparing = Workers(1, speak, COMPARING_SECONDS)  # no process of it runs before there is something to do
        packages = load_packages(node.settings)
        node.database.retrying(lambda connection: register(connection, node.audit, packages))
        context = Context(
            node,
            self._workers,
            open_pipelines(node.settings, packages),
            open_destinations(node.settings, delivered_to(node.database)),
            open_archives(node.settings),
            open_pacs(node.settings),
            Recipes(node.settings),
        )
        self._tasks = TaskLoop(context, self._owner)
        self._wake = WakeUp(node.settings.node.runtime_directory)
        self._schedule = Schedule(node)
        key = SigningKey.load_or_create(node.settings.audit.signing_key_file)
        self._sealer = Sealer(node.database, key, node.settings.audit.heads_directory)
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._index_forever, name="indexer", daemon=True),
            threading.Thread(target=self._seal_forever, name="sealer", daemon=True),
        ]

    def start(self) -> None:
        """Begin to work."""
        self._tasks.start()
        self._schedule.start()
        for thread in self._threads:
            thread.start()

    def is_healthy(self) -> bool:
        """Whether all loops live."""
        return self._tasks.is_healthy() and all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Take on nothing new, finish what runs, seal what was recorded."""
        self._stop.set()
        self._schedule.stop()
        self._tasks.stop()
        for thread in self._threads:
            thread.join()
        self._workers.close()
        self._comparing.close(abandon=True)  # the index looks again at what was not compared
        self._wake.close()
        self._node.database.dispose()
        os.close(self._lock_fd)

    def _index_forever(self) -> None:
        indexer: Indexer | None = None
        while not self._stop.is_set():
            try:
                if indexer is None:
                    indexer = self._begin_indexing()
                if indexer is None:
                    self._stop.wait(_LOOK_SECONDS)
                else:
                    found = indexer.pass_once()
                    self._note_trouble(indexer.trouble)
                    if not found:
                        self._wake.wait(_LOOK_SECONDS)
            except IndexingLost:
                indexer = None
            except (sa.exc.DBAPIError, StoreError, KeyStoreError, OSError) as error:
                _log.error("indexing_failed", error=type(error).__name__, trace=places(error))
                self._note_trouble(type(error).__name__)
                indexer = None
                self._stop.wait(1.0)
        if indexer is not None:
            lease = indexer.lease
            self._node.database.retrying(lambda connection: release(connection, lease))

    def _note_trouble(self, error: str | None) -> None:
        """Record why objects stay unindexed, once for each such time, so that `status` can show it. None: they do not.

        Where the database itself fails there is nobody to tell, and nobody who could ask.
        """
        if error is not None and error != self._trouble:
            event = AuditEvent(Kind.INDEXING_FAILED, actor="engine", details={"error": Name(error)})
            with suppress(sa.exc.DBAPIError):
                self._node.database.retrying(lambda connection: self._node.audit.record(connection, event))
        self._trouble = error

    def _begin_indexing(self) -> Indexer | None:
        """An indexer, if no other engine of the installation has one at work."""
        lease: Lease | None = self._node.database.retrying(
            lambda connection: acquire(connection, "indexer", self._owner, INDEX_LEASE_SECONDS)
        )
        return Indexer(self._node, lease, self._comparing) if lease else None

    def _seal_forever(self) -> None:
        try:
            self._sealer.run(self._stop)
        except (AuditError, OSError) as error:  # events go on being recorded; `status` shows the unsealed ones
            _log.error("audit_sealing_stopped", error=type(error).__name__, reason=str(error))
            self._stop.wait()


def _hold(path: Path) -> int:
    """Hold the host's engine lock; waits for a predecessor that is still finishing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
