"""DIMSE messages for an SCP of C-ECHO and C-STORE: put together from fragments, and answered (PS3.7 6.3, 9.3).

No sockets and no clocks. A data set is collected exactly as it came; beyond the limit its bytes are counted, not kept.
"""

from dataclasses import dataclass, field
from enum import IntEnum, unique
from io import BytesIO
from struct import Struct
from typing import Final

from adapters.dicom.errors import AbortReason, ProtocolError
from adapters.dicom.upper_layer import Pdv

_MAXIMUM_COMMAND_BYTES: Final = 1 << 16
_ELEMENT: Final = Struct("<HHI")
_NO_DATA_SET: Final = 0x0101
_RESPONSE: Final = 0x8000


@unique
class CommandField(IntEnum):
    """The requests that are served or known here (PS3.7 E.1-1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


@unique
class Status(IntEnum):
    """The statuses that are answered (PS3.7 C, PS3.4 B.2.3)."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Command:
    """What matters of a command set: `kind` is the Command Field (0000,0100); "" for a UID that is not there.

    `high_priority` is whether the sender gave Priority (0000,0700) as HIGH (PS3.7 9.3.1.1).
    """

    kind: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    has_data_set: bool
    high_priority: bool = False

    @property
    def is_response(self) -> bool:
        """Whether it answers a request; we make none."""
        return bool(self.kind & _RESPONSE)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message. `data_set` is b"" if there is none, or if it was `oversized` and therefore not kept."""

    context_id: int
    command: Command
    data_set: bytes = field(repr=False)
    oversized: bool = False


class MessageAssembler:
    """Puts the fragments of one message after the other together. Requests do not overlap (PS3.7 D.3.3.3)."""

    def __init__(self, maximum_data_set_bytes: int) -> None:
        self._maximum = maximum_data_set_bytes
        self._begun: _Unfinished | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message has begun."""
        return self._begun is None

    def feed(self, pdv: Pdv) -> Message | None:
        """Take a fragment; gives the message that it completes. Raises `ProtocolError`."""
        if self._begun is None:
            self._begun = _Unfinished(pdv.context_id)
        begun = self._begun
        if begun.context_id != pdv.context_id:
            raise _invalid("a message changes its presentation context")
        if pdv.is_command:
            self._take_command(begun, pdv)
        else:
            self._take_data_set(begun, pdv)
        command = begun.command
        if command is None or not pdv.is_last or command.has_data_set == pdv.is_command:
            return None
        self._begun = None
        return Message(begun.context_id, command, begun.data_set.getvalue(), begun.oversized)

    def _take_command(self, begun: "_Unfinished", pdv: Pdv) -> None:
        if begun.command is not None:
            raise _invalid("a command begins before the data set before it ended")
        if len(begun.command_set) + len(pdv.fragment) > _MAXIMUM_COMMAND_BYTES:
            raise _invalid("a command set is too long")
        begun.command_set += pdv.fragment
        if pdv.is_last:
            begun.command = parse_command(bytes(begun.command_set))

    def _take_data_set(self, begun: "_Unfinished", pdv: Pdv) -> None:
        if begun.command is None:
            raise _invalid("a data set comes before its command")
        if not begun.oversized and begun.data_set.tell() + len(pdv.fragment) > self._maximum:
            begun.oversized = True
            begun.data_set = BytesIO()
        if not begun.oversized:
            begun.data_set.write(pdv.fragment)


@dataclass(slots=True)
class _Unfinished:
    """The message that is being put together."""

    context_id: int
    command_set: bytearray = field(default_factory=bytearray)
    command: Command | None = None
    data_set: BytesIO = field(default_factory=BytesIO)
    oversized: bool = False


_HIGH: Final = (0x0001).to_bytes(2, "little")


def parse_command(command_set: bytes) -> Command:
    """Read a command set: Implicit VR Little Endian, group 0000 only (PS3.7 6.3.1). Raises `ProtocolError`."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(command_set):
        if len(command_set) - position < _ELEMENT.size:
            raise _invalid("a command set ends within an element")
        group, element, length = _ELEMENT.unpack_from(command_set, position)
        position += _ELEMENT.size
        if group != 0 or length > len(command_set) - position:
            raise _invalid("a command set holds what is no command element")
        values[element] = command_set[position : position + length]
        position += length
    return Command(
        kind=_unsigned(values, 0x0100),
        message_id=_unsigned(values, 0x0110),
        sop_class_uid=_uid(values, 0x0002) or _uid(values, 0x0003),
        sop_instance_uid=_uid(values, 0x1000) or _uid(values, 0x1001),
        has_data_set=_unsigned(values, 0x0800) != _NO_DATA_SET,
        high_priority=values.get(0x0700) == _HIGH,
    )


def encode_response(command: Command, status: Status, comment: str = "") -> bytes:
    """The command set that answers `command` (PS3.7 9.3.1.2, 9.3.5.2); `comment` is cut to a LO's 64 characters."""
    elements = [
        (0x0002, _padded(command.sop_class_uid, b"\0")),
        (0x0100, _us(command.kind | _RESPONSE)),
        (0x0120, _us(command.message_id)),
        (0x0800, _us(_NO_DATA_SET)),
        (0x0900, _us(status)),
        (0x0902, _padded(comment[:64], b" ")),
        (0x1000, _padded(command.sop_instance_uid, b"\0")),
    ]
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements if value)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _unsigned(values: dict[int, bytes], element: int) -> int:
    """A US value; PS3.7 E.1 wants each of those that are asked for."""
    value = values.get(element, b"")
    if len(value) != 2:
        if element == 0x0110:  # C-CANCEL-RQ has none
            return 0
        raise _invalid("a command set lacks an element that it must have")
    return int.from_bytes(value, "little")


def _uid(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("ascii", errors="backslashreplace").strip(" \0")


def _us(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _padded(text: str, padding: bytes) -> bytes:
    raw = text.encode("ascii", errors="replace")
    return raw + padding * (len(raw) % 2)


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(AbortReason.INVALID_PARAMETER, message)
