"""A DICOM peer that can misbehave: PDUs and commands written by hand, so that they can be wrong (PS3.8, PS3.7 9.3)."""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7

Context = tuple[int, str, Sequence[str]]


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """A PDU; `length` may lie."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def associate_request(
    contexts: Sequence[Context] = ((1, CT, (EXPLICIT,)),),
    *,
    called: str = "KOPRU",
    calling: str = "TEST",
    version: int = 1,
    application_context: str = "1.2.840.10008.3.1.1.1",
    maximum_length: int = 16384,
    more: bytes = b"",
) -> bytes:
    proposed = b"".join(
        item(
            0x20,
            bytes((number, 0, 0, 0))
            + item(0x30, abstract.encode())
            + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes),
        )
        for number, abstract, syntaxes in contexts
    )
    user = item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3.4") + item(0x55, b"RAW PEER")
    head = struct.pack(">HH16s16s32x", version, 0, called.encode().ljust(16), calling.encode().ljust(16))
    return pdu(1, head + item(0x10, application_context.encode()) + proposed + item(0x50, user) + more)


def pdv(context: int, control: int, fragment: bytes, *, length: int | None = None) -> bytes:
    """A fragment; control bit 0: command, bit 1: last. `length` may lie."""
    return struct.pack(">IBB", len(fragment) + 2 if length is None else length, context, control) + fragment


def p_data(context: int, control: int, fragment: bytes) -> bytes:
    return pdu(P_DATA, pdv(context, control, fragment))


def command(
    field: int,
    *,
    sop_class: str = CT,
    instance: str = "",
    message_id: int = 1,
    priority: int = 0,
    data_set: bool = True,
) -> bytes:
    def even(text: str) -> bytes:
        return text.encode() + b"\0" * (len(text) % 2)

    elements = [
        (0x0002, even(sop_class)),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0700, struct.pack("<H", priority)),
        (0x0800, struct.pack("<H", 0 if data_set else 0x0101)),
        (0x1000, even(instance)),
    ]
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements if value)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


@dataclass(frozen=True)
class Response:
    status: int
    comment: str
    sop_instance_uid: str
    message_id: int


def parse_response(command_set: bytes) -> Response:
    values: dict[int, bytes] = {}
    position = 0
    while position < len(command_set):
        _, element, length = struct.unpack_from("<HHI", command_set, position)
        values[element] = command_set[position + 8 : position + 8 + length]
        position += 8 + length
    assert values[0x0800] == b"\x01\x01"
    return Response(
        int.from_bytes(values[0x0900], "little"),
        values.get(0x0902, b"").decode(),
        values.get(0x1000, b"").decode().rstrip("\0"),
        int.from_bytes(values[0x0120], "little"),
    )


class RawPeer:
    """A connection to a receiver, with or without an association."""

    def __init__(self, port: int, *, seconds: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        self.socket.sendall(b"".join(pieces))

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.read(6))
        return kind, self.read(length)

    def is_closed(self) -> bool:
        """Whether the receiver closes (after whatever it still sends); waits for it."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True

    def associate(self, *arguments: object, **options: object) -> bytes:
        """Request an association and demand that it is accepted; gives the answer's body."""
        self.send(associate_request(*arguments, **options))  # type: ignore[arg-type]
        kind, body = self.read_pdu()
        assert kind == ASSOCIATE_AC, (kind, body)
        position = 68
        while position < len(body):
            item_kind, length = struct.unpack_from(">BxH", body, position)
            value = body[position + 4 : position + 4 + length]
            if item_kind == 0x21 and value[2] == 0:
                self.accepted[value[0]] = value[8:].decode()
            position += 4 + length
        return body

    def response(self) -> Response:
        kind, body = self.read_pdu()
        assert kind == P_DATA, (kind, body)
        length, _, control = struct.unpack_from(">IBB", body)
        assert control == 3
        assert length == len(body) - 4
        return parse_response(body[6:])

    def echo(self, context: int = 1) -> Response:
        self.send(p_data(context, 3, command(0x30, sop_class=VERIFICATION, data_set=False)))
        return self.response()

    def store(
        self,
        data_set: bytes,
        instance: str,
        *,
        context: int = 1,
        sop_class: str = CT,
        priority: int = 0,
        fragment_bytes: int = 16000,
    ) -> Response:
        """C-STORE, the data set in fragments of their own PDUs; gives the answer."""
        self.send(p_data(context, 3, command(1, sop_class=sop_class, instance=instance, priority=priority)))
        starts = range(0, max(len(data_set), 1), fragment_bytes)
        for start in starts:
            last = start == starts[-1]
            self.send(p_data(context, 2 if last else 0, data_set[start : start + fragment_bytes]))
        return self.response()

    def release(self) -> None:
        self.send(pdu(5, bytes(4)))
        kind, _ = self.read_pdu()
        assert kind == RELEASE_RP
