"""Sends Part 10 files to an application entity by C-STORE, as they are: an SCU on pynetdicom (PS3.4 B, PS3.7 9.3.1).

Nothing is ever transcoded: each file is proposed in its own transfer syntax only, and its data set is sent byte for
byte from the file. A file that cannot be sent gives a result that says why; it does not stop the others.
"""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.presentation import build_context

from adapters.dicom.errors import AssociationAborted, AssociationRejected, PeerUnreachable, SendError
from adapters.dicom.peer_answers import abort, rejection, status_name

MAXIMUM_CONTEXTS: Final = 128  # the ids are odd and below 256 (PS3.8 9.3.2.2)


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
        return self.status is not None and (self.status == 0 or self.status & 0xF000 == 0xB000)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def context(self) -> tuple[str, str]:
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
    for group in _groups(files):
        yield from _send_group(group, called_ae, host, port, calling_ae, timeout_seconds)


def _inspect(path: Path) -> _File | SendResult:
    try:
        meta = read_file_meta_info(path)
        return _File(path, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    except (InvalidDicomError, AttributeError, EOFError, ValueError):
        return SendResult(path, None, "not sent: no DICOM Part 10 file with complete File Meta Information")
    except OSError as error:
        return SendResult(path, None, f"not sent: {error.strerror}")


def _groups(files: list[_File]) -> Iterator[list[_File]]:
    """The files, cut where a group would need too many presentation contexts.

    A private transfer syntax gets a group of its own: pynetdicom cannot tell it from others of the same SOP class.
    """

    def private_syntax(file: _File) -> str:
        return "" if UID(file.transfer_syntax_uid).is_transfer_syntax else file.transfer_syntax_uid

    for _, alike in groupby(sorted(files, key=private_syntax), key=private_syntax):
        group: list[_File] = []
        contexts: set[tuple[str, str]] = set()
        for file in alike:
            if file.context not in contexts and len(contexts) == MAXIMUM_CONTEXTS:
                yield group
                group, contexts = [], set()
            group.append(file)
            contexts.add(file.context)
        yield group


def _send_group(
    files: list[_File], called_ae: str, host: str, port: int, calling_ae: str, timeout_seconds: float
) -> Iterator[SendResult]:
    entity = AE(ae_title=calling_ae)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_seconds
    contexts = [build_context(*context) for context in dict.fromkeys(file.context for file in files)]
    heard = _Heard()
    handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, heard.connection), (evt.EVT_PDU_RECV, heard.pdu)]
    association = entity.associate(host, port, contexts=contexts, ae_title=called_ae, max_pdu=0, evt_handlers=handlers)
    if not association.is_established and not heard.accepted:
        raise heard.error(f"{called_ae} at {host}:{port}", (host, port), timeout_seconds)
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    try:
        for file in files:
            yield _send(association, file, accepted)
    finally:
        if association.is_established:
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

    def error(self, peer: str, address: tuple[str, int], timeout_seconds: float) -> SendError:
        """Why there is no association."""
        answer = self.answer
        if isinstance(answer, A_ASSOCIATE_RJ):
            source, reason = int(answer.source or 0), int(answer.reason_diagnostic or 0)
            said = rejection(int(answer.result or 0), source, reason)
            return AssociationRejected(f"{peer} rejected the association: {said}", source, reason)
        if isinstance(answer, A_ABORT_RQ):
            said = abort(int(answer.source or 0), int(answer.reason_diagnostic or 0))
            return AssociationAborted(f"{peer} aborted instead of accepting an association: {said}")
        if not self.connected:
            return PeerUnreachable(f"{peer} cannot be reached: {_why_no_connection(address, timeout_seconds)}")
        return PeerUnreachable(
            f"{peer} was connected to, but closed the connection or was silent for {timeout_seconds:g} s: "
            "is it a DICOM port?"
        )


def _why_no_connection(address: tuple[str, int], timeout_seconds: float) -> str:
    """Connect once more, since pynetdicom keeps the system's error to itself."""
    try:
        socket.create_connection(address, timeout_seconds).close()
    except ConnectionRefusedError:
        return "connection refused, so nothing listens at this port"
    except socket.gaierror:
        return "no such host name"
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} s; a firewall between, or another address?"
    except OSError as error:
        return str(error.strerror or type(error).__name__).lower()
    return "the connection failed, and succeeded when tried again"


def _send(association: Association, file: _File, accepted: set[tuple[str, str]]) -> SendResult:
    if file.context not in accepted:
        sop_class, syntax = (UID(uid).name for uid in file.context)
        return SendResult(file.path, None, f"not sent: no accepted presentation context for {sop_class} in {syntax}")
    if not association.is_established:
        return SendResult(file.path, None, "not sent: the association has ended")
    _config.STORE_SEND_CHUNKED_DATASET = True  # reads the data set from the file as it is, instead of through pydicom
    try:
        status = association.send_c_store(file.path)
    except (OSError, ValueError, AttributeError) as error:
        return SendResult(file.path, None, f"not sent: the file cannot be read ({type(error).__name__})")
    if "Status" not in status:
        return SendResult(file.path, None, "no answer: the peer aborted or was silent for too long")
    code = int(status.Status)
    comment = "".join(character for character in str(status.get("ErrorComment", "")) if character.isprintable())
    words = [status_name(code)] if code else []
    return SendResult(file.path, code, ": ".join([*words, *([comment] if comment else [])]))
