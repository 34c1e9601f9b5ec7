"""How client and runtime process talk: messages on a Unix socket, tensors in shared memory.

One message of a SOCK_SEQPACKET socket is a JSON object of at most 64 KiB, its header, and perhaps a *body*: after a NUL
in the message itself if it has at most 16 KiB, as most answers have; else in a memfd (memfd_create(2)) whose size is
sealed, and whose descriptor is sent along (SCM_RIGHTS, unix(7)). A body has

- the tensors that the header lists, in that order, each at the next multiple of 64 bytes, in C order and the machine's
  byte order;
- or, for a `DocumentReply`, JSON.

The receiver asks for the seals before anything else, so a memfd is plain memory that cannot block or shrink while it is
read; and it copies it with pread(2), never maps it, and checks the copy, so that no peer can make it fault, or change
what was checked. A body may be larger than its header says: a client uses a memfd again (`runtime.bodies`), once it has
the reply. A client sends one request at a time and waits for its reply.
"""

import array
import fcntl
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from runtime.inference import Array, Device
from runtime.package import DTYPES, DType, Precision
from runtime.verdict import Verdict

MAX_HEADER_BYTES: Final = 1 << 16
MAX_INLINE_BYTES: Final = 1 << 14
MAX_DOCUMENT_BYTES: Final = 1 << 24
_ALIGNMENT: Final = 64
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_FD_BYTES: Final = array.array("i").itemsize
_MOST_FDS: Final = 4  # room for more than the one allowed, so that a peer that sends more is found out
_MOST_BYTES: Final = MAX_HEADER_BYTES + 1 + MAX_INLINE_BYTES
_TOO_SMALL: Final = "the body is smaller than its header says"
_NUL: Final = b"\0"  # JSON has none

Body = int | bytes
"""The descriptor of a memfd, or a body itself."""


class BadMessage(Exception):  # internal to this package: server and client turn it into their own errors
    """The peer does not keep to the protocol. The message says how, without data."""


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorHeader(_Header):
    """One tensor of a body."""

    name: str = Field(max_length=256)
    dtype: DType
    shape: tuple[Annotated[int, Field(ge=0, le=1 << 40)], ...] = Field(max_length=16)

    @property
    def nbytes(self) -> int:
        """Its size, without padding."""
        return math.prod(self.shape) * self.dtype.numpy.itemsize


Tensors = Annotated[tuple[TensorHeader, ...], Field(max_length=64)]


class InferRequest(_Header):
    """Run a model on the tensors of the body."""

    verb: Literal["infer"] = "infer"
    model: str = Field(max_length=64)
    version: str | None = Field(default=None, max_length=64)
    priority: int = Field(ge=-(1 << 31), lt=1 << 31)
    timeout_seconds: float
    tensors: Tensors


class ModelsRequest(_Header):
    """List the models."""

    verb: Literal["models"] = "models"


class HealthRequest(_Header):
    """Say how the models are doing."""

    verb: Literal["health"] = "health"


class DriftRequest(_Header):
    """Say how far what the models see and say has moved."""

    verb: Literal["drift"] = "drift"


class UsageRequest(_Header):
    """Say what the models use together."""

    verb: Literal["usage"] = "usage"


class LoadRequest(_Header):
    """Load the package in this folder, and make it the model's default version if `default`."""

    verb: Literal["load"] = "load"
    directory: str = Field(max_length=4096)
    default: bool = False


class InferReply(_Header):
    """The answer to `InferRequest`; the tensors of the body are the outputs."""

    status: Literal["result"] = "result"
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


class DocumentReply(_Header):
    """The answer to the other requests; the body is JSON."""

    status: Literal["document"] = "document"


class ErrorReply(_Header):
    """`error` is the name of a class of `runtime.errors`; of a `PackageError` the parts are sent, too."""

    status: Literal["error"] = "error"
    error: str
    message: str
    package_error: tuple[str, str, str] | None = None


DocumentRequest = ModelsRequest | HealthRequest | DriftRequest | UsageRequest
Request = InferRequest | LoadRequest | DocumentRequest
Reply = InferReply | DocumentReply | ErrorReply
REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(Annotated[Request, Field(discriminator="verb")])
REPLY: Final[TypeAdapter[Reply]] = TypeAdapter(Annotated[Reply, Field(discriminator="status")])


def tensor_headers(tensors: Mapping[str, Array]) -> tuple[TensorHeader, ...]:
    """Describe `tensors`, which must be C-contiguous and in the machine's byte order."""
    return tuple(
        TensorHeader.model_construct(name=name, dtype=DTYPES[tensor.dtype], shape=tensor.shape)
        for name, tensor in tensors.items()
    )


def size_of(headers: Sequence[TensorHeader]) -> int:
    """How many bytes of a body these tensors take."""
    return _layout(headers)[1]


def new_body(size: int) -> int:
    """A memfd of this size, sealed; the caller closes it."""
    body = os.memfd_create("tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(body, size)
        fcntl.fcntl(body, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(body)
        raise
    return body


def is_inline(size: int) -> bool:
    """Whether a body of so many bytes goes in the message itself."""
    return size <= MAX_INLINE_BYTES


def packed(headers: Sequence[TensorHeader], tensors: Mapping[str, Array]) -> Body:
    """A body of these `tensors`, which `headers` describe; the caller closes it."""
    offsets, size = _layout(headers)
    if is_inline(size):
        data = bytearray(size)
        for offset, tensor in zip(offsets, tensors.values(), strict=True):
            data[offset : offset + tensor.nbytes] = _bytes_of(tensor)
        return bytes(data)
    body = new_body(size)
    try:
        write_tensors(body, headers, tensors)
    except BaseException:
        os.close(body)
        raise
    return body


def packed_document(data: bytes) -> Body:
    """A body of `data`; the caller closes it."""
    if is_inline(len(data)):
        return data
    body = new_body(len(data))
    try:
        _write_from(memoryview(data), body, 0)
    except BaseException:
        os.close(body)
        raise
    return body


def close(body: Body | None) -> None:
    """Let go of a body."""
    if isinstance(body, int):
        os.close(body)


def write_tensors(body: int, headers: Sequence[TensorHeader], tensors: Mapping[str, Array]) -> None:
    """Put `tensors`, which `headers` describe, into a memfd that is large enough."""
    for offset, tensor in zip(_layout(headers)[0], tensors.values(), strict=True):
        _write_from(_bytes_of(tensor), body, offset)


def read_tensors(body: Body, headers: Sequence[TensorHeader]) -> dict[str, Array]:
    """Copy the tensors out of a body. Raises `BadMessage` if its size is not sealed, or too small.

    The caller has checked the headers: as much memory is taken as they say.
    """
    offsets, size = _layout(headers)
    _check_body(body, size)
    tensors = {}
    for offset, header in zip(offsets, headers, strict=True):
        tensor = np.empty(header.shape, header.dtype.numpy)
        _read_into(body, offset, tensor.reshape(-1).view(np.uint8))
        tensors[header.name] = tensor
    return tensors


def read_document(body: Body) -> bytes:
    """Copy a document, the whole body, out of it. Raises `BadMessage`."""
    if isinstance(body, bytes):
        return body
    size = os.fstat(body).st_size
    if size > MAX_DOCUMENT_BYTES:
        raise BadMessage("the document is too large")
    _check_body(body, size)
    data = np.empty(size, np.uint8)
    _read_into(body, 0, data)
    return data.tobytes()


def send(connection: socket.socket, header: Request | Reply, body: Body | None) -> None:
    """Send one message. Raises `OSError`, and `BadMessage` for a header that is too large."""
    data = header.model_dump_json().encode()
    if len(data) > MAX_HEADER_BYTES:
        raise BadMessage("the header is too large")
    if isinstance(body, int):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [body]))]
        connection.sendmsg([data], rights, socket.MSG_NOSIGNAL)
    else:
        connection.sendmsg([data] if body is None else [data, _NUL, body], (), socket.MSG_NOSIGNAL)


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


def _write_from(view: memoryview, body: int, offset: int) -> None:
    while view:
        written = os.pwrite(body, view, offset)
        view, offset = view[written:], offset + written


def _bytes_of(tensor: Array) -> memoryview:
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def _check_body(body: Body, size: int) -> None:
    if isinstance(body, bytes):
        if len(body) < size:
            raise BadMessage(_TOO_SMALL)
        return
    try:
        seals = fcntl.fcntl(body, fcntl.F_GET_SEALS)
    except OSError:
        raise BadMessage("the body is no memfd") from None
    if seals & _SEALS != _SEALS:
        raise BadMessage("the size of the body is not sealed")
    if os.fstat(body).st_size < size:
        raise BadMessage(_TOO_SMALL)


def _read_into(body: Body, offset: int, target: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    view = target.data
    if isinstance(body, bytes):
        view[:] = memoryview(body)[offset : offset + len(view)]
        return
    while view:
        count = os.preadv(body, [view], offset)
        if count == 0:
            raise BadMessage(_TOO_SMALL)
        view, offset = view[count:], offset + count
