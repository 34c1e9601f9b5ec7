"""The HTTP side: routes, statuses, limits. An ASGI application over a `Runtime`; who serves it is not known here.

Statuses: 400 the request is wrong, 401 no valid key, 404 no such model or version, 408 too slow, 413 too large, 415
compressed, 422 a sample is not what the model was made for, 429 too many requests, 503 the runtime is busy or away
(both with Retry-After), 504 no answer in time, 500 the model failed.
"""

import functools
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import anyio
import anyio.to_thread
import structlog
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.open_inference import wire
from adapters.open_inference.access import Access
from runtime import (
    DeadlineExceeded,
    InvalidInput,
    LaneState,
    ModelDescription,
    ModelHealth,
    ModelNotFound,
    NoRoute,
    Overloaded,
    Runtime,
    RuntimeFailure,
    RuntimeUnavailable,
)

_log = structlog.get_logger(__name__)

LONGEST_SECONDS: Final = 60.0
"""The longest a request may take; a client may ask for less."""

_MOST_AT_ONCE: Final = 64
_FRESH_SECONDS: Final = 1.0
_TOO_LARGE: Final = "the body is larger than a full batch of this model can be"
_MOST_BYTES: Final = 1 << 30  # of memory, for all requests that are being read or run
_COPIES: Final = 3  # of a body that are in memory at the same time
_BYTES_OF_A_NUMBER: Final = 128  # that was read from JSON, in lists of Python's own
_STATUSES: Final[Mapping[type[RuntimeFailure], int]] = {
    InvalidInput: 400,
    ModelNotFound: 404,
    NoRoute: 503,
    Overloaded: 503,
    RuntimeUnavailable: 503,
    DeadlineExceeded: 504,
}

Handler = Callable[[Request], Awaitable[Response]]
Answering = Callable[[], Mapping[str, str | None]]
"""The version that answers where none is asked for, by the model's name: None where none may, and the runtime's default
for a name that is not in it. Raises `RuntimeUnavailable` while that cannot be told.
"""


class Served(Runtime, Protocol):
    """A `Runtime` that can tell how its models are doing."""

    def health(self) -> tuple[ModelHealth, ...]:
        """How each version of each model is doing."""


class _Refusal(Exception):
    """An answer that is not the one that was asked for."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.response = JSONResponse({"error": reason}, status, headers)


def application(runtime: Served, access: Access, version: str, answering: Answering) -> Starlette:
    """The application that serves `runtime`; `version` is that of this program."""
    return _Application(runtime, access, version, answering).starlette()


class _Application:
    def __init__(self, runtime: Served, access: Access, version: str, answering: Answering) -> None:
        self._runtime, self._access, self._version, self._ask_who_answers = runtime, access, version, answering
        self._bytes = 0
        self._threads = CapacityLimiter(_MOST_AT_ONCE)
        self._known: tuple[ModelDescription, ...] = ()
        self._answering: Mapping[str, str | None] = {}
        self._away: RuntimeFailure | None = None
        self._known_until = 0.0
        self._asking = anyio.Lock()

    def starlette(self) -> Starlette:
        model = "/v2/models/{model}"
        routes = [
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            Route("/v2", self._guarded(self._server)),
            Route("/v2/repository/index", self._guarded(self._index), methods=["POST"]),
        ]
        for path in (model, model + "/versions/{version}"):
            routes += [
                Route(path, self._guarded(self._metadata)),
                Route(path + "/ready", self._guarded(self._model_ready)),
                Route(path + "/infer", self._guarded(self._infer), methods=["POST"]),
            ]
        served = Starlette(routes=routes, exception_handlers={404: _no_such_page, 405: _no_such_page})
        served.router.redirect_slashes = False
        return served

    def _guarded(self, handler: Handler) -> Handler:
        """For those with a key, as often as it allows; failures become statuses."""

        async def guarded(request: Request) -> Response:
            try:
                self._admit(request)
                return await handler(request)
            except _Refusal as refusal:
                return refusal.response
            except wire.BadRequest as error:
                return JSONResponse({"error": str(error)}, 400)
            except RuntimeFailure as error:
                return _failed(error)
            except Exception:  # noqa: BLE001  # raised, it would cost the connection and what is sent behind
                _log.exception("inference_api_failed")
                return JSONResponse({"error": "the server failed; its log says how"}, 500)

        return guarded

    def _admit(self, request: Request) -> None:
        client = self._access.client(request.headers.get("authorization", ""))
        if client is None:
            _log.warning("api_key_refused", peer=request.client.host if request.client else "")
            raise _Refusal(401, "an API key is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        wait = self._access.wait_seconds(client)
        if wait > 0:
            raise _Refusal(429, "too many requests; try again later", {"Retry-After": str(math.ceil(wait))})

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:  # noqa: ARG002 - Starlette gives it
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:  # noqa: ARG002 - Starlette gives it
        try:
            await self._models()
        except RuntimeFailure:
            return JSONResponse({"ready": False}, 503)
        return JSONResponse({"ready": True})

    async def _server(self, request: Request) -> Response:  # noqa: ARG002 - Starlette gives it
        return JSONResponse({"name": "kopru", "version": self._version, "extensions": ["binary_tensor_data"]})

    async def _index(self, request: Request) -> Response:  # noqa: ARG002 - Starlette gives it
        models, askable = await self._models(), await self._askable()
        states = ["READY" if (model.name, model.version) in askable else "UNAVAILABLE" for model in models]
        listed = zip(models, states, strict=True)
        return JSONResponse([{"name": m.name, "version": m.version, "state": s, "reason": ""} for m, s in listed])

    async def _metadata(self, request: Request) -> Response:
        model = await self._model(request)
        others = [one.version for one in self._known if one.name == model.name and one.version != model.version]
        return JSONResponse(wire.metadata(model, others))

    async def _model_ready(self, request: Request) -> Response:
        model = await self._model(request)
        ready = (model.name, model.version) in await self._askable()
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _askable(self) -> set[tuple[str, str]]:
        """The models and versions of which a route can answer."""
        health = await anyio.to_thread.run_sync(self._runtime.health)
        return {(one.model, one.version) for one in health if _can_be_asked(one)}

    async def _models(self) -> tuple[ModelDescription, ...]:
        """The models that are served, as of a moment ago. One request asks for all, and for all that it was in vain."""
        if time.monotonic() >= self._known_until:
            async with self._asking:
                if time.monotonic() >= self._known_until:
                    await self._ask()
        if self._away is not None:
            raise self._away.with_traceback(None)
        return self._known

    async def _ask(self) -> None:
        try:
            known = await anyio.to_thread.run_sync(self._runtime.models)
            self._answering = await anyio.to_thread.run_sync(self._ask_who_answers)
            self._known, self._away = known, None
        except RuntimeFailure as error:
            self._away = error
        self._known_until = time.monotonic() + _FRESH_SECONDS

    async def _model(self, request: Request) -> ModelDescription:
        name, version = request.path_params["model"], request.path_params.get("version")
        there = [model for model in await self._models() if model.name == name]
        chosen = version or self._answering.get(name, there[0].version if there else None)
        for model in there:
            if model.version == chosen:
                return model
        if there and version is None:
            raise _Refusal(503, "no version of this model that is served here is in production", {"Retry-After": "1"})
        raise _Refusal(404, "there is no such model or version; POST /v2/repository/index lists those there are")

    # --- inference ----------------------------------------------------------------------------------------------------

    async def _infer(self, request: Request) -> Response:
        model = await self._model(request)
        if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
            raise _Refusal(415, "compressed bodies are not read here")
        most = wire.largest_body(model)
        length = _length(request, most)
        needed = _needed(request, length, model)
        if self._bytes + needed > _MOST_BYTES and self._bytes:
            raise _Refusal(503, "too much is being read already; try again later", {"Retry-After": "1"})
        self._bytes += needed
        try:
            body = await _read(request, most)
            until = time.monotonic() + LONGEST_SECONDS
            answer = functools.partial(self._answer, model, body, request.headers.get(wire.HEADER_LENGTH), until)
            content, json_length = await anyio.to_thread.run_sync(answer, limiter=self._threads)
        finally:
            self._bytes -= needed
        if json_length is None:
            return Response(content, media_type="application/json")
        headers = {wire.HEADER_LENGTH: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def _answer(
        self, model: ModelDescription, body: bytes, header_length: str | None, until: float
    ) -> tuple[bytes, int | None]:
        """Decode, ask, encode: in a thread, for which the request may have waited."""
        asked = wire.read_request(body, header_length, model)
        left = until - time.monotonic()
        seconds = left if asked.timeout_seconds is None else left - max(0.0, LONGEST_SECONDS - asked.timeout_seconds)
        if seconds <= 0:
            raise DeadlineExceeded("the request waited for its turn until its time was over")
        result = self._runtime.infer(model.name, asked.inputs, version=model.version, timeout_seconds=seconds)
        refused = [f"sample {n}: {verdict.sentence}" for n, verdict in enumerate(result.gate) if not verdict.fits]
        if refused:  # what stands in the place of their answers must not be taken for one
            raise _Refusal(422, f"not analysable, so there is no answer: {'; '.join(refused)}")
        return wire.write_answer(asked, result)


def _length(request: Request, most: int) -> int:
    """How long the body says that it is; as long as it may be where it does not say."""
    said = request.headers.get("content-length", "")
    length = int(said) if said.isascii() and said.isdigit() else most
    if length > most:
        raise _Refusal(413, _TOO_LARGE)
    return length


def _needed(request: Request, length: int, model: ModelDescription) -> int:
    """The bytes of memory that reading a body of this length can take."""
    said = request.headers.get(wire.HEADER_LENGTH, "")
    json_length = min(int(said), length) if said.isascii() and said.isdigit() and len(said) <= 12 else length
    return _COPIES * length + _BYTES_OF_A_NUMBER * min(wire.numbers_of(model), json_length // 2)


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(LONGEST_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise _Refusal(413, _TOO_LARGE)
    except TimeoutError:
        raise _Refusal(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise _Refusal(400, "the client left before its request was complete") from None
    return bytes(body)


def _can_be_asked(model: ModelHealth) -> bool:
    """Whether a route may answer. One whose time to be tried again has come may: only a request can show it."""
    gone = (LaneState.UNAVAILABLE, LaneState.LOST)
    return any(lane.state not in gone and not lane.retry_seconds for lane in model.lanes)


def _failed(error: RuntimeFailure) -> Response:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": str(error)}, status, headers)


async def _no_such_page(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette gives them
    status: int = getattr(error, "status_code", 404)
    return JSONResponse({"error": "the Open Inference Protocol v2 has no such resource or method"}, status)
