"""A FHIR R4 server as a destination: carries out the flows of `matching` and `delivery` over HTTP.

TLS is always verified, identified data goes to no other address than the configured one, and no body, token or
identifier is ever logged or put into an error. RESTful API: FHIR R4 3.1.0.
"""

import asyncio
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from adapters.fhir.delivery import delivery_flow
from adapters.fhir.errors import DestinationSettingsError
from adapters.fhir.exchanges import Answer, Flow, NoAnswer, Reply, Request, Search
from adapters.fhir.marker import resources_of
from adapters.fhir.matching import match_flow
from adapters.fhir.resources import own_identifier
from adapters.fhir.subjects import PatientMatch
from adapters.outcomes import Delivered, DeliveryOutcome
from pipelines.identity import PatientIdentity

T = TypeVar("T")

_JSON = "application/fhir+json"
_LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750 2.1
_CONNECTING: Final = 0.5  # of the time of an exchange: so a server that is not there is told from one that is slow
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class FhirServerSettings:
    """Where a FHIR server is and how to talk to it.

    `timeout_seconds` is for the whole of an exchange, from connecting to the last byte of the answer.
    `patient_systems` maps an issuer of Patient IDs to the system of the FHIR identifier. The bearer token is `token`,
    or what `token_file` holds at the time of a request, so that it can be renewed. `ca_file` (PEM) replaces the
    system's authorities. `client_certificate` (PEM, certificate and key) is for servers that want one. Raises
    `DestinationSettingsError` for an address that would carry identified data in the clear.
    """

    name: str
    url: str
    patient_systems: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None

    def __post_init__(self) -> None:
        url = urlsplit(self.url)
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment or url.username:
            raise DestinationSettingsError(f"destination {self.name}: url is not the base URL of a FHIR server")
        if url.scheme == "http" and url.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise DestinationSettingsError(f"destination {self.name}: url must be https beyond this machine")
        if self.timeout_seconds <= 0:
            raise DestinationSettingsError(f"destination {self.name}: timeout_seconds must be more than 0")


class FhirDestination:
    """A FHIR R4 server that reports go to. One object serves many threads.

    Each flow has a connection and an event loop of its own, since only there can the time of a whole exchange be
    limited: time-outs on a socket begin anew with each byte, and a server that drips would hold the thread for ever.
    The caller sees to it that no two deliveries of one report run at once (DESIGN §2.6).
    """

    def __init__(self, settings: FhirServerSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises `DestinationSettingsError` where a certificate file cannot be used."""
        self.settings = settings
        self._clock = clock
        self._base = settings.url.rstrip("/")
        self._tls = _tls(settings)
        self._first_use = threading.Lock()
        self._known_devices: set[str] = set()

    def match_patient(self, identity: PatientIdentity) -> PatientMatch:
        """The one Patient that `identity` is, or why there is none. Raises nothing for what a server does."""
        return self._run(
            match_flow(identity, self.settings.patient_systems, f"destinations.{self.settings.name}.patient_systems")
        )

    def deliver(self, document: bytes) -> DeliveryOutcome:
        """Deliver a document of `build_report`. Raises `DocumentError` for other bytes, nothing for what a server does.

        All reports of a model share its Device. Servers that check "create unless it exists" without a lock would
        make two of two first reports at once, and refuse every later report; so first reports go one at a time.
        """
        device = next(own_identifier(r) for r in resources_of(document) if r["resourceType"] == "Device")
        if device in self._known_devices:
            return self._run(delivery_flow(document))
        with self._first_use:
            outcome = self._run(delivery_flow(document))
            if isinstance(outcome, Delivered):
                self._known_devices.add(device)
            return outcome

    def _run(self, flow: Flow[T]) -> T:
        return asyncio.run(self._carry_out(flow))

    async def _carry_out(self, flow: Flow[T]) -> T:
        async with httpx.AsyncClient(
            verify=self._tls,
            timeout=httpx.Timeout(None, connect=_CONNECTING * self.settings.timeout_seconds),
            follow_redirects=False,
            trust_env=False,  # no proxy, .netrc or authority that nobody configured here
            headers={"Accept": _JSON, "User-Agent": "kopru"},
        ) as client:
            try:
                request = next(flow)
                while True:
                    request = flow.send(await self._exchange(client, request))
            except StopIteration as end:
                ended: T = end.value
                return ended

    async def _exchange(self, client: httpx.AsyncClient, request: Request) -> Reply:
        seconds = self.settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds), client.stream(**self._http_request(request)) as response:
                body = await _read(response)
                return Answer(
                    response.status_code, self._clock(), response.headers.get("Retry-After"), _json_object(body)
                )
        except _TokenError as error:
            return NoAnswer(str(error), may_have_arrived=False)
        except _NOT_SENT as error:
            return NoAnswer(f"no connection to the server ({type(error).__name__})", may_have_arrived=False)
        except TimeoutError:
            return NoAnswer(f"no complete answer from the server within {seconds:g} s", may_have_arrived=True)
        except (httpx.TransportError, httpx.DecodingError, _AnswerError) as error:
            # Only the class: the message of some of these quotes what came over the wire.
            return NoAnswer(f"no complete answer from the server ({type(error).__name__})", may_have_arrived=True)

    def _http_request(self, request: Request) -> dict[str, Any]:
        headers = _authorization(self.settings)
        if isinstance(request, Search):
            headers["Prefer"] = "handling=strict"  # an unknown parameter is an error, not "all patients"
            url = f"{self._base}/{request.resource_type}/_search"
            return {"method": "POST", "url": url, "data": dict(request.parameters), "headers": headers}
        headers |= {"Content-Type": f"{_JSON}; charset=utf-8", "Prefer": "return=minimal"}
        return {"method": "POST", "url": self._base, "content": request.document, "headers": headers}


class _AnswerError(Exception):
    """The answer is longer than any that we expect."""


class _TokenError(Exception):
    """The bearer token cannot be read; the text names the destination."""


def _authorization(settings: FhirServerSettings) -> dict[str, str]:
    """The header with the bearer token (RFC 6750), if there is one; a token from a file is read for each request."""
    token = settings.token
    if settings.token_file is not None:
        try:
            token = settings.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise _TokenError(f"token_file of destination {settings.name} cannot be read") from None
    if token is None:
        return {}
    if not _TOKEN.fullmatch(token):
        raise _TokenError(f"the token of destination {settings.name} is not a bearer token")
    return {"Authorization": f"Bearer {token}"}


def _tls(settings: FhirServerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=os.fspath(settings.ca_file) if settings.ca_file else None)
        if settings.client_certificate:
            context.load_cert_chain(settings.client_certificate)
    except (OSError, ssl.SSLError):
        raise DestinationSettingsError(
            f"destination {settings.name}: ca_file or client_certificate cannot be read or is no PEM file"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _read(response: httpx.Response) -> bytes:
    """The body, if it is no longer than anything that we asked for."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _LONGEST_ANSWER_BYTES:
            raise _AnswerError
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
