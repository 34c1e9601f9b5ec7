"""The inference API as others reach it: the real server over the real runtime, asked by `tritonclient` and `httpx`."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from adapters.open_inference import new_api_key
from daemon import http
from daemon.http import HttpServer
from daemon.settings import ApiKeySettings, ConsoleSettings
from runtime import LaneState, LocalRuntime, ModelDescription, Overloaded, RuntimeUnavailable, Verdict
from tests.peers.process import free_port
from tests.runtime.packages import CLASSES, images, make_package
from tests.waiting import wait_until

serving = sys.modules["adapters.open_inference.application"]
LARGE = {"size": 64, "wait_ms": 5}
KEY, DIGEST = new_api_key()
HEADERS: Mapping[str, str] = {"Authorization": f"Bearer {KEY}"}
"""For `tritonclient` a copy of it: it writes into the one that it is given."""


@contextmanager
def _served(runtime: Any, **changes: Any) -> Iterator[str]:
    port = free_port()
    keys = (ApiKeySettings(name="test", sha256=DIGEST, requests_per_minute=changes.pop("rate", 100_000)),)
    answering = changes.pop("answering", dict)
    server = HttpServer.start(ConsoleSettings(port=port, api_keys=keys, **changes), runtime, answering)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()
        assert not server.is_alive


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRuntime]:
    with LocalRuntime([make_package(tmp_path_factory.mktemp("packages") / "tiny")], threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def address(runtime: LocalRuntime) -> Iterator[str]:
    with _served(runtime) as served:
        yield served


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as connected:
        yield connected


@contextmanager
def _http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{address}", headers=HEADERS, timeout=30) as session:
        yield session


def _expected(runtime: LocalRuntime, batch: np.ndarray) -> np.ndarray:
    return runtime.infer("tiny", {"image": batch}, timeout_seconds=30).outputs["probabilities"]


def test_tritonclient_finds_the_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny", headers=dict(HEADERS))
    assert client.is_model_ready("tiny", "1.0.0", headers=dict(HEADERS))
    assert not client.is_model_ready("tiny", "9.9", headers=dict(HEADERS))
    assert client.get_server_metadata(headers=dict(HEADERS))["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("tiny", headers=dict(HEADERS))
    assert about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert about["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, CLASSES]}]
    assert [model["name"] for model in client.get_model_repository_index(headers=dict(HEADERS))] == ["tiny"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient_gets_the_models_own_answer(
    client: triton.InferenceServerClient, runtime: LocalRuntime, binary_in: bool, binary_out: bool
) -> None:
    batch = images(3)
    image = triton.InferInput("image", batch.shape, "FP32")
    image.set_data_from_numpy(batch, binary_data=binary_in)
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    answer = client.infer("tiny", [image], "1.0.0", outputs=wanted, request_id="q1", headers=dict(HEADERS))
    assert answer.get_response()["id"] == "q1"
    np.testing.assert_allclose(answer.as_numpy("probabilities"), _expected(runtime, batch), atol=1e-6)


def test_many_clients_at_once_each_get_their_own_answer(address: str, runtime: LocalRuntime) -> None:
    batches = [images(1, seed) for seed in range(40)]

    def ask(batch: np.ndarray) -> np.ndarray:
        image = triton.InferInput("image", batch.shape, "FP32")
        image.set_data_from_numpy(batch)
        with triton.InferenceServerClient(address) as client:  # one is not for several threads
            return client.infer("tiny", [image], headers=dict(HEADERS)).as_numpy("probabilities")

    with ThreadPoolExecutor(8) as pool:
        for batch, answer in zip(batches, pool.map(ask, batches), strict=True):
            np.testing.assert_allclose(answer, _expected(runtime, batch), atol=1e-5)


def test_the_version_in_production_answers_who_asks_for_none(tmp_path: Path) -> None:
    packages = [make_package(tmp_path / version, version=version) for version in ("1.0.0", "2.0.0")]
    production: dict[str, str | None] = {"tiny": "2.0.0"}
    image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
    image.set_data_from_numpy(images(1))
    with LocalRuntime(packages, threads=1) as runtime, _served(runtime, answering=lambda: production) as address:
        with triton.InferenceServerClient(address) as client:
            ask = partial(client.infer, "tiny", [image])
            assert ask(headers=dict(HEADERS)).get_response()["model_version"] == "2.0.0"
            assert ask("1.0.0", headers=dict(HEADERS)).get_response()["model_version"] == "1.0.0"
            assert client.get_model_metadata("tiny", headers=dict(HEADERS))["versions"] == ["2.0.0", "1.0.0"]
        for nobody in (None, "9.0.0"):
            production["tiny"] = nobody
            with _served(runtime, answering=lambda: production) as other, _http(other) as session:
                answer = session.post("/v2/models/tiny/infer", json=_request())
            assert answer.status_code == 503
            assert "production" in answer.json()["error"]


def test_a_model_that_no_route_can_answer_for_is_not_ready_until_it_may_be_tried_again(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = runtime.health()
    (lane,) = [lane for lane in model.lanes if lane.state is LaneState.READY]
    away = replace(lane, state=LaneState.FAILED, retry_seconds=3.0)
    no_device = replace(lane, state=LaneState.UNAVAILABLE)
    with _served(runtime) as address, triton.InferenceServerClient(address) as client:
        for lanes, ready in (
            ((no_device, lane), True),
            ((no_device, away), False),
            ((away, lane), True),
            ((replace(away, retry_seconds=0.0),), True),
            ((no_device,), False),
        ):
            monkeypatch.setattr(runtime, "health", lambda lanes=lanes: (replace(model, lanes=lanes),))
            assert client.is_model_ready("tiny", headers=dict(HEADERS)) is ready
            (listed,) = client.get_model_repository_index(headers=dict(HEADERS))
            assert (listed["name"], listed["state"]) == ("tiny", "READY" if ready else "UNAVAILABLE")


def test_tritonclient_hears_why_a_request_is_refused(client: triton.InferenceServerClient) -> None:
    wrong = triton.InferInput("image", [1, 1, 4, 4], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 1, 4, 4), np.float32))
    with pytest.raises(InferenceServerException, match="must be float32"):
        client.infer("tiny", [wrong], headers=dict(HEADERS))


def test_nothing_but_that_it_lives_is_told_without_a_key(address: str) -> None:
    for path in ("/v2", "/v2/models/tiny", "/v2/models/tiny/ready"):
        for headers in ({}, {"Authorization": "Bearer kopru_guess"}, {"Authorization": f"Basic {KEY}"}):
            answer = httpx.get(f"http://{address}{path}", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.post(f"http://{address}/v2/models/tiny/infer", content=b"x").status_code == 401
    assert httpx.get(f"http://{address}/v2/health/live").json() == {"live": True}


def _request(**changes: Any) -> dict[str, Any]:
    image = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
    return {"inputs": [image | changes]}


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v2/models/tiny/infer", b"", 400),
        ("/v2/models/tiny/infer", b"{", 400),
        ("/v2/models/tiny/infer", json.dumps(_request(name="other")).encode(), 400),
        ("/v2/models/tiny/infer", json.dumps(_request(shape=[9, 1, 8, 8], data=[0.5] * 576)).encode(), 400),
        ("/v2/models/tiny/infer", json.dumps(_request(data=[float("nan")] * 64)).encode(), 400),
        ("/v2/models/tiny/infer", b"x" * 1_000_000, 413),
        ("/v2/models/tiny/infer", json.dumps({**_request(), "outputs": [{"name": "none"}]}).encode(), 400),
        ("/v2/models/tiny/infer", json.dumps(_request(data=[True] + [0.5] * 63)).encode(), 400),
        ("/v2/models/none/infer", json.dumps(_request()).encode(), 404),
        ("/v2/models/tiny/versions/2/infer", json.dumps(_request()).encode(), 404),
        ("/v2/models/../../etc/passwd/infer", b"", 404),
        ("/v2/nothing", b"", 404),
        ("/v2/health/live", b"", 405),
    ],
)
def test_a_wrong_request_has_its_status_and_a_reason(address: str, path: str, content: bytes, status: int) -> None:
    with _http(address) as session:
        answer = session.post(path, content=content)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_comes(address: str) -> None:
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + b"Content-Length: 99999999999\r\n\r\n")
        assert connection.recv(1 << 12).startswith(b"HTTP/1.1 413 ")


def test_requests_sent_without_waiting_are_answered_in_their_order(address: str) -> None:
    bodies = [json.dumps({**_request(), "id": f"q{number}"}).encode() for number in range(20)]
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: "
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"".join(head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies))
        came = b""
        while came.count(b'"id":') < len(bodies):
            came += connection.recv(1 << 16)
    assert re.findall(rb'"id":"(\w+)"', came) == [b"q%d" % number for number in range(20)]


def test_a_request_without_json_is_answered_without_it(address: str, runtime: LocalRuntime) -> None:
    batch = images(2)
    with _http(address) as session:
        answer = session.post(
            "/v2/models/tiny/infer", content=batch.tobytes(), headers={"Inference-Header-Content-Length": "0"}
        )
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 2 * CLASSES * 4}
    found = np.frombuffer(answer.content[length:], "<f4").reshape(2, CLASSES)
    np.testing.assert_allclose(found, _expected(runtime, batch), atol=1e-6)


def test_tritonclients_other_half_is_answered_too(address: str, runtime: LocalRuntime) -> None:
    async def ask() -> np.ndarray:
        image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(images(1))
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_model_ready("tiny", headers=dict(HEADERS))
            answer = await client.infer("tiny", [image], headers=dict(HEADERS), timeout=0, priority=1)
            return answer.as_numpy("probabilities")

    np.testing.assert_allclose(asyncio.run(ask()), _expected(runtime, images(1)), atol=1e-6)


def test_a_compressed_body_is_refused_before_it_is_unpacked(address: str) -> None:
    with _http(address) as session:
        answer = session.post("/v2/models/tiny/infer", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415
        for none in ("", "identity", "Identity"):
            answer = session.post("/v2/models/tiny/infer", json=_request(), headers={"Content-Encoding": none})
            assert answer.status_code == 200


def test_a_client_that_asks_too_often_is_told_when_to_come_back(runtime: LocalRuntime) -> None:
    with _served(runtime, rate=2) as address, _http(address) as session:
        answers = [session.get("/v2") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30


class _Failing:
    """A runtime whose every answer is an error: what a busy or absent one gives cannot be timed with a real one."""

    def __init__(self, error: Exception, real: LocalRuntime) -> None:
        self._error, self._real = error, real

    def infer(self, *_: Any, **__: Any) -> Any:
        raise self._error

    def models(self) -> Any:
        if isinstance(self._error, RuntimeUnavailable):
            raise self._error
        return self._real.models()


def test_a_sample_that_the_model_was_not_made_for_gets_no_answer_but_the_reason(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(*args: Any, **options: Any) -> Any:
        return replace(LocalRuntime.infer(runtime, *args, **options), gate=(Verdict.UNLIKE,))

    monkeypatch.setattr(runtime, "infer", judged)
    with _served(runtime) as address, _http(address) as session:
        answer = session.post("/v2/models/tiny/infer", json=_request())
    assert answer.status_code == 422
    assert Verdict.UNLIKE.sentence in answer.json()["error"]
    assert "outputs" not in answer.json()


def test_what_nobody_foresaw_is_said_and_costs_nobody_the_connection(runtime: LocalRuntime) -> None:
    with _served(_Failing(ZeroDivisionError("0.73"), runtime)) as address, _http(address) as session:
        answers = [session.post("/v2/models/tiny/infer", json=_request()) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 500
        assert "0.73" not in answer.json()["error"]


class _Waiting:
    """A runtime that answers only when told to, and counts what it is asked."""

    def __init__(self, real: LocalRuntime, model: ModelDescription) -> None:
        self._real, self._model = real, model
        self.asked, self.listed, self.go = 0, 0, threading.Event()

    def infer(self, *_: Any, timeout_seconds: float, **__: Any) -> Any:
        self.asked += 1
        assert self.go.wait(20)
        return self._real.infer("tiny", {"image": images(1)}, timeout_seconds=timeout_seconds)

    def models(self) -> Any:
        self.listed += 1
        return (self._model,)


def test_small_requests_to_a_model_of_large_batches_do_not_keep_each_other_out(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    """What a request needs is what it says that it is long, and not what a full batch would be."""
    large = [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 1024, 1024]}]
    model = make_package(tmp_path / "large", inputs=large, preprocessing={"kind": "none"}, batch=LARGE).description
    waiting = _Waiting(runtime, model)
    raw = {"name": "image", "shape": [1, 1, 1024, 1024], "datatype": "FP32"}
    head = json.dumps({"inputs": [raw | {"parameters": {"binary_data_size": 4 << 20}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}

    def ask(session: httpx.Client) -> int:
        return session.post("/v2/models/tiny/infer", content=head + bytes(4 << 20), headers=headers).status_code

    with _served(waiting) as address, _http(address) as session, ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(ask, session) for _ in range(12)]
        try:
            wait_until(lambda: waiting.asked == 12, "all requests to be with the runtime", 20)
        finally:
            waiting.go.set()
        assert [answer.result() for answer in answers] == [200] * 12


def test_a_request_that_waits_for_its_turn_waits_no_longer_than_it_may(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(serving, "_MOST_AT_ONCE", 1)
    waiting = _Waiting(runtime, runtime.models()[0])
    with _served(waiting) as address, _http(address) as session, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(session.post, "/v2/models/tiny/infer", json=_request()) for _ in range(2)]
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.4, "the time to be over", 20)
        waiting.go.set()
        assert sorted(answer.result().status_code for answer in answers)[1] == 504
    assert waiting.asked == 1


def test_the_runtime_is_not_asked_again_and_again_while_it_is_away(runtime: LocalRuntime) -> None:
    """Whether the server is ready, anyone may ask."""
    waiting = _Waiting(runtime, runtime.models()[0])

    def away() -> Any:
        waiting.listed += 1
        raise RuntimeUnavailable("away")

    waiting.models = away  # type: ignore[method-assign]  # it is the fault
    with _served(waiting) as address, _http(address) as session, ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: session.get("/v2/health/ready").status_code, range(60)))
        took = time.monotonic() - began
    assert answers == [503] * 60
    assert waiting.listed <= took + 1


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HTT", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_connection_on_which_no_request_comes_is_closed(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http, "_HEAD_SECONDS", 0.3)
    with _served(runtime) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(sent)
            assert connection.recv(100) == b""
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            answered, began = b"", time.monotonic()
            while time.monotonic() - began < 0.6:  # what comes in time is answered
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                while not answered.endswith(b'{"live":true}'):
                    answered += connection.recv(1 << 12)
                answered = b""
            connection.sendall(b"G")  # and what follows has no longer than what came first
            assert connection.recv(100) == b""


def test_a_refused_body_that_dribbles_holds_no_connection(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_HEAD_SECONDS", 0.3)
    with _served(runtime) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")
            assert connection.recv(1 << 12).startswith(b"HTTP/1.1 401 ")
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while connection.sendall(b"x") is None and time.monotonic() - began < 20:
                    pass
            assert time.monotonic() - began < 10


@pytest.mark.parametrize("error", [Overloaded("full"), RuntimeUnavailable("away")], ids=["busy", "away"])
def test_a_runtime_that_cannot_answer_now_is_service_unavailable(error: Exception, runtime: LocalRuntime) -> None:
    with _served(_Failing(error, runtime)) as address, _http(address) as session:
        answer = session.post("/v2/models/tiny/infer", json=_request())
        ready = httpx.get(f"http://{address}/v2/health/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert ready.status_code == (503 if isinstance(error, RuntimeUnavailable) else 200)


def test_a_client_that_leaves_in_the_middle_of_its_request_harms_nobody(address: str) -> None:
    host, port = address.split(":")
    head = (
        f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 900\r\n\r\n"
    )
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"{")
    with _http(address) as session:
        assert session.post("/v2/models/tiny/infer", json=_request()).status_code == 200


def test_it_speaks_tls_with_the_sites_own_certificate(runtime: LocalRuntime, tmp_path: Path) -> None:
    key, certificate = tmp_path / "console.key", tmp_path / "console.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    with _served(runtime, certificate_file=certificate, private_key_file=key) as address:
        trusted = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"https://{address}/v2", headers=HEADERS, verify=trusted).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{address}/v2", headers=HEADERS)


def test_an_address_in_use_is_an_error_at_once(runtime: LocalRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        HttpServer.start(ConsoleSettings(port=taken.getsockname()[1]), runtime, dict)
    assert not [thread for thread in threading.enumerate() if thread.name == "http" and not thread.daemon]
