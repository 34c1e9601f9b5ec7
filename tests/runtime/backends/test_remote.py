"""The remote backend against a real MLServer over REST and gRPC, with a proxy between them for TLS and for faults."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from runtime import (
    BackendFailure,
    Device,
    LocalRuntime,
    ModelPackage,
    NoRoute,
    PackageError,
    RemoteUnavailable,
    breaker,
)
from runtime.backend import Backend, RemoteAccess, open_backend
from runtime.errors import RouteUnavailable
from runtime.importing import import_model
from runtime.package import Place, Route, write_package
from runtime.parity import prove
from tests.peers.certificates import certificate_for
from tests.peers.fault_proxy import Fault, FaultProxy, Instead, Seen
from tests.peers.mlserver import MlServer
from tests.peers.process import free_port
from tests.runtime.backends.networks import (
    DTYPES,
    TOLERANCE,
    answers,
    description,
    echo_description,
    images,
    write_check,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.mlserver
REMOTE = Route(on=Place.REMOTE)
HEADERS = {"host", "user-agent", "content-length", "connection", "accept-encoding"}
QUICK = RemoteAccess(timeout_seconds=0.5)
PATIENT = RemoteAccess()


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, mlserver: MlServer) -> str:
    return mlserver.urls[request.param == "grpc"]


def _package(folder: Path, url: str, model: str = "network", error: float = 0.0, **changes) -> ModelPackage:
    folder.mkdir()
    write_check(folder, error=error)
    described = description(remote={"url": url, "model": model, "tolerance": TOLERANCE}, **changes)
    del described["weights"]
    return write_package(folder, described)


@contextmanager
def _opened(package: ModelPackage, access: RemoteAccess = PATIENT) -> Iterator[Backend]:
    backend = open_backend(package, REMOTE, threads=1, access=access)
    try:
        yield backend
    finally:
        backend.close()


@pytest.mark.parametrize("samples", [1, 5, 8])
def test_a_server_gives_the_numbers_of_the_network(tmp_path: Path, url: str, samples: int) -> None:
    with _opened(_package(tmp_path / "p", url)) as backend:
        outputs = backend.run({"image": images(samples)})
        assert (backend.device, backend.memory_bytes, backend.tolerance) == (Device.REMOTE, 0, TOLERANCE)
    assert outputs["probabilities"].dtype == np.float32
    assert np.abs(outputs["probabilities"] - answers(images(samples))).max() <= TOLERANCE


def test_a_package_without_weights_is_served_like_any_other(tmp_path: Path, url: str) -> None:
    with LocalRuntime([_package(tmp_path / "p", url)]) as runtime:
        answer = runtime.infer("network", {"image": images(2)}, timeout_seconds=20)
    assert np.allclose(answer.outputs["probabilities"], answers(images(2)), atol=TOLERANCE)


def test_a_backend_opened_by_one_thread_runs_in_others(tmp_path: Path, url: str) -> None:
    found: list[np.ndarray] = []
    with _opened(_package(tmp_path / "p", url)) as backend:
        for _ in range(3):
            thread = threading.Thread(target=lambda: found.append(backend.run({"image": images(1)})["probabilities"]))
            thread.start()
            thread.join(20)
    assert len(found) == 3


def _extremes(dtype: str) -> np.ndarray:
    if dtype.startswith("float"):
        limits = np.finfo(dtype)
        values = [limits.min, limits.max, limits.tiny, 0.0, -0.0, 1 / 3]
    else:
        values = [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1, 2, 3]
    return np.array(values, dtype).reshape(1, 2, 3)


def test_every_dtype_goes_there_and_back_unchanged(tmp_path: Path, url: str) -> None:
    described = echo_description(remote={"url": url, "model": "echo", "tolerance": 0.0})
    given = {f"in_{dtype}": _extremes(dtype) for dtype in DTYPES}
    folder = tmp_path / "echo"
    folder.mkdir()
    sent = {f"input:{name}": array for name, array in given.items()}
    back = {f"output:{name.replace('in_', 'out_')}": array for name, array in given.items()}
    np.savez(folder / "check.npz", **sent, **back)
    del described["weights"]
    package = write_package(folder, described)
    with _opened(package) as backend:
        prove(package, backend)
        outputs = backend.run(given)
    for dtype in DTYPES:
        assert outputs[f"out_{dtype}"].dtype == dtype
        assert np.array_equal(outputs[f"out_{dtype}"], given[f"in_{dtype}"])


def _tensor(name: str, dtype: str, *shape: object) -> list[dict]:
    return [{"name": name, "dtype": dtype, "shape": ["batch", *shape]}]


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": _tensor("picture", "float32", 1, 12, 12)},
        {"inputs": _tensor("image", "float64", 1, 12, 12)},
        {"inputs": _tensor("image", "float32", 1, 12, 13)},
        {"inputs": _tensor("image", "float32", 1, 12, 12) + _tensor("more", "float32")},
        {"outputs": _tensor("scores", "float32", 3)},
        {"outputs": _tensor("probabilities", "float32", 4)},
    ],
)
def test_another_model_than_the_packages_is_refused_when_opened(tmp_path: Path, url: str, changes: dict) -> None:
    with pytest.raises(PackageError) as caught:
        open_backend(_package(tmp_path / "p", url, **changes), REMOTE, threads=1)
    assert caught.value.key == "remote.model"


def test_a_server_that_says_nothing_of_its_tensors_is_proven_by_the_check(tmp_path: Path, url: str) -> None:
    package = _package(tmp_path / "p", url, "silent")
    with _opened(package) as backend:
        prove(package, backend)


def test_a_server_with_other_answers_is_refused(tmp_path: Path, url: str) -> None:
    package = _package(tmp_path / "p", url, error=0.01)
    with _opened(package) as backend, pytest.raises(PackageError, match=r"differs by 0\.0"):
        prove(package, backend)


def test_a_model_that_is_not_there_is_not_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(BackendFailure):
        open_backend(_package(tmp_path / "p", url, "absent"), REMOTE, threads=1)


def test_the_token_opens_the_door(tmp_path: Path, url: str) -> None:
    package = _package(tmp_path / "p", url, "guarded")
    with _opened(package, RemoteAccess(bearer_token="open-sesame")) as backend:
        prove(package, backend)
    for token in ("another", None):
        with _opened(package, RemoteAccess(bearer_token=token)) as backend, pytest.raises(RemoteUnavailable):
            backend.run({"image": images(1)})


def test_a_token_goes_to_the_server_it_is_for_and_to_no_other(tmp_path: Path, mlserver: MlServer) -> None:
    package = _package(tmp_path / "p", mlserver.urls[0], "guarded")
    own, other = f"127.0.0.1:{mlserver.http_port}", f"127.0.0.1:{mlserver.grpc_port}"
    assert package.remote is not None
    assert package.remote.authority == own
    access = RemoteAccess(bearer_token="open-sesame")
    with LocalRuntime([package], access={own: access}) as runtime:
        assert runtime.infer("network", {"image": images(1)}, timeout_seconds=20).device is Device.REMOTE
    with LocalRuntime([package], access={other: access}) as runtime, pytest.raises(NoRoute):
        runtime.infer("network", {"image": images(1)}, timeout_seconds=20)


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Other: 1", "", "é"])
def test_a_token_that_could_be_more_than_a_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="one word") as caught:
        RemoteAccess(bearer_token=token)
    assert not token or token not in str(caught.value)
    assert "sesame" not in repr(RemoteAccess(bearer_token="sesame"))


def test_no_message_quotes_what_was_sent_or_answered(tmp_path: Path, url: str) -> None:
    package = _package(tmp_path / "p", url, "faulty")
    with _opened(package) as backend, pytest.raises(RemoteUnavailable) as caught:
        backend.run({"image": np.full((1, 1, 12, 12), 0.73125, np.float32)})
    assert "0.73" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def _is_infer(request: Seen) -> bool:
    return request.path.endswith("/infer")


@contextmanager
def _behind_proxy(
    folder: Path, mlserver: MlServer, access: RemoteAccess = QUICK
) -> Iterator[tuple[Backend, FaultProxy]]:
    with FaultProxy(mlserver.urls[0]) as proxy, _opened(_package(folder / "p", proxy.url), access) as backend:
        yield backend, proxy


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault.RESET_BEFORE, Fault.DROP_ANSWER, Fault.SILENCE, Fault.TRUNCATE),
        *(Instead(500), Instead(502), Instead(503, body=b"<html>busy</html>"), Instead(408), Instead(429)),
        *(Instead(401), Instead(403), Instead(404), Instead(301, {"Location": "/elsewhere"})),
    ],
    ids=str,
)
def test_what_passes_is_unavailable_and_the_next_request_succeeds(
    tmp_path: Path, mlserver: MlServer, fault: Fault | Instead
) -> None:
    with _behind_proxy(tmp_path, mlserver) as (backend, proxy):
        proxy.plan(fault, picks=_is_infer)
        with pytest.raises(RemoteUnavailable):
            backend.run({"image": images(1)})
        assert backend.run({"image": images(1)})["probabilities"].shape == (1, 3)


@pytest.mark.parametrize(
    "answer",
    [
        *(Instead(400, body=b'{"error": "no"}'), Instead(422)),
        *(Instead(200, body=b"no json"), Instead(200, body=b"[]"), Instead(200, body=b'{"outputs": 3}')),
        Instead(200, body=json.dumps({"outputs": [{"name": "probabilities"}]}).encode()),
        Instead(200, {"Inference-Header-Content-Length": "many"}, b"{}"),
    ],
    ids=str,
)
def test_a_refusal_and_an_unreadable_answer_are_failures(tmp_path: Path, mlserver: MlServer, answer: Instead) -> None:
    with _behind_proxy(tmp_path, mlserver) as (backend, proxy):
        proxy.plan(answer, picks=_is_infer)
        with pytest.raises(BackendFailure) as caught:
            backend.run({"image": images(1)})
        assert not caught.value.retryable
        assert backend.run({"image": images(1)})["probabilities"].shape == (1, 3)


def test_a_bad_request_of_a_server_that_has_the_model_no_more_is_not_the_inputs(
    tmp_path: Path, mlserver: MlServer
) -> None:
    with _behind_proxy(tmp_path, mlserver) as (backend, proxy):
        proxy.plan(Instead(400), Instead(404), picks=lambda request: _is_infer(request) or "ready" in request.path)
        with pytest.raises(RemoteUnavailable, match="not there any more"):
            backend.run({"image": images(1)})
        assert backend.run({"image": images(1)})["probabilities"].shape == (1, 3)


def test_a_request_outlives_a_token_that_is_taken_back(
    tmp_path: Path, mlserver: MlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the route's failure, not the input's: told as such, and answered once the server lets us in again."""
    monkeypatch.setattr(breaker, "FIRST_SECONDS", 0.1)
    with FaultProxy(mlserver.urls[0]) as proxy, LocalRuntime([_package(tmp_path / "p", proxy.url)]) as runtime:
        proxy.plan(Instead(401), picks=_is_infer)
        with pytest.raises(NoRoute, match=r"remote: .*\(401\)"):
            runtime.infer("network", {"image": images(1)}, timeout_seconds=20)
        wait_until(lambda: _answers(runtime), "the route to be tried again", 20)


def _answers(runtime: LocalRuntime) -> bool:
    try:
        runtime.infer("network", {"image": images(1)}, timeout_seconds=20)
    except NoRoute:
        return False
    return True


def test_nothing_is_sent_but_the_tensors(tmp_path: Path, mlserver: MlServer) -> None:
    with _behind_proxy(tmp_path, mlserver) as (backend, proxy):
        backend.run({"image": images(1)})
        sent = next(request for request in proxy.seen if _is_infer(request))
    body = json.loads(sent.body)
    request_id = body.pop("id")
    assert {key: set(part[0]) for key, part in body.items()} == {
        "inputs": {"name", "shape", "datatype", "data"},
        "outputs": {"name", "parameters"},
    }
    assert len(request_id) == 32
    assert {name.lower() for name in sent.headers} <= HEADERS
    assert socket.gethostname() not in str(sent.headers)


def test_tensors_go_as_bytes_where_the_server_takes_them(tmp_path: Path, mlserver: MlServer) -> None:
    answer = answers(images(1)).tobytes()
    said = {"name": "probabilities", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    head = json.dumps({"model_name": "network", "outputs": [said]}).encode()
    with _behind_proxy(tmp_path, mlserver) as (backend, proxy):
        metadata = Instead(200, body=json.dumps({"name": "s", "extensions": ["binary_tensor_data"]}).encode())
        inferred = Instead(200, {"Inference-Header-Content-Length": str(len(head))}, head + answer)
        proxy.plan(metadata, inferred, picks=lambda request: request.path == "/v2" or _is_infer(request))
        outputs = backend.run({"image": images(1)})
        sent = proxy.seen[-1]
    assert np.array_equal(outputs["probabilities"], answers(images(1)))
    assert sent.body.endswith(images(1).tobytes())


class _TlsFront:
    """Takes TLS off and passes bytes on, whatever the protocol within."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            secured = self._context.wrap_socket(client, server_side=True)
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", self._target))
        threading.Thread(target=self._pass, args=(server, secured), daemon=True).start()
        self._pass(secured, server)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("protocol", ["https", "grpcs"])
@pytest.mark.parametrize(
    ("name", "trusted", "served"),
    [("localhost", True, True), ("localhost", False, False), ("other.example", True, False)],
)
def test_a_server_must_prove_who_it_is(
    tmp_path: Path, mlserver: MlServer, protocol: str, name: str, trusted: bool, served: bool
) -> None:
    certificate = certificate_for(name, tmp_path)
    front = _TlsFront(certificate, mlserver.http_port if protocol == "https" else mlserver.grpc_port)
    package = _package(tmp_path / "p", f"{protocol}://localhost:{front.port}")
    access = RemoteAccess(authorities=certificate if trusted else None, timeout_seconds=2 if not served else 20)
    try:
        if served:
            with _opened(package, access) as backend:
                prove(package, backend)
        else:
            with pytest.raises(RemoteUnavailable):
                open_backend(package, REMOTE, threads=1, access=access)
    finally:
        front.close()


@pytest.mark.parametrize("protocol", ["https", "grpcs"])
def test_a_model_is_imported_from_a_server_whose_authority_is_the_sites_own(
    tmp_path: Path, mlserver: MlServer, protocol: str
) -> None:
    certificate = certificate_for("localhost", tmp_path)
    front = _TlsFront(certificate, mlserver.http_port if protocol == "https" else mlserver.grpc_port)
    url = f"{protocol}://localhost:{front.port}{'/v2/models' if protocol == 'https' else ''}/network"
    said = {key: description()[key] for key in ("version", "intended_use", "licence", "training_data")}
    try:
        package = import_model(url, tmp_path / "models", said, access=RemoteAccess(authorities=certificate))
    finally:
        front.close()
    assert package.remote is not None
    assert [spec.name for spec in package.outputs] == ["probabilities"]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_are_none_are_said(tmp_path: Path, url: str, content: str | None) -> None:
    file = tmp_path / "authorities.pem"
    if content:
        file.write_text(content)
    with pytest.raises(RouteUnavailable, match=r"authorities\.pem"):
        open_backend(_package(tmp_path / "p", url), REMOTE, threads=1, access=RemoteAccess(authorities=file))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, protocol: str) -> None:
    package = _package(tmp_path / "p", f"{protocol}://127.0.0.1:{free_port()}")
    with pytest.raises(RemoteUnavailable):
        open_backend(package, REMOTE, threads=1, access=QUICK)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("dribble", [False, True])
def test_no_server_holds_a_request_longer_than_it_may_take(tmp_path: Path, protocol: str, dribble: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def hold() -> None:
        client, _ = listener.accept()
        if dribble:
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.05):
            if dribble:
                try:
                    client.sendall(b"h")
                except OSError:
                    break
        client.close()

    thread = threading.Thread(target=hold)
    thread.start()
    package = _package(tmp_path / "p", f"{protocol}://127.0.0.1:{listener.getsockname()[1]}")
    began = time.monotonic()
    try:
        with pytest.raises(BackendFailure):
            open_backend(package, REMOTE, threads=1, access=QUICK)
    finally:
        over.set()
        listener.close()
        thread.join()
    assert time.monotonic() - began < 5
