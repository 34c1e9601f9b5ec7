"""The PDUs of the DICOM Upper Layer that an acceptor reads and writes: bytes to values and back (PS3.8 9.3).

No sockets and no clocks. Every length is checked against what holds it before anything is taken by it; what does not
fit raises `ProtocolError`. Items and sub-items of unknown types are ignored, as PS3.8 9.3.1 demands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, unique
from struct import Struct
from typing import Final, NamedTuple

from adapters.dicom.errors import AbortReason, ProtocolError

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID: Final = "2.25.197014292238713555399370649939866075786"
IMPLEMENTATION_VERSION_NAME: Final = "KOPRU_1"
PDU_HEADER: Final = Struct(">BxI")  # type, reserved, length of what follows

_ASSOCIATE_FIXED: Final = Struct(">H2x16s16s32x")
_ITEM_HEADER: Final = Struct(">BxH")
_PDV_HEADER: Final = Struct(">IBB")


@unique
class PduType(IntEnum):
    """PS3.8 Table 9-1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


@unique
class _Item(IntEnum):
    """Types of items and sub-items (PS3.8 9.3.2, D.1; PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    IMPLEMENTATION_VERSION_NAME = 0x55


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it; transfer syntaxes in its order."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). AE titles without outer spaces; `maximum_length` 0 is "no limit"."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    titles: bytes = field(repr=False)  # the 64 bytes that the answer repeats unchanged (PS3.8 9.3.3)


@unique
class ContextResult(IntEnum):
    """PS3.8 Table 9-18."""

    ACCEPTANCE = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class ContextAnswer(NamedTuple):
    """What the acceptor says to a proposed context. `transfer_syntax` is without meaning unless it is accepted."""

    id: int
    result: ContextResult
    abstract_syntax: str
    transfer_syntax: str


class Pdv(NamedTuple):
    """A presentation data value: one fragment of a message (PS3.8 9.3.5.1, Annex E)."""

    context_id: int
    is_command: bool
    is_last: bool
    fragment: memoryview


def parse_associate_request(body: bytes) -> AssociateRequest:
    """Read what follows the PDU header of an A-ASSOCIATE-RQ."""
    if len(body) < _ASSOCIATE_FIXED.size:
        raise _invalid("the association request is too short")
    version, called, calling = _ASSOCIATE_FIXED.unpack_from(body)
    application_context = ""
    contexts: list[ProposedContext] = []
    maximum_length = 0
    for kind, value in _items(body[_ASSOCIATE_FIXED.size :]):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = _uid(value)
        elif kind == _Item.PRESENTATION_CONTEXT_RQ:
            contexts.append(_proposed_context(value))
        elif kind == _Item.USER_INFORMATION:
            maximum_length = _maximum_length(value)
    if not contexts:
        raise _invalid("the association request proposes no presentation context")
    if len({context.id for context in contexts}) != len(contexts):
        raise _invalid("the association request uses a presentation context id twice")
    return AssociateRequest(
        version, _title(called), _title(calling), application_context, tuple(contexts), maximum_length, body[4:68]
    )


def encode_associate_accept(request: AssociateRequest, answers: list[ContextAnswer], maximum_length: int) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). No optional negotiation is answered: that leaves each at its default."""
    contexts = b"".join(
        _item(
            _Item.PRESENTATION_CONTEXT_AC,
            bytes((answer.id, 0, answer.result, 0)) + _item(_Item.TRANSFER_SYNTAX, answer.transfer_syntax.encode()),
        )
        for answer in answers
    )
    user_information = (
        _item(_Item.MAXIMUM_LENGTH, maximum_length.to_bytes(4, "big"))
        + _item(_Item.IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode())
        + _item(_Item.IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode())
    )
    return encode_pdu(
        PduType.ASSOCIATE_AC,
        b"\0\1\0\0"
        + request.titles
        + _item(_Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode())
        + contexts
        + _item(_Item.USER_INFORMATION, user_information),
    )


def encode_associate_reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return encode_pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))


def encode_release_response() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return encode_pdu(PduType.RELEASE_RP, bytes(4))


def encode_abort(reason: AbortReason) -> bytes:
    """A-ABORT of the service provider (PS3.8 9.3.8)."""
    return encode_pdu(PduType.ABORT, bytes((0, 0, 2, reason)))


def encode_command(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """P-DATA-TF PDUs with a whole command set, none longer than the peer takes (PS3.8 9.3.5, D.1.1)."""
    room = (maximum_length or len(command) + _PDV_HEADER.size) - _PDV_HEADER.size
    if room < 1:
        raise _invalid("the peer takes no PDU that could hold a message")
    pieces = [command[start : start + room] for start in range(0, len(command), room)]
    return b"".join(
        encode_pdu(
            PduType.P_DATA,
            _PDV_HEADER.pack(len(piece) + 2, context_id, 0x03 if number == len(pieces) else 0x01) + piece,
        )
        for number, piece in enumerate(pieces, start=1)
    )


def encode_pdu(kind: PduType, body: bytes) -> bytes:
    """A PDU with its header."""
    return PDU_HEADER.pack(kind, len(body)) + body


def split_pdvs(body: memoryview) -> Iterator[Pdv]:
    """The fragments in a P-DATA-TF; they are views of `body`, nothing is copied."""
    position = 0
    while position < len(body):
        if len(body) - position < _PDV_HEADER.size:
            raise _invalid("a P-DATA-TF PDU ends within the header of a fragment")
        length, context_id, control = _PDV_HEADER.unpack_from(body, position)
        start, end = position + _PDV_HEADER.size, position + 4 + length
        if length < 2 or end > len(body):
            raise _invalid("a fragment is longer than the P-DATA-TF PDU around it")
        yield Pdv(context_id, bool(control & 1), bool(control & 2), body[start:end])
        position = end


def _proposed_context(value: bytes) -> ProposedContext:
    if len(value) < 4 or value[0] % 2 == 0:
        raise _invalid("a presentation context is too short or has an even id")
    abstract_syntax = ""
    transfer_syntaxes = []
    for kind, uid in _items(value[4:]):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(uid)
        elif kind == _Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(uid))
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _maximum_length(user_information: bytes) -> int:
    for kind, value in _items(user_information):
        if kind == _Item.MAXIMUM_LENGTH:
            if len(value) != 4:
                raise _invalid("the maximum length is not 4 bytes")
            return int.from_bytes(value, "big")
    return 0


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM_HEADER.size:
            raise _invalid("the association request ends within an item's header")
        kind, length = _ITEM_HEADER.unpack_from(data, position)
        start = position + _ITEM_HEADER.size
        if start + length > len(data):
            raise _invalid("an item of the association request is longer than what holds it")
        yield kind, data[start : start + length]
        position = start + length


def _item(kind: _Item, value: bytes) -> bytes:
    return _ITEM_HEADER.pack(kind, len(value)) + value


def _uid(value: bytes) -> str:
    """A UID, without the padding that PS3.8 forbids and peers send."""
    try:
        return value.rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise _invalid("a UID of the association request is not ASCII") from None


def _title(value: bytes) -> str:
    """An AE title (ISO 646, PS3.8 9.3.2) without outer spaces; what cannot be printed becomes a question mark."""
    text = value.decode("ascii", errors="replace").strip(" \0")
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(AbortReason.INVALID_PARAMETER, message)
