"""ONNX Runtime: batch sizes, bound memory, providers that are not there, and what its errors become."""

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from runtime import BackendFailure, Device, LocalRuntime, OutOfMemory, PackageError
from runtime.backend import Backend, open_backend
from runtime.backends import onnx as onnx_backend
from runtime.backends.onnx import BoundTensors, OnnxBackend, SideBySide, _load_tensorrt, _preload_cuda
from runtime.backends.recording import Turns
from runtime.errors import BackendLost
from runtime.package import ModelPackage, Place, Precision, Route, write_package
from tests.runtime import packages
from tests.runtime.backends.networks import (
    TOLERANCE,
    answers,
    description,
    images,
    make_package,
    save,
    write_check,
)

NO_GPU = not Path("/dev/nvidiactl").exists()


def _open(package: ModelPackage, place: Place = Place.CPU) -> Backend:
    return open_backend(package, Route(on=place), threads=1)


def _right(backend: Backend, samples: int) -> bool:
    found = backend.run({"image": images(samples)})["probabilities"]
    return found.shape == (samples, 3) and bool(np.abs(found - answers(images(samples))).max() <= TOLERANCE)


@pytest.mark.parametrize("samples", [1, 3, 8])
def test_an_open_graph_runs_any_number_of_samples(tmp_path: Path, samples: int) -> None:
    backend = _open(make_package(tmp_path / "p"))
    assert _right(backend, samples)
    assert (backend.device, backend.precision, backend.tolerance) == (Device.CPU, Precision.FLOAT32, TOLERANCE)
    assert backend.memory_bytes >= (tmp_path / "p" / "model.onnx").stat().st_size
    backend.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_samples_that_run_side_by_side_get_the_answers_that_they_get_alone(tmp_path: Path, threads: int) -> None:
    package = make_package(tmp_path / "p", batch={"size": 8, "wait_ms": 0.0, "sample_threads": 1})
    backend = open_backend(package, Route(on=Place.CPU), threads=threads)
    alone = [backend.run({"image": image[np.newaxis]})["probabilities"][0] for image in images(8)]
    for samples in (2, 3, 8):
        assert np.array_equal(backend.run({"image": images(samples)})["probabilities"], alone[:samples])
    backend.close()


def test_as_many_samples_run_side_by_side_as_there_are_threads_for() -> None:
    meeting = threading.Barrier(3)

    class Session:
        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            meeting.wait(30)  # goes on only when three are here
            return [inputs["x"] + 1]

    beside = SideBySide(3)
    (answer,) = beside.run(Session(), ["y"], {"x": np.arange(6)}, 6)
    assert answer.tolist() == [1, 2, 3, 4, 5, 6]
    beside.close()


def test_a_sample_that_fails_fails_its_batch_and_nothing_of_it_runs_on() -> None:
    ran: list[int] = []

    class Session:
        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            ran.append(int(inputs["x"][0]))
            if inputs["x"][0] == 3:
                raise ValueError
            return [inputs["x"]]

    beside = SideBySide(2)
    with pytest.raises(ValueError):
        beside.run(Session(), ["y"], {"x": np.arange(1000)}, 1000)
    before = len(ran)
    assert before < 1000
    assert beside.run(Session(), ["y"], {"x": np.arange(3)}, 3)[0].tolist() == [0, 1, 2]
    assert len(ran) == before + 3
    beside.close()


def test_samples_of_a_graph_that_takes_several_at_once_cannot_run_side_by_side(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="cannot run one by one") as caught:
        _open(_fixed(tmp_path / "p", 8, 8, sample_threads=1))
    assert caught.value.key == "batch.sample_threads"


def _fixed(folder: Path, graph: int, batch: int, **more: int) -> ModelPackage:
    folder.mkdir()
    save(folder / "model.onnx", batch=graph)
    write_check(folder, 1)
    return write_package(folder, description(batch={"size": batch, "wait_ms": 0.0, **more}))


@pytest.mark.parametrize(("graph", "batch"), [(4, 4), (8, 3), (1, 1)])
def test_a_graph_of_fixed_size_is_filled_up(tmp_path: Path, graph: int, batch: int) -> None:
    with LocalRuntime([_fixed(tmp_path / "p", graph, batch)]) as runtime:
        for samples in range(1, batch + 1):
            found = runtime.infer("network", {"image": images(samples)}, timeout_seconds=20).outputs["probabilities"]
            assert np.allclose(found, answers(images(samples)), atol=TOLERANCE)


def test_a_graph_of_fewer_samples_than_the_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="first dimension"):
        _open(_fixed(tmp_path / "p", 4, 8))


def test_bound_memory_is_used_again_and_answers_do_not_change_afterwards(tmp_path: Path) -> None:
    package = make_package(tmp_path / "p")
    session = onnxruntime.InferenceSession(package.read_weights(), providers=["CPUExecutionProvider"])
    bound = BoundTensors(session, package, 4, "cpu")
    (first,) = bound.run({"image": images(4)})
    kept = first.copy()
    (second,) = bound.run({"image": images(3, seed=9)})
    assert np.array_equal(first, kept)
    assert np.allclose(first, answers(images(4)), atol=TOLERANCE)
    assert np.allclose(second[:3], answers(images(3, seed=9)), atol=TOLERANCE)
    assert bound.memory_bytes == 4 * (12 * 12 + 3) * 4


class _Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "device", "expected"),
    [
        (RuntimeError("Failed to allocate memory for requested buffer of size 1"), Device.CPU, OutOfMemory),
        (RuntimeError("std::bad_alloc"), Device.CPU, OutOfMemory),
        (MemoryError(), Device.CPU, OutOfMemory),
        (RuntimeError("CUDA failure 2: out of memory"), Device.CUDA, OutOfMemory),
        (RuntimeError("Available memory of 1 is smaller than requested bytes of 2"), Device.CUDA, OutOfMemory),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), Device.CUDA, BackendLost),
        (RuntimeError("CUDNN failure 5000"), Device.CUDA, BackendLost),
        (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"), Device.CUDA, OutOfMemory),
        (RuntimeError("node 0.123 is wrong"), Device.CPU, BackendFailure),
        (RuntimeError("shapes differ"), Device.CUDA, BackendFailure),
    ],
)
def test_what_the_library_says_becomes_an_error_with_a_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, device: Device, expected: type
) -> None:
    backend = _open(make_package(tmp_path / "p"))
    assert isinstance(backend, OnnxBackend)
    monkeypatch.setattr(backend, "_session", _Failing(error))
    monkeypatch.setattr(backend, "device", device)
    monkeypatch.setattr(onnx_backend, "gpu_is_lost", lambda: True)
    failure = backend._failure(error, 2)
    assert type(failure) is expected
    assert "0.123" not in str(failure)


def test_an_error_of_cuda_that_leaves_the_device_alone_is_one_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = _open(make_package(tmp_path / "p"))
    assert isinstance(backend, OnnxBackend)
    monkeypatch.setattr(backend, "device", Device.CUDA)
    monkeypatch.setattr(onnx_backend, "gpu_is_lost", lambda: False)
    assert type(backend._failure(RuntimeError("CUDA failure 9: invalid configuration argument"), 2)) is BackendFailure


def test_a_gpu_is_not_asked_whether_it_is_lost_while_a_graph_is_recorded_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say that it is, and the recording would fail."""
    backend = _open(make_package(tmp_path / "p"))
    assert isinstance(backend, OnnxBackend)
    turns, asked = Turns(), []
    monkeypatch.setattr(onnx_backend, "working", turns.working)
    monkeypatch.setattr(backend, "device", Device.CUDA)
    monkeypatch.setattr(onnx_backend, "gpu_is_lost", lambda: asked.append(turns._working) or False)
    backend._failure(RuntimeError("CUDA failure 9: invalid configuration argument"), 2)
    assert asked == [1]


def test_a_cpu_session_that_fails_raises_that_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _open(make_package(tmp_path / "p"))
    monkeypatch.setattr(backend, "_session", _Failing(MemoryError()))
    with pytest.raises(OutOfMemory, match="2 samples"):
        backend.run({"image": images(2)})


def test_weights_are_taken_from_no_file_that_nobody_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = packages.make_package(tmp_path / "tiny")
    apart = package.directory / "model.onnx"
    onnx.save(packages.classifier(), apart, save_as_external_data=True, location="weights", size_threshold=0)
    (package.directory / "weights").rename(tmp_path / "weights")
    package = write_package(package.directory, packages.description())
    monkeypatch.chdir(tmp_path)  # where the library would look for them
    with pytest.raises(PackageError, match="cannot load it"):
        _open(package)


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
@pytest.mark.parametrize("place", [Place.CUDA, Place.TENSORRT])
def test_a_gpu_that_is_not_there_is_said_and_nothing_is_printed(tmp_path: Path, place: Place) -> None:
    make_package(tmp_path / "p")
    code = f"""
from pathlib import Path
from runtime import ModelPackage, RouteUnavailable
from runtime.backend import open_backend
from runtime.backends import onnx
from runtime.package import Place, Route
package, route = ModelPackage.load(Path({str(tmp_path / "p")!r})), Route(on=Place({place.value!r}))
for devices in (onnx._GPU_DEVICES, Path("/dev/null")):  # without a GPU, and where there seems to be one
    onnx._GPU_DEVICES = devices
    try:
        open_backend(package, route, threads=1)
    except RouteUnavailable:
        print("unavailable")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("unavailable\n" * 2, "")


def test_tensorrt_is_looked_for_by_the_names_that_the_provider_needs() -> None:
    missing = _load_tensorrt()
    assert not missing or re.fullmatch(r"libnv(infer|onnxparser|infer_plugin)\.so\.\d+", missing)


def _on_gpu(package: ModelPackage, place: Place = Place.CUDA) -> Backend:
    """The backend; without the libraries that it needs the test is left out, and says which is missing."""
    if missing := _preload_cuda():
        pytest.skip(missing)
    if place is Place.TENSORRT and (missing := _load_tensorrt()):
        pytest.skip(f"{missing} cannot be loaded")
    return _open(package, place)


@pytest.mark.gpu
def test_a_gpu_gives_the_answers_of_the_cpu_at_every_size(tmp_path: Path) -> None:
    backend = _on_gpu(make_package(tmp_path / "p"))
    assert backend.device is Device.CUDA
    for samples in (1, 3, 8, 5, 8):
        assert _right(backend, samples)
    backend.close()


@pytest.mark.gpu
def test_tensorrt_gives_the_answers_of_the_cpu(tmp_path: Path) -> None:
    backend = _on_gpu(make_package(tmp_path / "p"), Place.TENSORRT)
    for samples in (1, 5, 8):
        found = backend.run({"image": images(samples)})["probabilities"]
        assert np.allclose(found, answers(images(samples)), atol=1e-3)
    backend.close()


@pytest.mark.gpu
def test_a_gpu_serves_many_clients(tmp_path: Path) -> None:
    package = make_package(tmp_path / "p", routes=[{"on": "cuda"}])
    _on_gpu(package).close()
    with LocalRuntime([package]) as runtime, ThreadPoolExecutor(16) as pool:

        def ask(seed: int) -> bool:
            image = images(1, seed=seed)
            found = runtime.infer("network", {"image": image}, timeout_seconds=60)
            return found.device is Device.CUDA and np.allclose(
                found.outputs["probabilities"], answers(image), atol=TOLERANCE
            )

        assert all(pool.map(ask, range(200)))
