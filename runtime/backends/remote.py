"""Runs models on servers that speak the Open Inference Protocol, version 2: Triton, KServe, MLServer, OpenVINO …

Nothing is sent but the tensors, the names of model and tensors, and the site's token. What the server says of the model
is compared with the package when it is opened; what it answers is checked as any backend's answer is.
"""

import http.client
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
from tritonclient.utils import InferenceServerException

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
_OPEN: Final = -1  # a dimension that the server leaves open
_BINARY: Final = ("binary_tensor_data", "binary_data")  # how servers call the extension
_SLACK_BYTES: Final = 1 << 20  # of an answer, beside its numbers

_OF_THE_INPUT: Final = frozenset({"400", "413", "415", "422", "StatusCode.INVALID_ARGUMENT", "StatusCode.OUT_OF_RANGE"})
"""By these the server refuses what was sent, and will again. All others, a token that it takes no more (401, 403) and a
model that is gone (404) among them, say nothing of the input: another route may answer, or this one when it is mended.
"""


class _Client(Protocol):
    """What the two protocols have in common."""

    def ready(self) -> bool:
        """Whether the model can be asked."""

    def tensors(self) -> tuple[list["_Said"], list["_Said"]]:
        """What the server says of the model's inputs and outputs."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        """Its answer, with `as_numpy(name)`."""

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
        _check_authorities(package, access)
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
            found = {name: answer.as_numpy(name) for name in names}
        return {name: np.ascontiguousarray(array) for name, array in found.items() if array is not None}

    def _answer(self, inputs: Mapping[str, Array], names: Sequence[str]) -> Any:
        """Some servers (Triton's REST) call a model that is gone a bad request: they are asked whether it is there."""
        client = self._connected()
        try:
            return client.infer(inputs, names)
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
            kind = _GrpcClient if self._remote.url.startswith("grpc") else _HttpClient
            self._client = kind(self._package, self._remote, self._access)
        return self._client

    @contextmanager
    def _failures_said(self) -> Iterator[None]:
        try:
            yield
        except RuntimeFailure:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a server's answer makes of the library
            self.close()
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> BackendFailure:
        if isinstance(error, InferenceServerException):
            status = str(error.status() or "no status")
            if status in _OF_THE_INPUT:
                return BackendFailure(f"{self._who}: the server refuses the input ({status})")
            return RemoteUnavailable(f"{self._who}: the server gave no answer ({status})")
        kind = type(error).__name__
        if isinstance(error, gevent.Timeout | TimeoutError):
            return RemoteUnavailable(f"{self._who}: no answer within {self._access.timeout_seconds:g} s")
        if isinstance(error, OSError | http.client.HTTPException):
            return RemoteUnavailable(f"{self._who}: the connection failed ({kind})")
        return BackendFailure(f"{self._who}: the answer cannot be read ({kind})")


def _check_authorities(package: ModelPackage, access: RemoteAccess) -> None:
    try:
        _tls_context(access)
    except OSError:  # what `ssl` raises is one, too
        problem = f"{access.authorities}: cannot be read, or holds no certificates in PEM form"
        raise RouteUnavailable(f"{package.name}: {problem}") from None


class _HttpClient:
    """REST. Tensors go as binary data where the server has that extension, else as JSON.

    What `tritonclient` uses (gevent) works only in the thread that made it, so each client has a thread of its own.
    """

    def __init__(self, package: ModelPackage, remote: Remote, access: RemoteAccess) -> None:
        self._datatypes = {spec.name: _DATATYPES[spec.dtype] for spec in package.inputs}
        self._model, self._version = remote.model, quote(remote.version or "", safe="")
        self._headers = {"Authorization": f"Bearer {access.bearer_token}"} if access.bearer_token else {}
        self._seconds = access.timeout_seconds
        self._binary: bool | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"server of {package.name}")
        self._client = self._there(lambda: self._connect(urlsplit(remote.url), access))

    def _connect(self, url: SplitResult, access: RemoteAccess) -> Any:
        secure = url.scheme == "https"
        return tritonclient.http.InferenceServerClient(
            url.netloc + url.path.rstrip("/"),
            connection_timeout=self._seconds,
            network_timeout=self._seconds,
            ssl=secure,
            ssl_context_factory=(lambda **_: _tls_context(access)) if secure else None,
        )

    def ready(self) -> bool:
        return bool(self._there(lambda: self._client.is_model_ready(self._model, self._version, headers=self._headers)))

    def tensors(self) -> tuple[list["_Said"], list["_Said"]]:
        said = self._there(lambda: self._client.get_model_metadata(self._model, self._version, headers=self._headers))
        return _said_in_json(said.get("inputs")), _said_in_json(said.get("outputs"))

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        return self._there(lambda: self._infer(inputs, outputs))

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

    def _infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        if self._binary is None:
            extensions = self._client.get_server_metadata(headers=self._headers).get("extensions") or ()
            self._binary = any(name in extensions for name in _BINARY)
        return self._client.infer(
            self._model,
            [self._input(name, array) for name, array in inputs.items()],
            self._version,
            outputs=[tritonclient.http.InferRequestedOutput(name, binary_data=self._binary) for name in outputs],
            headers=dict(self._headers),  # the library adds to it
        )

    def _input(self, name: str, array: Array) -> Any:
        tensor = tritonclient.http.InferInput(name, list(array.shape), self._datatypes[name])
        tensor.set_data_from_numpy(array, binary_data=self._binary)
        return tensor


def _tls_context(access: RemoteAccess) -> Any:
    return gevent.ssl.create_default_context(cafile=access.authorities)


class _GrpcClient:
    """gRPC. Tensors always go as binary data."""

    def __init__(self, package: ModelPackage, remote: Remote, access: RemoteAccess) -> None:
        url = urlsplit(remote.url)
        self._datatypes = {spec.name: _DATATYPES[spec.dtype] for spec in package.inputs}
        self._model, self._version = remote.model, remote.version or ""
        self._seconds = access.timeout_seconds
        self._token = access.bearer_token
        largest = package.batch.size * sum(spec.sample_bytes for spec in package.outputs) + _SLACK_BYTES
        credentials = None
        if url.scheme == "grpcs":
            authorities = access.authorities.read_bytes() if access.authorities else None
            credentials = grpc.ssl_channel_credentials(root_certificates=authorities)
        self._client = tritonclient.grpc.InferenceServerClient(
            url.netloc,
            creds=credentials,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", min(largest, (1 << 31) - 1)),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),  # else a new client waits as long as the failed one would have
            ],
        )

    def ready(self) -> bool:
        return bool(self._client.is_model_ready(self._model, self._version, **self._options()))

    def tensors(self) -> tuple[list["_Said"], list["_Said"]]:
        said = self._client.get_model_metadata(self._model, self._version, **self._options())
        return _said_in_protobuf(said.inputs), _said_in_protobuf(said.outputs)

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        return self._client.infer(
            self._model,
            [self._input(name, array) for name, array in inputs.items()],
            self._version,
            outputs=[tritonclient.grpc.InferRequestedOutput(name) for name in outputs],
            **self._options(),
        )

    def close(self) -> None:
        self._client.close()

    def _input(self, name: str, array: Array) -> Any:
        tensor = tritonclient.grpc.InferInput(name, list(array.shape), self._datatypes[name])
        tensor.set_data_from_numpy(array)
        return tensor

    def _options(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return {"headers": headers, "client_timeout": self._seconds}


class _Said(NamedTuple):
    """What a server says of a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def _said_in_json(tensors: Any) -> list[_Said]:
    return [_Said(str(each["name"]), str(each["datatype"]), tuple(map(int, each["shape"]))) for each in tensors or ()]


def _said_in_protobuf(tensors: Any) -> list[_Said]:
    return [_Said(each.name, each.datatype, tuple(each.shape)) for each in tensors]


def _compare(
    package: ModelPackage, key: str, declared: Sequence[TensorSpec], said: Sequence[_Said], *, all_named: bool
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
