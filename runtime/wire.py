"""How client and runtime process talk: messages on a Unix socket, tensors in shared memory.

One message of a SOCK_SEQPACKET socket is a JSON object of at most 64 KiB, its header, and perhaps a *body*: after a NUL
in the message itself if it has at most 16 KiB, as most answers have; else in a memfd (memfd_create(2)), whose
descriptor is sent along (SCM_RIGHTS, unix(7)). A body has

- the tensors that the header lists, in that order, each at the next multiple of 64 bytes, in C order and the machine's
  byte order;
- or, for a `DocumentReply`, JSON.

Who sends a memfd has filled it through a mapping, and who receives it maps it, to read only: the runtime reads requests
where they lie, a client copies the answers, which may be kept. The receiver first asks for the seals and for the pages:
a memfd that has them all, and can neither shrink nor lose one, is plain memory, of which no peer can make a trap. What
it holds is the sender's, who leaves it alone until the reply has come, then fills it again, and sends it again on the
same connection (`runtime.links`): it may so be larger than a header says. A client sends one request at a time and
waits for its reply.
"""

import array
import fcntl
import math
import mmap
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.json import Decoder, Encoder

from runtime.inference import Array, Device
from runtime.package import DTYPES, DType, Precision
from runtime.verdict import Verdict

MAX_HEADER_BYTES: Final = 1 << 16
MAX_INLINE_BYTES: Final = 1 << 14
MAX_DOCUMENT_BYTES: Final = 1 << 24
_ALIGNMENT: Final = 64
_F_SEAL_FUTURE_WRITE: Final = 0x10  # <linux/fcntl.h>, Linux 5.1: only mappings that are there can write, none punches
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE
_FD_BYTES: Final = array.array("i").itemsize
_MOST_FDS: Final = 4  # room for more than the one allowed, so that a peer that sends more is found out
_MOST_BYTES: Final = MAX_HEADER_BYTES + 1 + MAX_INLINE_BYTES
_NUL: Final = b"\0"  # JSON has none

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Body = int | bytes
"""The descriptor of a memfd, or a body itself."""


class BadMessage(Exception):  # internal to this package: server and client turn it into their own errors
    """The peer does not keep to the protocol. The message says how, without data."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is read is checked (`request_in`, `reply_in`); what is made is not."""


class TensorHeader(_Header, frozen=True):
    """One tensor of a body."""

    name: Annotated[str, Meta(max_length=256)]
    dtype: DType
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=1 << 40)], ...], Meta(max_length=16)]

    @property
    def nbytes(self) -> int:
        """Its size, without padding."""
        return math.prod(self.shape) * self.dtype.numpy.itemsize


Tensors = Annotated[tuple[TensorHeader, ...], Meta(max_length=64)]
_Name = Annotated[str, Meta(max_length=64)]


class InferRequest(_Header, frozen=True, tag_field="verb", tag="infer"):
    """Run a model on the tensors of the body."""

    model: _Name
    priority: Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]
    timeout_seconds: float
    tensors: Tensors
    version: _Name | None = None


class ModelsRequest(_Header, frozen=True, tag_field="verb", tag="models"):
    """List the models."""


class HealthRequest(_Header, frozen=True, tag_field="verb", tag="health"):
    """Say how the models are doing."""


class DriftRequest(_Header, frozen=True, tag_field="verb", tag="drift"):
    """Say how far what the models see and say has moved."""


class UsageRequest(_Header, frozen=True, tag_field="verb", tag="usage"):
    """Say what the models use together."""


class LoadRequest(_Header, frozen=True, tag_field="verb", tag="load"):
    """Load the package in this folder, and make it the model's default version if `default`."""

    directory: Annotated[str, Meta(max_length=4096)]
    default: bool = False


class InferReply(_Header, frozen=True, tag_field="status", tag="result"):
    """The answer to `InferRequest`; the tensors of the body are the outputs."""

    tensors: Tensors
    model: str
    version: str
    weights_sha256: str
    batch_size: int
    queue_seconds: float
    run_seconds: float
    device: Device | None = None
    precision: Precision | None = None
    cached: bool = False
    gate: tuple[Verdict, ...] = ()


class DocumentReply(_Header, frozen=True, tag_field="status", tag="document"):
    """The answer to the other requests; the body is JSON."""


class ErrorReply(_Header, frozen=True, tag_field="status", tag="error"):
    """`error` is the name of a class of `runtime.errors`; of a `PackageError` the parts are sent, too."""

    error: str
    message: str
    package_error: tuple[str, str, str] | None = None


DocumentRequest = ModelsRequest | HealthRequest | DriftRequest | UsageRequest
Request = InferRequest | LoadRequest | DocumentRequest
Reply = InferReply | DocumentReply | ErrorReply
_REQUEST: Final[Decoder[Request]] = Decoder(Request)
_REPLY: Final[Decoder[Reply]] = Decoder(Reply)
_encode: Final = Encoder().encode


def request_header(request: Request) -> bytes:
    """The header of a request. Raises `BadMessage` for one that no runtime would take."""
    try:
        header = _encode(request)
    except (UnicodeEncodeError, OverflowError, TypeError):  # what JSON, or this encoder, has no way to write
        raise BadMessage("the request cannot be written") from None
    request_in(header)
    return header


def request_in(header: bytes) -> Request:
    """The request that a header is. Raises `BadMessage`."""
    return _read(_REQUEST, header, "request")


def reply_in(header: bytes) -> Reply:
    """The reply that a header is. Raises `BadMessage`."""
    return _read(_REPLY, header, "reply")


def reply_header(reply: Reply) -> bytes:
    """The header of a reply. Raises `BadMessage` for one that is too large."""
    header = _encode(reply)
    _check_size(header)
    return header


def tensor_headers(tensors: Mapping[str, Array]) -> tuple[TensorHeader, ...]:
    """Describe `tensors`, which must be C-contiguous and in the machine's byte order."""
    return tuple(TensorHeader(name, DTYPES[tensor.dtype], tensor.shape) for name, tensor in tensors.items())


def size_of(headers: Sequence[TensorHeader]) -> int:
    """How many bytes of a body these tensors take."""
    return _layout(headers)[1]


def is_inline(size: int) -> bool:
    """Whether a body of so many bytes goes in the message itself."""
    return size <= MAX_INLINE_BYTES


class Memory:
    """A memfd that this process fills, mapped. It can be filled again and again, by one at a time."""

    def __init__(self, size: int) -> None:
        """Take `size` bytes of zeros, at least 1. Raises `OSError` where there are none: later nothing can fail."""
        self.fd = os.memfd_create("tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self.fd, 0, size)
            mapped = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        except BaseException:
            os.close(self.fd)
            raise
        self._bytes: Bytes = np.frombuffer(mapped, np.uint8)  # ends the mapping when it goes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._bytes)

    def write(self, headers: Sequence[TensorHeader], tensors: Mapping[str, Array]) -> None:
        """Put `tensors`, which `headers` describe, and for which it is large enough, into it."""
        _write(self._bytes, _layout(headers)[0], tensors)

    def write_bytes(self, data: bytes) -> None:
        """Put `data` at its beginning."""
        self._bytes[: len(data)] = np.frombuffer(data, np.uint8)

    def close(self) -> None:
        """Let go of it. Whoever has received it keeps it."""
        os.close(self.fd)
        self._bytes = np.empty(0, np.uint8)  # no slice of it, which would keep the mapping


def inline(headers: Sequence[TensorHeader], tensors: Mapping[str, Array]) -> bytes:
    """A body of these `tensors`, which `headers` describe, for the message itself."""
    parts: list[bytes] = []
    end = 0
    for offset, tensor in zip(_layout(headers)[0], tensors.values(), strict=True):
        parts += bytes(offset - end), tensor.tobytes()
        end = offset + tensor.nbytes
    return b"".join(parts)


def packed(headers: Sequence[TensorHeader], tensors: Mapping[str, Array]) -> Memory | bytes:
    """A body of these `tensors`, which `headers` describe; the caller closes it. Raises `OSError`."""
    size = size_of(headers)
    if is_inline(size):
        return inline(headers, tensors)
    memory = Memory(max(size, 1))
    memory.write(headers, tensors)
    return memory


def packed_document(data: bytes) -> Memory | bytes:
    """A body of `data`; the caller closes it. Raises `OSError`."""
    if is_inline(len(data)):
        return data
    memory = Memory(max(len(data), 1))
    memory.write_bytes(data)
    return memory


def close(body: Memory | Body | None) -> None:
    """Let go of a body."""
    if isinstance(body, Memory):
        body.close()
    elif isinstance(body, int):
        os.close(body)


def received(body: Body) -> Bytes:
    """The bytes of a body, which cannot be written to; a memfd's stay mapped as long as the array or a view of it is
    there. Raises `BadMessage` for a descriptor of anything else than memory as `Memory` has it, `OSError`.
    """
    if isinstance(body, bytes):
        return np.frombuffer(body, np.uint8)
    try:
        seals = fcntl.fcntl(body, fcntl.F_GET_SEALS)
    except OSError:
        raise BadMessage("the body is no memfd") from None
    if seals & SEALS != SEALS:
        raise BadMessage("the size of the body is not sealed")
    status = os.fstat(body)
    if status.st_size == 0:
        return np.empty(0, np.uint8)
    if os.lseek(body, 0, os.SEEK_HOLE) < status.st_size:  # `st_blocks` would count pages beyond the end, too
        raise BadMessage("the body has not all of its memory")
    return np.frombuffer(mmap.mmap(body, status.st_size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ), np.uint8)


def copied(body: Body) -> bytes:
    """The bytes of a body, which keep nothing mapped. Raises as `received` does."""
    return body if isinstance(body, bytes) else received(body).tobytes()


def document_in(body: Body) -> bytes:
    """The document that a body is. Raises as `received` does, and `BadMessage` for one that is too large."""
    if isinstance(body, int) and os.fstat(body).st_size > MAX_DOCUMENT_BYTES:
        raise BadMessage("the document is too large")
    return copied(body)


def tensors_in(body: Bytes, headers: Sequence[TensorHeader]) -> dict[str, Array]:
    """The tensors that lie in a body; nothing is copied. Raises `BadMessage` if it is too small for them, two have one
    name, or one a shape that none can have.
    """
    offsets, size = _layout(headers)
    if len(body) < size:
        raise BadMessage("the body is smaller than its header says")
    try:
        tensors: dict[str, Array] = {
            header.name: np.ndarray(header.shape, header.dtype.numpy, body.data, offset)
            for offset, header in zip(offsets, headers, strict=True)
        }
    except ValueError:  # of nothing, but for its other dimensions beyond what can be counted
        raise BadMessage("a tensor has a shape that none can have") from None
    if len(tensors) != len(headers):
        raise BadMessage("two tensors have one name")
    return tensors


def send(connection: socket.socket, header: bytes, body: Memory | bytes | None) -> None:
    """Send one message. Raises `OSError`."""
    if isinstance(body, Memory):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [body.fd]))]
        connection.sendmsg([header], rights, socket.MSG_NOSIGNAL)
    else:
        connection.sendmsg([header] if body is None else [header, _NUL, body], (), socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[bytes, Body | None]:
    """Receive one message: its header, empty when the peer is gone, and its body, which the caller closes.

    Raises `OSError`, and `BadMessage` for a message that is too large or has more than one body.
    """
    data, ancillary, flags, _ = connection.recvmsg(
        _MOST_BYTES, socket.CMSG_SPACE(_MOST_FDS * _FD_BYTES), socket.MSG_CMSG_CLOEXEC
    )
    fds = list(_descriptors(ancillary))
    header, nul, inline = data.partition(_NUL)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(fds) + len(nul) > 1:
        for fd in fds:
            os.close(fd)
        raise BadMessage("the message is too large, or has more than one body")
    return header, inline if nul else fds[0] if fds else None


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
            yield from fds


def _layout(headers: Sequence[TensorHeader]) -> tuple[list[int], int]:
    """Where each tensor starts, and the size of the whole."""
    offsets, end = [], 0
    for header in headers:
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        offsets.append(start)
        end = start + header.nbytes
    return offsets, end


_Message = TypeVar("_Message")


def _read(decoder: Decoder[_Message], header: bytes, kind: str) -> _Message:
    _check_size(header)
    try:
        return decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadMessage(f"the header is no {kind}") from None


def _check_size(header: bytes) -> None:
    if len(header) > MAX_HEADER_BYTES:
        raise BadMessage("the header is too large")


def _write(target: Bytes, offsets: Sequence[int], tensors: Mapping[str, Array]) -> None:
    for offset, tensor in zip(offsets, tensors.values(), strict=True):
        target[offset : offset + tensor.nbytes] = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
