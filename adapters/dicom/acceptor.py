"""Accepts associations on a listening socket that several receiver processes share, a thread for each (DESIGN §4).

The socket is bound, and the processes are started, elsewhere. It must never let one peer, whatever it sends, end the
process or hold more than its share: connections without an accepted association are limited in number and time.

The upper layer is written out here (`upper_layer`, `connection`, `association`) instead of taken from pynetdicom: this
way a PDU's length is judged before memory is taken for it, an instance's size before it is collected, the limit counts
associations of all processes, and nothing polls, which costs pynetdicom's acceptor several times what an instance costs
here. pynetdicom is the SCU (`send`).
"""

import selectors
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from adapters.dicom.association import Association, AssociationRules
from adapters.dicom.association_slots import AssociationSlots
from adapters.dicom.connection import Connection
from adapters.dicom.events import Events, Intake
from adapters.dicom.negotiation import AeRules
from adapters.storage import ObjectRef

_ACCEPT_POLL_SECONDS: Final = 0.25  # how long a stop may go unnoticed
_UNASSOCIATED_CONNECTIONS: Final = 32  # beyond the allowed associations: peers that are about to be rejected
_log = structlog.get_logger(__name__)


def _ignore(_: ObjectRef) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class AcceptorSettings:
    """How to receive. Sizes in bytes, times in seconds. `called_ae` or `calling_aes` None: any is taken.

    `slots_directory` is shared by all receivers of the host; it counts their associations. `drain_seconds` is how long
    open associations may go on after a stop before they are aborted. `on_stored` is called in the association's thread
    after each stored instance and must return at once.
    """

    called_ae: str | None
    calling_aes: frozenset[str] | None
    slots_directory: Path
    maximum_associations: int = 64
    maximum_pdu_bytes: int = 1 << 20
    maximum_object_bytes: int = 2 << 30
    request_timeout_seconds: float = 30.0
    network_timeout_seconds: float = 60.0
    drain_seconds: float = 30.0
    on_stored: Callable[[ObjectRef], None] = _ignore


def serve_acceptor(settings: AcceptorSettings, listener: socket.socket, intake: Intake, stop: threading.Event) -> None:
    """Accept associations until `stop` is set; returns when the last one has ended. `listener` is left open."""
    _Acceptor(settings, intake).serve(listener, stop)


class _Acceptor:
    def __init__(self, settings: AcceptorSettings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._rules = AssociationRules(
            ae=AeRules(settings.called_ae, settings.calling_aes),
            maximum_pdu_bytes=settings.maximum_pdu_bytes,
            maximum_object_bytes=settings.maximum_object_bytes,
            request_timeout_seconds=settings.request_timeout_seconds,
            take_slot=AssociationSlots(settings.slots_directory, settings.maximum_associations).take,
            on_stored=settings.on_stored,
            events=Events(intake),
        )
        self._open: dict[Association, threading.Thread] = {}
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket, stop: threading.Event) -> None:
        listener.settimeout(0)
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not stop.is_set():
                if selector.select(_ACCEPT_POLL_SECONDS):
                    self._accept(listener, stop)
        self._drain()

    def _accept(self, listener: socket.socket, stop: threading.Event) -> None:
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another receiver was faster, or the peer has gone
            return
        except OSError as error:  # out of descriptors or memory: let associations end, then go on
            _log.error("cannot_accept", reason=error.strerror)
            stop.wait(_ACCEPT_POLL_SECONDS)
            return
        with self._lock:
            crowded = len(self._open) >= self._settings.maximum_associations + _UNASSOCIATED_CONNECTIONS
        if crowded:
            _log.warning("connection_closed_unread", peer=address[0], why="too many connections")
            accepted.close()
            return
        connection = Connection(
            accepted,
            maximum_pdu_bytes=self._settings.maximum_pdu_bytes,
            timeout_seconds=self._settings.network_timeout_seconds,
        )
        association = Association(connection, address[0], self._rules, self._intake)
        thread = threading.Thread(
            target=self._run, args=(association,), name=f"association {association.id}", daemon=True
        )
        with self._lock:
            self._open[association] = thread
        try:
            thread.start()
        except RuntimeError:
            _log.error("connection_closed_unread", peer=address[0], why="no more threads can be started")
            with self._lock:
                del self._open[association]
            connection.close()

    def _run(self, association: Association) -> None:
        try:
            association.serve()
        except Exception as error:  # noqa: BLE001 - the last resort of a thread: the process goes on, the fault is told
            # The message may hold data and is left out; the places in the code do not.
            places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            _log.error("association_failed", association=association.id, error=type(error).__name__, places=places)
        finally:
            with self._lock:
                del self._open[association]

    def _drain(self) -> None:
        deadline = time.monotonic() + self._settings.drain_seconds
        for thread in self._threads().values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for association, thread in self._threads().items():
            association.abort()
            thread.join(self._settings.network_timeout_seconds)

    def _threads(self) -> dict[Association, threading.Thread]:
        with self._lock:
            return dict(self._open)
