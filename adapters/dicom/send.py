"""Sends Part 10 files to an application entity by C-STORE, as they are: an SCU on pynetdicom (PS3.4 B, PS3.7 9.3.1).

Nothing is ever transcoded: each file is proposed in its own transfer syntax only, and its data set is sent byte for
byte from the file. A file that cannot be sent gives a result that says why; it does not stop the others.
"""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.presentation import build_context

from adapters.dicom.errors import AssociationAborted, AssociationRejected, PeerUnreachable, SendError
from adapters.dicom.outgoing import Context
from adapters.dicom.patience import Patience
from adapters.dicom.peer_answers import abort, rejection, status_name

MAXIMUM_CONTEXTS: Final = 128  # the ids are odd and below 256 (PS3.8 9.3.2.2)


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity that is called, and as whom; so long it may take nothing while it owes an answer."""

    called_ae: str
    host: str
    port: int
    calling_ae: str
    timeout_seconds: float


def is_stored(status: int) -> bool:
    """Whether a C-STORE status says that the peer has it: success or a warning."""
    return status == 0 or status & 0xF000 == 0xB000


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one file: the peer's status (PS3.4 B.2.3; None if it got no answer) and one line of words, empty
    for a plain success.
    """

    path: Path
    status: int | None
    message: str

    @property
    def stored(self) -> bool:
        """Whether the peer has it: success or a warning."""
        return self.status is not None and is_stored(self.status)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def context(self) -> Context:
        return self.sop_class_uid, self.transfer_syntax_uid


def send_files(
    paths: Iterable[Path],
    *,
    called_ae: str,
    host: str,
    port: int,
    calling_ae: str = "KOPRU",
    timeout_seconds: float = 60.0,
) -> Iterator[SendResult]:
    """Send the files and yield a result for each, as soon as it is known.

    Opens one association after the other when there are more than 128 kinds of SOP class and transfer syntax. Raises
    `SendError` when the peer cannot be reached or rejects the association.
    """
    files: list[_File] = []
    for path in paths:
        file = _inspect(path)
        if isinstance(file, SendResult):
            yield file
        else:
            files.append(file)
    for group in groups(files):
        with associated(
            Peer(called_ae, host, port, calling_ae, timeout_seconds), (file.context for file in group)
        ) as opened:
            for file in group:
                yield _send(opened, file)


def _inspect(path: Path) -> _File | SendResult:
    try:
        meta = read_file_meta_info(path)
        return _File(path, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    except (InvalidDicomError, AttributeError, EOFError, ValueError):
        return SendResult(path, None, "not sent: no DICOM Part 10 file with complete File Meta Information")
    except OSError as error:
        return SendResult(path, None, f"not sent: {error.strerror}")


def _send(opened: "Opened", file: _File) -> SendResult:
    if file.context not in opened.accepted:
        return SendResult(file.path, None, f"not sent: {not_accepted(file.context)}")
    if not opened.lasts:
        return SendResult(file.path, None, "not sent: the association has ended")
    try:
        answer = opened.store(file.path)
    except (OSError, ValueError, AttributeError) as error:
        return SendResult(file.path, None, f"not sent: the file cannot be read ({type(error).__name__})")
    if answer is None:
        return SendResult(file.path, None, NO_ANSWER)
    code, comment = answer
    words = [status_name(code)] if code else []
    return SendResult(file.path, code, ": ".join([*words, *([comment] if comment else [])]))


class _HasContext(Protocol):
    @property
    def context(self) -> Context: ...


Item = TypeVar("Item", bound=_HasContext)
_HOLDING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
NO_ANSWER: Final = "no answer: the peer aborted or was silent for too long"


def not_accepted(context: Context) -> str:
    """That the peer did not accept a context, in words."""
    sop_class, syntax = (UID(uid).name for uid in context)
    return f"no accepted presentation context for {sop_class} in {syntax}"


def groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """What is to be sent, cut where a group would need too many presentation contexts.

    A private transfer syntax gets a group of its own: pynetdicom cannot tell it from others of the same SOP class.
    """

    def private_syntax(item: Item) -> str:
        syntax = item.context[1]
        return "" if UID(syntax).is_transfer_syntax else syntax

    for _, alike in groupby(sorted(items, key=private_syntax), key=private_syntax):
        group: list[Item] = []
        contexts: set[Context] = set()
        for item in alike:
            if item.context not in contexts and len(contexts) == MAXIMUM_CONTEXTS:
                yield group
                group, contexts = [], set()
            group.append(item)
            contexts.add(item.context)
        yield group


class Checkpoint(threading.Event):
    """Where pynetdicom's own thread waits while somebody else sends and takes the answer.

    pynetdicom's flag (`_is_paused`) says that it waits before it does; in between it may take an answer that is not its
    own, and the association is lost. Here it is known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waits = threading.Event()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nobody sends; only pynetdicom's thread does, and it names no `timeout`."""
        del timeout
        while True:
            if not self.is_set():
                self._waits.set()
            if super().wait(_LOOK_SECONDS):
                return True

    def hold(self, seconds: float) -> bool:
        """Let that thread wait, from when this returns until somebody calls `set`; False if it does not come here."""
        self._waits.clear()
        self.clear()
        return self._waits.wait(seconds)


class Opened:
    """An association with a peer that was asked for some contexts; `accepted` are those it took."""

    def __init__(self, association: Association, patience: Patience) -> None:
        self._association = association
        self._patience = patience
        self._checkpoint = association._reactor_checkpoint = Checkpoint()
        self.accepted: frozenset[Context] = frozenset(
            (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
        )

    @property
    def lasts(self) -> bool:
        """Whether more can be sent."""
        return bool(self._association.is_established)

    def store(self, path: Path) -> tuple[int, str] | None:
        """C-STORE a Part 10 file: the status and the peer's comment on it, None without an answer. Raises what reading
        the file raises.
        """
        self._checkpoint.hold(_HOLDING_SECONDS)
        _config.STORE_SEND_CHUNKED_DATASET = True  # reads the data set as it is, instead of through pydicom
        with self._patience.waiting():
            status = self._association.send_c_store(path)
        if "Status" not in status:
            return None
        comment = str(status.get("ErrorComment", ""))
        return int(status.Status), "".join(character for character in comment if character.isprintable())


@contextmanager
def associated(peer: Peer, contexts: Iterable[Context]) -> Iterator[Opened]:
    """An association in which at most 128 contexts were proposed, released in the end. Raises `SendError`."""
    entity = AE(ae_title=peer.calling_ae)
    entity.dimse_timeout = None  # it counts from when the first byte of an instance leaves; `Patience`, from the last
    entity.acse_timeout = entity.network_timeout = entity.connection_timeout = peer.timeout_seconds
    proposed = [build_context(*context) for context in dict.fromkeys(contexts)]
    heard = _Heard()
    with Patience(peer.timeout_seconds) as patience:
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, heard.connection),
            (evt.EVT_PDU_RECV, heard.pdu),
            *patience.handlers,
        ]
        with patience.waiting():
            association = entity.associate(
                peer.host, peer.port, contexts=proposed, ae_title=peer.called_ae, max_pdu=0, evt_handlers=handlers
            )
        if not association.is_established and not heard.accepted:
            raise heard.error(peer)
        try:
            yield Opened(association, patience)
        finally:
            if association.is_established:
                with patience.waiting():
                    association.release()


class _Heard:
    """What came from the peer before there was an association: pynetdicom itself tells a rejection, an abort and a
    connection that could not be made apart only sometimes.
    """

    def __init__(self) -> None:
        self.connected = self.accepted = False
        self.answer: A_ASSOCIATE_RJ | A_ABORT_RQ | None = None

    def connection(self, _event: evt.Event) -> None:
        self.connected = True

    def pdu(self, event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_AC):
            self.accepted = True
        elif isinstance(event.pdu, A_ASSOCIATE_RJ | A_ABORT_RQ) and self.answer is None:
            self.answer = event.pdu

    def error(self, peer: Peer) -> SendError:
        """Why there is no association."""
        answer, named = self.answer, f"{peer.called_ae} at {peer.host}:{peer.port}"
        if isinstance(answer, A_ASSOCIATE_RJ):
            source, reason = int(answer.source or 0), int(answer.reason_diagnostic or 0)
            said = rejection(int(answer.result or 0), source, reason)
            return AssociationRejected(f"{named} rejected the association: {said}", source, reason)
        if isinstance(answer, A_ABORT_RQ):
            said = abort(int(answer.source or 0), int(answer.reason_diagnostic or 0))
            return AssociationAborted(f"{named} aborted instead of accepting an association: {said}")
        if not self.connected:
            return PeerUnreachable(f"{named} cannot be reached: {_why_no_connection(peer)}")
        return PeerUnreachable(
            f"{named} was connected to, but closed the connection or was silent for {peer.timeout_seconds:g} s: "
            "is it a DICOM port?"
        )


def _why_no_connection(peer: Peer) -> str:
    """Connect once more, since pynetdicom keeps the system's error to itself."""
    try:
        socket.create_connection((peer.host, peer.port), peer.timeout_seconds).close()
    except ConnectionRefusedError:
        return "connection refused, so nothing listens at this port"
    except socket.gaierror:
        return "no such host name"
    except TimeoutError:
        return f"no answer within {peer.timeout_seconds:g} s; a firewall between, or another address?"
    except OSError as error:
        return str(error.strerror or type(error).__name__).lower()
    return "the connection failed, and succeeded when tried again"
