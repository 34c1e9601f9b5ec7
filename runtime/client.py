"""Asks the runtime process over its Unix socket. Knows only the protocol of `runtime.wire`; loads no model library."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from runtime import wire
from runtime.errors import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    NoRoute,
    OutOfMemory,
    Overloaded,
    PackageError,
    RemoteUnavailable,
    RouteUnavailable,
    RuntimeFailure,
    RuntimeUnavailable,
)
from runtime.health import ModelHealth, RuntimeUsage
from runtime.inference import ROUTINE, InferenceResult, each_at_once
from runtime.links import Link, Links, packed
from runtime.package import ModelDescription
from runtime.tensors import native
from runtime.watch import DriftReport

_T = TypeVar("_T")
_BodyFor = Callable[[Link], wire.Memory | bytes | None]

_LISTING_SECONDS: Final = 5.0
_LOADING_SECONDS: Final = 600.0
_DESCRIPTIONS: Final = TypeAdapter(tuple[ModelDescription, ...])
_HEALTH: Final = TypeAdapter(tuple[ModelHealth, ...])
_USAGE: Final = TypeAdapter(RuntimeUsage)
_DRIFT: Final = TypeAdapter(tuple[DriftReport, ...])
_ERRORS: Final[dict[str, type[RuntimeFailure]]] = {
    kind.__name__: kind
    for kind in (
        BackendFailure,
        BackendLost,
        DeadlineExceeded,
        InvalidInput,
        ModelNotFound,
        NoRoute,
        OutOfMemory,
        Overloaded,
        RemoteUnavailable,
        RouteUnavailable,
        RuntimeUnavailable,
    )
}


class RuntimeClient:
    """A `Runtime` in another process. Safe to use from several threads; connects when it is asked something."""

    def __init__(self, socket_path: Path) -> None:
        """Remember where the runtime's socket is."""
        self._path = socket_path
        self._links = Links(socket_path)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        version: str | None = None,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> InferenceResult:
        """See `Runtime.infer`. When the time is over the connection is closed, so that the runtime drops it.

        The outputs cannot be written to.
        """
        end = _end(timeout_seconds)
        tensors = native(inputs)
        headers = wire.tensor_headers(tensors)
        request = _infer_request(model, version, headers, priority, timeout_seconds)
        return self._infer(request, lambda link: link.body(headers, tensors), end)

    def infer_many(
        self,
        models: Sequence[tuple[str, str | None]],
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> tuple[InferenceResult | RuntimeFailure, ...]:
        """See `Runtime.infer_many`. The inputs are put into shared memory once, for all of them."""
        end = _end(timeout_seconds)
        tensors = native(inputs)
        headers = wire.tensor_headers(tensors)
        body = packed(headers, tensors)  # no link's: a time may be over before all have read it
        with _closing(body):
            return each_at_once(
                models,
                lambda name, version: self._infer(
                    _infer_request(name, version, headers, priority, timeout_seconds), lambda _: body, end
                ),
            )

    def _infer(self, request: bytes, body: _BodyFor, end: float) -> InferenceResult:
        reply, answer = self._ask(request, body, end)
        try:
            if not isinstance(reply, wire.InferReply) or answer is None:
                raise _not_understood()
            outputs = _read_outputs(answer, reply)
        finally:
            wire.close(answer)
        return InferenceResult(
            outputs=outputs,
            model=reply.model,
            version=reply.version,
            weights_sha256=reply.weights_sha256,
            batch_size=reply.batch_size,
            queue_seconds=reply.queue_seconds,
            run_seconds=reply.run_seconds,
            device=reply.device,
            precision=reply.precision,
            cached=reply.cached,
            gate=reply.gate,
        )

    def load(
        self, directory: Path, *, default: bool = False, timeout_seconds: float = _LOADING_SECONDS
    ) -> ModelDescription:
        """Have the runtime load a package, until it ends, and make it its model's default version if `default`.

        A package that is loaded already is not loaded again, so this also says which version is the default. Raises
        `PackageError`, `RouteUnavailable`, `RuntimeUnavailable`, `DeadlineExceeded`.
        """
        try:
            request = wire.request_header(wire.LoadRequest(str(directory.absolute()), default))
        except wire.BadMessage:
            raise PackageError(directory, "", "this path cannot be sent: it is too long, or no text") from None
        (description,) = self._document(request, _DESCRIPTIONS, timeout_seconds)
        return description

    def models(self) -> tuple[ModelDescription, ...]:
        """See `Runtime.models`. Raises `RuntimeUnavailable`, `DeadlineExceeded`."""
        return self._document(wire.request_header(wire.ModelsRequest()), _DESCRIPTIONS)

    def health(self) -> tuple[ModelHealth, ...]:
        """How the models are doing, in the order of `models`. Raises `RuntimeUnavailable`, `DeadlineExceeded`."""
        return self._document(wire.request_header(wire.HealthRequest()), _HEALTH)

    def drift(self) -> tuple[DriftReport, ...]:
        """How far what the models see and say has moved. Raises `RuntimeUnavailable`, `DeadlineExceeded`."""
        return self._document(wire.request_header(wire.DriftRequest()), _DRIFT)

    def usage(self) -> RuntimeUsage:
        """What the models use together. Raises `RuntimeUnavailable`, `DeadlineExceeded`."""
        return self._document(wire.request_header(wire.UsageRequest()), _USAGE)

    def close(self) -> None:
        """Close the connections that are not in use. The client can still be used."""
        self._links.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _document(self, request: bytes, form: TypeAdapter[_T], seconds: float = _LISTING_SECONDS) -> _T:
        reply, answer = self._ask(request, lambda _: None, time.monotonic() + seconds)
        with _closing(answer):
            if not isinstance(reply, wire.DocumentReply) or answer is None:
                raise _not_understood()
            try:
                return form.validate_json(wire.document_in(answer))
            except (ValidationError, wire.BadMessage):
                raise _not_understood() from None

    def _ask(self, request: bytes, body: _BodyFor, end: float) -> tuple[wire.Reply, wire.Body | None]:
        """Send a request and wait for its reply until `end`; the caller closes the reply's body."""
        try:
            link = self._links.take(end)
        except TimeoutError:
            raise DeadlineExceeded("the runtime did not take the connection in time; try again later") from None
        except OSError as error:
            raise self._unavailable(error) from None
        try:
            header, answer = link.ask(request, body(link), end)
        except TimeoutError:
            link.close()
            raise DeadlineExceeded("the runtime gave no answer in time; try again later") from None
        except (OSError, wire.BadMessage) as error:
            link.close()
            raise self._unavailable(error) from None
        except BaseException:
            link.close()
            raise
        if not header:
            link.close()
            raise RuntimeUnavailable(f"{self._path}: the runtime closed the connection before it answered; try again")
        self._links.give_back(link)
        return _parsed(header, answer), answer

    def _unavailable(self, error: Exception) -> RuntimeUnavailable:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        return RuntimeUnavailable(f"{self._path}: no runtime answers there ({reason}); is the daemon running?")


def _end(timeout_seconds: float) -> float:
    if not 0 < timeout_seconds < math.inf:
        raise DeadlineExceeded("timeout_seconds is not a positive, finite number: no time is left")
    return time.monotonic() + timeout_seconds


def _infer_request(
    model: str, version: str | None, tensors: tuple[wire.TensorHeader, ...], priority: int, timeout_seconds: float
) -> bytes:
    try:
        return wire.request_header(wire.InferRequest(model, priority, float(timeout_seconds), tensors, version))
    except wire.BadMessage:
        raise InvalidInput(
            "the model's name or version, the priority or the number of inputs is beyond what can be sent"
        ) from None


def _parsed(header: bytes, answer: wire.Body | None) -> wire.Reply:
    """The reply of a header; an error that the runtime reports is raised here."""
    try:
        reply = wire.reply_in(header)
        if isinstance(reply, wire.ErrorReply):
            raise _raised(reply)
    except BaseException as error:
        wire.close(answer)
        if isinstance(error, wire.BadMessage):
            raise _not_understood() from None
        raise
    return reply


def _raised(reply: wire.ErrorReply) -> RuntimeFailure:
    if reply.error == PackageError.__name__ and reply.package_error:
        file, key, problem = reply.package_error
        return PackageError(Path(file), key, problem)
    return _ERRORS.get(reply.error, BackendFailure)(reply.message)


def _read_outputs(answer: wire.Body, reply: wire.InferReply) -> dict[str, np.ndarray[Any, Any]]:
    try:
        # Copied: what is mapped holds a file open, and who keeps many answers would run out of those.
        return wire.tensors_in(wire.received(wire.copied(answer)), reply.tensors)
    except (wire.BadMessage, OSError):
        raise _not_understood() from None


def _not_understood() -> RuntimeUnavailable:
    return RuntimeUnavailable("the runtime answered what this version does not understand; start the daemon anew")


@contextlib.contextmanager
def _closing(body: wire.Memory | wire.Body | None) -> Iterator[None]:
    try:
        yield
    finally:
        wire.close(body)
