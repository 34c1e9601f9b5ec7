"""A `receiver` child: accepts associations on the shared socket and stores what comes. Knows no database.

Its id, and so the folder it writes to, is new with each start: a predecessor that was killed left its own behind, which
the indexer reads to the end.
"""

import os
import secrets
import socket

from adapters.dicom import AcceptorSettings, serve_acceptor
from adapters.keys import KeyStore
from adapters.storage import IntakeWriter, ObjectStore
from daemon.engine.wakeup import Waker
from daemon.folders import open_master_key
from daemon.settings import Settings
from daemon.supervision.child import LISTENER_FD, Child


def run(settings: Settings, child: Child) -> None:
    """Receive until told to stop; open associations may finish."""
    listener = socket.socket(fileno=int(os.environ[LISTENER_FD]))
    store = ObjectStore(settings.store.path, KeyStore(settings.keys.mirrors, open_master_key(settings)))
    intake = IntakeWriter(
        store,
        f"{settings.node.name[:32]}-{secrets.token_hex(8)}",
        minimum_free_bytes=settings.store.minimum_free_bytes,
    )
    waker = Waker(settings.node.runtime_directory)
    child.ready()
    serve_acceptor(_acceptor_settings(settings, waker), listener, intake, child.stop)
    intake.close()
    waker.wake()


def _acceptor_settings(settings: Settings, waker: Waker) -> AcceptorSettings:
    dicom = settings.dicom
    return AcceptorSettings(
        called_ae=None if dicom.accept_any_called else dicom.ae_title,
        calling_aes=None if dicom.accept_any_calling else frozenset(s.ae_title for s in settings.sources),
        slots_directory=settings.node.runtime_directory / "associations",
        maximum_associations=dicom.maximum_associations,
        maximum_pdu_bytes=dicom.maximum_pdu_bytes,
        maximum_object_bytes=dicom.maximum_object_bytes,
        network_timeout_seconds=dicom.network_timeout_seconds,
        on_stored=lambda _ref: waker.wake(),
    )
