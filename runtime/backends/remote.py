"""Runs models on servers that speak the Open Inference Protocol, version 2: Triton, KServe, MLServer, OpenVINO …

Nothing is sent but the tensors, the names of model and tensors, a random number by which an answer is known for that of
its request, and the site's token. What the server says of the model is compared with the package when it is opened;
what it answers is read no further than it may be long, and checked as any backend's answer is.
"""

import http.client
import io
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import gevent
import gevent.ssl
import grpc
import numpy as np
import structlog
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from runtime.backend import RemoteAccess
from runtime.errors import BackendFailure, PackageError, RemoteUnavailable, RouteUnavailable, RuntimeFailure
from runtime.inference import Array, Device
from runtime.package import DESCRIPTION, DType, ModelPackage, Remote, TensorSpec

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)

_DATATYPES: Final = {
    DType.FLOAT16: "FP16",
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
    DType.INT8: "INT8",
    DType.UINT8: "UINT8",
    DType.UINT16: "UINT16",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
}
_CONTENTS: Final = {
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT8": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
}
"""Where gRPC has the numbers of an output of these datatypes, if not as bytes."""
_OPEN: Final = -1  # a dimension that the server leaves open
_BINARY: Final = ("binary_tensor_data", "binary_data")  # how servers call the extension
_SLACK_BYTES: Final = 1 << 20  # of an answer, beside its numbers
_LONGEST_NUMBER: Final = 64  # characters, with what stands around it in JSON
_READ_BYTES: Final = 1 << 16  # at once

_OF_THE_INPUT: Final = frozenset({"400", "413", "415", "422", "StatusCode.INVALID_ARGUMENT", "StatusCode.OUT_OF_RANGE"})
"""By these the server refuses what was sent, and will again. All others, a token that it takes no more (401, 403) and a
model that is gone (404) among them, say nothing of the input: another route may answer, or this one when it is mended.
"""


class _Client(Protocol):
    """What the two protocols have in common."""

    def ready(self) -> bool:
        """Whether the model can be asked."""

    def tensors(self) -> tuple[list["Said"], list["Said"]]:
        """What the server says of the model's inputs and outputs."""

    def infer(self, request_id: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> "_Answer":
        """The server's answer."""

    def close(self) -> None:
        """Close the connection."""


class RemoteBackend:
    """A model on a server. The connection is made anew after each failure."""

    device: Final = Device.REMOTE
    precision: Final = None
    memory_bytes: Final = 0

    def __init__(self, package: ModelPackage, access: RemoteAccess) -> None:
        """Compare the server's model with the package. Raises `RemoteUnavailable` while it is not ready, and
        `PackageError` if it is another model.
        """
        assert package.remote is not None  # a package with such a route has one
        self.tolerance = package.remote.tolerance
        self._package = package
        self._remote = package.remote
        self._access = access
        self._client: _Client | None = None
        self._keeps_ids: bool | None = None  # seen in the first answer, which is that to the check
        _check_names(package, package.remote)
        _check_authorities(package.name, access)
        try:
            self._introduce()
        except BaseException:
            self.close()
            raise

    def _introduce(self) -> None:
        with self._failures_said():
            client = self._connected()
            if not client.ready():
                raise RemoteUnavailable(f"{self._who}: the model is not ready there, or our token is refused")
            inputs, outputs = client.tensors()
        _compare(self._package, "inputs", self._package.inputs, inputs, all_named=True)
        _compare(self._package, "outputs", self._package.outputs, outputs, all_named=False)

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Ask the server. Its own message is left out: it can quote values."""
        names = [spec.name for spec in self._package.outputs]
        with self._failures_said():
            answer = self._answer(inputs, names)
            found = {name: answer.tensors.as_numpy(name) for name in names}
        return {name: np.ascontiguousarray(array) for name, array in found.items() if array is not None}

    def _answer(self, inputs: Mapping[str, Array], names: Sequence[str]) -> "_Answer":
        request_id = uuid.uuid4().hex
        answer = self._asked(request_id, inputs, names)
        if self._keeps_ids is None and answer.request_id:
            self._keeps_ids = answer.request_id == request_id
            if not self._keeps_ids:  # KServe's custom predictors, say
                _log.warning("server_has_ids_of_its_own", model=self._package.name)
        wrong = [
            what
            for what, wanted, found in (
                ("another request", request_id if self._keeps_ids else "", answer.request_id),
                ("another model", self._remote.model, answer.model),
                ("another version", self._remote.version, answer.version),
            )
            if wanted and found and wanted != found  # a server may leave them out
        ]
        if wrong:
            self.close()
            raise RemoteUnavailable(f"{self._who}: what came is no answer to this request, but of {wrong[0]}")
        for spec in self._package.outputs:
            said = answer.datatypes.get(spec.name, _DATATYPES[spec.dtype])
            if said != _DATATYPES[spec.dtype]:
                raise BackendFailure(f"{self._who}: output {spec.name!r} is of another datatype than declared")
        return answer

    def _asked(self, request_id: str, inputs: Mapping[str, Array], names: Sequence[str]) -> "_Answer":
        """Some servers (Triton's REST) call a model that is gone a bad request: they are asked whether it is there."""
        client = self._connected()
        try:
            return client.infer(request_id, inputs, names)
        except InferenceServerException as error:
            if str(error.status()) in _OF_THE_INPUT and not client.ready():
                raise RemoteUnavailable(f"{self._who}: the model is not there any more") from None
            raise

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def _who(self) -> str:
        return f"{self._package.name} at {urlsplit(self._remote.url).netloc}"

    def _connected(self) -> _Client:
        if self._client is None:
            self._client = _client(self._remote, self._access, self._package)
        return self._client

    @contextmanager
    def _failures_said(self) -> Iterator[None]:
        try:
            yield
        except RuntimeFailure:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a server's answer makes of the library
            self.close()
            raise _failure(self._who, error, self._access) from None


def describe(remote: Remote, access: RemoteAccess) -> tuple[list["Said"], list["Said"]]:
    """What a server says of the inputs and outputs of a model for which there is no package yet.

    Raises `RouteUnavailable` for authorities that are none, else `BackendFailure`, mostly as `RemoteUnavailable`.
    """
    _check_authorities(remote.model, access)
    client = None
    try:
        client = _client(remote, access)
        return client.tensors()
    except RuntimeFailure:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a server's answer makes of the library
        raise _failure(f"{remote.model} at {urlsplit(remote.url).netloc}", error, access) from None
    finally:
        if client is not None:
            client.close()


def _client(remote: Remote, access: RemoteAccess, package: ModelPackage | None = None) -> _Client:
    kind = _GrpcClient if remote.url.startswith("grpc") else _HttpClient
    return kind(remote, access, package)


def _failure(who: str, error: Exception, access: RemoteAccess) -> BackendFailure:
    if isinstance(error, InferenceServerException):
        status = str(error.status() or "no status")
        if status in _OF_THE_INPUT:
            return BackendFailure(f"{who}: the server refuses the input ({status})")
        return RemoteUnavailable(f"{who}: the server gave no answer ({status})")
    kind = type(error).__name__
    if isinstance(error, gevent.Timeout | TimeoutError):
        return RemoteUnavailable(f"{who}: no answer within {access.timeout_seconds:g} s")
    if isinstance(error, OSError | http.client.HTTPException):
        return RemoteUnavailable(f"{who}: the connection failed ({kind})")
    return BackendFailure(f"{who}: the answer cannot be read ({kind})")


def _check_names(package: ModelPackage, remote: Remote) -> None:
    """A package must not lead a request, with the site's token, elsewhere on the server."""
    for key, name in (("model", remote.model), ("version", remote.version or "")):
        if "/" in name or name in (".", ".."):
            problem = "cannot stand in the path of a request; no model of a server has such a name"
            raise PackageError(package.directory / DESCRIPTION, f"remote.{key}", problem)


def _check_authorities(name: str, access: RemoteAccess) -> None:
    try:
        _tls_context(access)
    except OSError:  # what `ssl` raises is one, too
        problem = f"{access.authorities}: cannot be read, or holds no certificates in PEM form"
        raise RouteUnavailable(f"{name}: {problem}") from None


def _datatypes(package: ModelPackage | None) -> dict[str, str]:
    return {spec.name: _DATATYPES[spec.dtype] for spec in package.inputs} if package else {}


class _Answer(NamedTuple):
    """What came: the tensors, with `as_numpy(name)`, and what is said of them; empty where the server does not."""

    tensors: Any
    request_id: str
    model: str
    version: str
    datatypes: Mapping[str, str]


class _HttpClient:
    """REST. Tensors go as binary data where the server has that extension, else as JSON.

    What `tritonclient` uses (gevent) works only in the thread that made it, so each client has a thread of its own.
    """

    def __init__(self, remote: Remote, access: RemoteAccess, package: ModelPackage | None) -> None:
        self._datatypes = _datatypes(package)
        numbers = package.batch.size * sum(math.prod(spec.sample_shape) for spec in package.outputs) if package else 0
        self._most_bytes = numbers * _LONGEST_NUMBER + _SLACK_BYTES
        self._model, self._version = remote.model, quote(remote.version or "", safe="")
        self._headers = {"Accept-Encoding": "identity"}
        if access.bearer_token:
            self._headers["Authorization"] = f"Bearer {access.bearer_token}"
        self._seconds = access.timeout_seconds
        self._binary: bool | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"server of {remote.model}")
        self._client = self._there(lambda: self._connect(urlsplit(remote.url), access))

    def _connect(self, url: SplitResult, access: RemoteAccess) -> Any:
        secure = url.scheme == "https"
        return _BoundedClient(
            self._most_bytes,
            url.netloc + url.path.rstrip("/"),
            connection_timeout=self._seconds,
            network_timeout=self._seconds,
            ssl=secure,
            ssl_context_factory=(lambda **_: _tls_context(access)) if secure else None,
        )

    def ready(self) -> bool:
        return bool(self._there(lambda: self._client.is_model_ready(self._model, self._version, headers=self._headers)))

    def tensors(self) -> tuple[list["Said"], list["Said"]]:
        said = self._there(lambda: self._client.get_model_metadata(self._model, self._version, headers=self._headers))
        return _said_in_json(said.get("inputs")), _said_in_json(said.get("outputs"))

    def infer(self, request_id: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> _Answer:
        tensors = self._there(lambda: self._infer(request_id, inputs, outputs))
        said = tensors.get_response()
        for each in said["outputs"]:
            if each["name"] in outputs:
                _check_numbers(each)
        datatypes = [(str(each["name"]), str(each["datatype"])) for each in said["outputs"]]
        request_id, model, version = (str(said.get(key) or "") for key in ("id", "model_name", "model_version"))
        return _Answer(tensors, request_id, model, version, _once(datatypes))

    def close(self) -> None:
        self._there(self._client.close)
        self._thread.submit(lambda: gevent.get_hub().destroy()).result()
        self._thread.shutdown()

    def _there(self, work: Callable[[], _T]) -> _T:
        """Do it in the thread. The library's own time-outs are for each packet; a server that dribbles would hold the
        caller for ever.
        """

        def timed() -> _T:
            with gevent.Timeout(self._seconds, TimeoutError):
                return work()

        return self._thread.submit(timed).result()

    def _infer(self, request_id: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        if self._binary is None:
            extensions = self._client.get_server_metadata(headers=self._headers).get("extensions") or ()
            self._binary = any(name in extensions for name in _BINARY)
        return self._client.infer(
            self._model,
            [self._input(name, array) for name, array in inputs.items()],
            self._version,
            outputs=[tritonclient.http.InferRequestedOutput(name, binary_data=self._binary) for name in outputs],
            request_id=request_id,
            headers=dict(self._headers),  # the library adds to it
        )

    def _input(self, name: str, array: Array) -> Any:
        tensor = tritonclient.http.InferInput(name, list(array.shape), self._datatypes[name])
        tensor.set_data_from_numpy(array, binary_data=self._binary)
        return tensor


class _BoundedClient(tritonclient.http.InferenceServerClient):  # type: ignore[misc]  # it has no types
    """Reads no more of an answer than it may be long: the library would read, and unpack, whatever comes."""

    def __init__(self, most_bytes: int, *args: Any, **options: Any) -> None:
        self._most_bytes = most_bytes
        super().__init__(*args, **options)

    def _get(self, *args: Any, **options: Any) -> "_Bounded":
        return _Bounded(super()._get(*args, **options), self._most_bytes)

    def _post(self, *args: Any, **options: Any) -> "_Bounded":
        return _Bounded(super()._post(*args, **options), self._most_bytes)


class _Bounded:
    """A response as the library uses it, with its body read already; that of a failure is left out."""

    def __init__(self, response: Any, most_bytes: int) -> None:
        self.status_code = response.status_code
        self.get = response.get
        try:
            body = _body(response, most_bytes) if self.status_code == http.client.OK else b""
        finally:
            response.release()  # the connection; it is closed if something was left on it
        self._body = io.BytesIO(body)

    def read(self, length: int = -1) -> bytes:
        """So many bytes of the body, or the rest of it."""
        return self._body.read(length)


def _body(response: Any, most_bytes: int) -> bytearray:
    if response.get("Content-Encoding", "identity") != "identity":
        raise ValueError("packed, though that was not asked for")
    body = bytearray()
    while part := response.read(_READ_BYTES):
        body += part
        if len(body) > most_bytes:
            raise ValueError("longer than all that was asked for")
    return body


def _check_numbers(tensor: Mapping[str, Any]) -> None:
    """Raise `ValueError` for what numpy would make numbers of: `true`, texts, and to an integer also 1.7."""
    kinds: set[type] = set()
    lists = [tensor.get("data", [])]
    while lists:
        part = lists.pop()
        kinds |= set(map(type, part))
        lists += [value for value in part if type(value) is list]
    if not kinds <= ({int, float, list} if str(tensor.get("datatype")).startswith("FP") else {int, list}):
        raise ValueError("not the numbers of its datatype")


def _once(named: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Raise `ValueError` if two tensors have the same name: which of them is the answer?"""
    if len(dict(named)) != len(named):
        raise ValueError("an output is there twice")
    return dict(named)


def _tls_context(access: RemoteAccess) -> Any:
    return gevent.ssl.create_default_context(cafile=access.authorities)


class _GrpcClient:
    """gRPC. Tensors always go as binary data."""

    def __init__(self, remote: Remote, access: RemoteAccess, package: ModelPackage | None) -> None:
        url = urlsplit(remote.url)
        self._datatypes = _datatypes(package)
        self._model, self._version = remote.model, remote.version or ""
        self._seconds = access.timeout_seconds
        self._token = access.bearer_token
        numbers = package.batch.size * sum(spec.sample_bytes for spec in package.outputs) if package else 0
        credentials = None
        if url.scheme == "grpcs":
            authorities = access.authorities.read_bytes() if access.authorities else None
            credentials = grpc.ssl_channel_credentials(root_certificates=authorities)
        self._client = tritonclient.grpc.InferenceServerClient(
            url.netloc,
            creds=credentials,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", min(numbers + _SLACK_BYTES, (1 << 31) - 1)),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),  # else a new client waits as long as the failed one would have
            ],
        )

    def ready(self) -> bool:
        return bool(self._client.is_model_ready(self._model, self._version, **self._options()))

    def tensors(self) -> tuple[list["Said"], list["Said"]]:
        said = self._client.get_model_metadata(self._model, self._version, **self._options())
        return _said_in_protobuf(said.inputs), _said_in_protobuf(said.outputs)

    def infer(self, request_id: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> _Answer:
        tensors = self._client.infer(
            self._model,
            [self._input(name, array) for name, array in inputs.items()],
            self._version,
            outputs=[tritonclient.grpc.InferRequestedOutput(name) for name in outputs],
            request_id=request_id,
            **self._options(),
        )
        said = tensors.get_response()
        if not said.raw_output_contents:
            said.raw_output_contents.extend(_as_raw(each) if each.name in outputs else b"" for each in said.outputs)
        datatypes = _once([(each.name, each.datatype) for each in said.outputs])
        return _Answer(tensors, said.id, said.model_name, said.model_version, datatypes)

    def close(self) -> None:
        self._client.close()

    def _input(self, name: str, array: Array) -> Any:
        tensor = tritonclient.grpc.InferInput(name, list(array.shape), self._datatypes[name])
        tensor.set_data_from_numpy(array)
        return tensor

    def _options(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return {"headers": headers, "client_timeout": self._seconds}


def _as_raw(tensor: Any) -> bytes:
    """The numbers of an output that came one by one, as the protocol allows; the library reads bytes only."""
    listed = getattr(tensor.contents, _CONTENTS[tensor.datatype])
    return np.array(listed, triton_to_np_dtype(tensor.datatype)).tobytes()


class Said(NamedTuple):
    """What a server says of a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def _said_in_json(tensors: Any) -> list[Said]:
    return [Said(str(each["name"]), str(each["datatype"]), tuple(map(int, each["shape"]))) for each in tensors or ()]


def _said_in_protobuf(tensors: Any) -> list[Said]:
    return [Said(each.name, each.datatype, tuple(each.shape)) for each in tensors]


def _compare(
    package: ModelPackage, key: str, declared: Sequence[TensorSpec], said: Sequence[Said], *, all_named: bool
) -> None:
    """Raise `PackageError` where the server contradicts the package. A server may say nothing: then [check] decides."""
    if not said:
        _log.info("server_describes_no_tensors", model=package.name, tensors=key)
        return
    file = package.directory / DESCRIPTION
    found = {each.name: each for each in said}
    missing = [spec.name for spec in declared if spec.name not in found]
    unknown = sorted(found.keys() - {spec.name for spec in declared}) if all_named else []
    if missing or unknown:
        raise PackageError(file, "remote.model", f"has the {key} {sorted(found)}, and not those of this package")
    for spec in declared:
        each = found[spec.name]
        samples, *rest = each.shape or (_OPEN,)
        fits = samples == _OPEN or samples == package.batch.size == 1
        same = len(rest) == len(spec.sample_shape) and all(
            size in (_OPEN, wanted) for size, wanted in zip(rest, spec.sample_shape, strict=True)
        )
        if not (fits and same and each.datatype == _DATATYPES[spec.dtype]):
            raise PackageError(
                file,
                "remote.model",
                f"has {key[:-1]} {spec.name!r} as {each.datatype} {list(each.shape)}, and this package as "
                f"{_DATATYPES[spec.dtype]} {list(spec.shape)}",
            )
