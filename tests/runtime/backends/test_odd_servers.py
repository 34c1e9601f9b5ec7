"""The remote backend and the import against servers that answer what no good server would, over REST and gRPC."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import BackendFailure, PackageError, RemoteUnavailable, RuntimeFailure
from runtime.backend import Backend, RemoteAccess, open_backend
from runtime.importing import import_model
from runtime.package import Place, Route, write_package
from tests.runtime.backends.networks import description, images, write_check

grpc = pytest.importorskip("grpc")
service = pytest.importorskip("tritonclient.grpc.service_pb2")
services = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

REMOTE = Route(on=Place.REMOTE)
QUICK = RemoteAccess(timeout_seconds=5)
SAID = {key: description()[key] for key in ("version", "intended_use", "licence", "training_data")}
ANSWER = [0.25, 0.25, 0.5]
IMAGE = {"name": "image", "datatype": "FP32", "shape": [-1, 1, 12, 12]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
METADATA = {"name": "network", "versions": ["3"], "platform": "odd", "inputs": [IMAGE], "outputs": [PROBABILITIES]}

Answering = Callable[["_Handler", dict[str, Any]], None]


class _Handler(BaseHTTPRequestHandler):
    """Describes the network as a good server would; `infer` does the rest."""

    protocol_version = "HTTP/1.1"
    metadata: bytes = json.dumps(METADATA).encode()
    infer: Answering
    paths: list[str]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self.paths.append(self.path)
        if self.path == "/v2":
            self.send(json.dumps({"name": "odd", "extensions": []}).encode())
        else:
            self.send(b"{}" if self.path.endswith("/ready") else self.metadata)

    def do_POST(self) -> None:
        self.paths.append(self.path)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(OSError):  # a client that has heard enough
            type(self).infer(self, request)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _document(request: dict[str, Any], *, outputs: Any = None, **changes: Any) -> bytes:
    output = {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": ANSWER}
    said = {"id": request["id"], "model_name": "network", "model_version": "3"}
    return json.dumps({**said, "outputs": outputs or [output], **changes}).encode()


def _output(**changes: Any) -> dict[str, Any]:
    return {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": ANSWER, **changes}


@contextmanager
def _served(infer: Answering, **attributes: Any) -> Iterator[tuple[str, list[str]]]:
    paths: list[str] = []
    handler = type("Handler", (_Handler,), {"infer": infer, "paths": paths, **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _opened(folder: Path, url: str, **remote: Any) -> Iterator[Backend]:
    folder.mkdir()
    write_check(folder)
    described = description(remote={"url": url, "model": "network", "tolerance": 0.001, **remote})
    del described["weights"]
    backend = open_backend(write_package(folder, described), REMOTE, threads=1, access=QUICK)
    try:
        yield backend
    finally:
        backend.close()


def _answer_of(tmp_path: Path, infer: Answering, **remote: Any) -> np.ndarray:
    with _served(infer) as (url, _), _opened(tmp_path / "p", url, **remote) as backend:
        return backend.run({"image": images(1)})["probabilities"]


def _lost_step(first: str | None) -> Iterator[str | None]:
    """The ids of answers: None stands for that of the request."""
    yield first
    while True:
        yield "0" * 32


@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_the_answer_to_another_patients_request_is_none(tmp_path: Path, over: str) -> None:
    """Where a connection, or a proxy, has lost step."""
    ids = _lost_step(None)
    if over == "rest":
        with _served(_with_ids(ids)) as (url, _), _opened(tmp_path / "p", url) as backend:
            backend.run({"image": images(1)})
            with pytest.raises(RemoteUnavailable, match="another request"):
                backend.run({"image": images(1)})
    else:
        with pytest.raises(RemoteUnavailable, match="another request"):
            _over_grpc(tmp_path, lambda request, _: _response(request, id=next(ids) or request.id), runs=2)


def test_a_server_that_always_has_ids_of_its_own_is_understood(tmp_path: Path) -> None:
    with _served(_with_ids(_lost_step("1" * 32))) as (url, _), _opened(tmp_path / "p", url) as backend:
        for _ in range(2):
            assert backend.run({"image": images(1)})["probabilities"].tolist() == [ANSWER]


def _with_ids(ids: Iterator[str | None]) -> Answering:
    return lambda handler, request: handler.send(_document(request, id=next(ids) or request["id"]))


def test_a_server_that_leaves_out_all_that_it_may_is_understood(tmp_path: Path) -> None:
    found = _answer_of(tmp_path, lambda handler, _: handler.send(json.dumps({"outputs": [_output()]}).encode()))
    assert found.tolist() == [ANSWER]


@pytest.mark.parametrize(
    "changes",
    [{"model_name": "another"}, {"model_version": "2"}],
    ids=["model", "version"],
)
def test_the_answer_to_something_else_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RemoteUnavailable, match="no answer to this request"):
        _answer_of(tmp_path, lambda handler, request: handler.send(_document(request, **changes)), version="3")


@pytest.mark.parametrize(
    "outputs",
    [
        [_output(data=[True, False, False])],
        [_output(data=["0.25", "0.25", "0.5"])],
        [_output(data=[None, 0.25, 0.5])],
        [_output(data=[[0.25, 0.25, True]])],
        [_output(datatype="INT64", data=[1.7, 0, 0])],
        [_output(datatype="BF16")],
        [_output(datatype="FP64")],
        [_output(datatype=None)],
        [_output(), _output(data=[1.0, 0.0, 0.0])],
        [_output(shape=[3])] * 2,
        [_output(shape=[1, 4])],
        [3],
    ],
    ids=str,
)
def test_numbers_that_are_none_are_not_made_into_some(tmp_path: Path, outputs: Any) -> None:
    with pytest.raises(BackendFailure) as caught:
        _answer_of(tmp_path, lambda handler, request: handler.send(_document(request, outputs=outputs)))
    assert not caught.value.retryable


LABELS = {"name": "labels", "datatype": "BYTES", "shape": [1, 2], "data": ["yes", "no"]}


def test_outputs_that_were_not_asked_for_are_left_alone(tmp_path: Path) -> None:
    outputs = [LABELS, _output()]
    found = _answer_of(tmp_path, lambda handler, request: handler.send(_document(request, outputs=outputs)))
    assert found.tolist() == [ANSWER]


@pytest.mark.parametrize("raw", [True, False])
def test_outputs_that_were_not_asked_for_are_left_alone_over_grpc(tmp_path: Path, raw: bool) -> None:
    def infer(request: Any, _: Any) -> Any:
        said = service.ModelInferResponse()
        said.outputs.add(name="labels", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"yes")
        if raw:
            said.raw_output_contents.append(b"\3\0\0\0yes")
        said.MergeFrom(_response(request, raw=raw))
        return said

    assert _over_grpc(tmp_path, infer).tolist() == [ANSWER]


def _endless(handler: _Handler, _: Any) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def _long(handler: _Handler, request: Any) -> None:
    handler.send(_document(request) + b" " * (4 << 20))


def _packed(handler: _Handler, request: Any) -> None:
    handler.send(gzip.compress(_document(request) + b" " * (64 << 20), 1), Content_Encoding="gzip")


@pytest.mark.parametrize("infer", [_endless, _long, _packed])
def test_an_answer_is_read_no_further_than_it_may_be_long(tmp_path: Path, infer: Answering) -> None:
    with pytest.raises(BackendFailure, match="cannot be read") as caught:
        _answer_of(tmp_path, infer)
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [503, 502, 429])
def test_the_page_of_a_failure_is_not_read_however_it_is_packed(tmp_path: Path, status: int) -> None:
    page = gzip.compress(b"<html>" + b" " * (4 << 20))
    with pytest.raises(RemoteUnavailable, match=str(status)):
        _answer_of(tmp_path, lambda handler, _: handler.send(page, status, Content_Encoding="gzip"))


@pytest.mark.parametrize("name", ["../../admin", "a/b", "..", "."])
@pytest.mark.parametrize("key", ["model", "version"])
def test_no_package_leads_a_request_elsewhere_on_the_server(tmp_path: Path, name: str, key: str) -> None:
    with _served(_long) as (url, paths):
        with pytest.raises(PackageError) as caught, _opened(tmp_path / "p", url, **{key: name}):
            pass
        assert caught.value.key == f"remote.{key}"
        assert not paths


# Import


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b"no json",
        b"[" * 100_000,
        b'{"inputs": 3, "outputs": 4}',
        b'{"inputs": ["image"], "outputs": ["probabilities"]}',
        b'{"inputs": [{"name": "image", "datatype": "FP32", "shape": ["rows"]}], "outputs": []}',
        b'{"inputs": [{"name": "image", "datatype": "FP32"}], "outputs": []}',
        b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}], "outputs": []}',
        b'{"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, -1]}], "outputs": []}',
        b'{"inputs": [], "outputs": []}' + b" " * (4 << 20),
    ],
    ids=lambda metadata: repr(metadata[:40]),
)
def test_a_server_that_describes_nonsense_is_refused_in_words(tmp_path: Path, metadata: bytes) -> None:
    with _served(_long, metadata=metadata) as (url, _), pytest.raises(RuntimeFailure):
        import_model(f"{url}/v2/models/network", tmp_path / "models", SAID, access=QUICK)
    assert not (tmp_path / "models").exists()


def test_a_server_that_gives_another_output_than_it_describes_is_refused(tmp_path: Path) -> None:
    def infer(handler: _Handler, request: Any) -> None:
        handler.send(_document(request, outputs=[_output(name="other")]))

    with _served(infer) as (url, _), pytest.raises(PackageError, match="gives no 'probabilities'"):
        import_model(f"{url}/v2/models/network", tmp_path / "models", SAID, access=QUICK)


def test_a_server_that_sends_a_client_elsewhere_is_not_followed(tmp_path: Path) -> None:
    class Redirecting(_Handler):
        def do_GET(self) -> None:
            self.paths.append(self.path)
            self.send(b"", 302, Location="/v2/models/other")

    with _served(_long, do_GET=Redirecting.do_GET) as (url, paths), pytest.raises(RemoteUnavailable, match="302"):
        import_model(f"{url}/v2/models/network", tmp_path / "models", SAID, access=QUICK)
    assert paths == ["/v2/models/network"]


# gRPC


class _Service(services.GRPCInferenceServiceServicer):  # type: ignore[misc]  # it has no types
    def __init__(self, infer: Callable[[Any, Any], Any]) -> None:
        self._infer = infer

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - its base class's
        return service.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - its base class's
        tensor = service.ModelMetadataResponse.TensorMetadata
        return service.ModelMetadataResponse(
            name="network", inputs=[tensor(**IMAGE)], outputs=[tensor(**PROBABILITIES)]
        )

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - its base class's
        return self._infer(request, context)


def _over_grpc(tmp_path: Path, infer: Callable[[Any, Any], Any], runs: int = 1, **remote: Any) -> np.ndarray:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        services.add_GRPCInferenceServiceServicer_to_server(_Service(infer), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with _opened(tmp_path / "p", f"grpc://127.0.0.1:{port}", **remote) as backend:
                for _ in range(runs - 1):
                    backend.run({"image": images(1)})
                return backend.run({"image": images(1)})["probabilities"]
        finally:
            server.stop(0).wait()


def _response(request: Any, *, raw: bool = True, **changes: Any) -> Any:
    said = service.ModelInferResponse(**{"id": request.id, "model_name": "network", "model_version": "3", **changes})
    output = said.outputs.add(name="probabilities", datatype="FP32", shape=[1, 3])
    if raw:
        said.raw_output_contents.append(np.array(ANSWER, "<f4").tobytes())
    else:
        output.contents.fp32_contents.extend(ANSWER)
    return said


@pytest.mark.parametrize("raw", [True, False])
def test_numbers_may_come_as_bytes_or_one_by_one(tmp_path: Path, raw: bool) -> None:
    assert _over_grpc(tmp_path, lambda request, _: _response(request, raw=raw)).tolist() == [ANSWER]


@pytest.mark.parametrize(
    "changes",
    [{"model_name": "another"}, {"model_version": "2"}],
    ids=["model", "version"],
)
def test_the_answer_to_something_else_is_none_over_grpc(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RemoteUnavailable, match="no answer to this request"):
        _over_grpc(tmp_path, lambda request, _: _response(request, **changes), version="3")


def test_an_output_that_comes_twice_is_none(tmp_path: Path) -> None:
    def twice(request: Any, _: Any) -> Any:
        said = _response(request)
        said.MergeFrom(service.ModelInferResponse(outputs=said.outputs, raw_output_contents=[bytes(12)]))
        return said

    with pytest.raises(BackendFailure, match="cannot be read"):
        _over_grpc(tmp_path, twice)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_is_the_routes_failure_unless_it_is_of_the_input(tmp_path: Path, code: Any) -> None:
    """Its words are left out: they can quote values."""
    of_the_input = code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
    with pytest.raises(BackendFailure) as caught:
        _over_grpc(tmp_path, lambda _, context: context.abort(code, "0.7312"))
    assert caught.value.retryable is not of_the_input
    assert "0.73" not in str(caught.value)
