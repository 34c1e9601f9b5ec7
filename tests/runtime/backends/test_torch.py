"""PyTorch: both formats, precisions, what its errors become; on a GPU also graphs and memory."""

import io
import pickle
import subprocess
import sys
import threading
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import BackendFailure, BackendLost, Device, LocalRuntime, OutOfMemory, PackageError, RouteUnavailable
from runtime.backend import Backend, open_backend
from runtime.backends.onnx import _preload_cuda
from runtime.lanes import warm_up
from runtime.package import DType, ModelPackage, Place, Precision, Route, write_package
from tests.runtime.backends.networks import (
    TOLERANCE,
    answers,
    description,
    images,
    make_package,
    save,
    torch_module,
    write_check,
)

pytestmark = pytest.mark.torch
FORMATS = ("model.ts", "model.pt2")


def _open(package: ModelPackage, place: Place = Place.CPU, precision: Precision | None = None) -> Backend:
    return open_backend(package, Route(on=place, precision=precision), threads=1)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("samples", [1, 3, 8])
def test_both_formats_give_the_answers_of_the_network(tmp_path: Path, file: str, samples: int) -> None:
    backend = _open(make_package(tmp_path / "p", file))
    found = backend.run({"image": images(samples)})["probabilities"]
    assert found.dtype == np.float32
    assert np.abs(found - answers(images(samples))).max() <= TOLERANCE
    assert (backend.device, backend.precision, backend.tolerance) == (Device.CPU, Precision.FLOAT32, TOLERANCE)
    assert backend.memory_bytes == (4 * 9 + 4 + 3 * 4) * 4
    backend.close()


@pytest.mark.parametrize("file", FORMATS)
def test_the_runtime_serves_them(tmp_path: Path, file: str) -> None:
    with LocalRuntime([make_package(tmp_path / "p", file)], threads=1) as runtime:
        answer = runtime.infer("network", {"image": images(2)}, timeout_seconds=20)
    assert np.allclose(answer.outputs["probabilities"], answers(images(2)), atol=TOLERANCE)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_another_precision_of_one_file_is_computed_and_declared_as_float32(
    tmp_path: Path, file: str, precision: str
) -> None:
    variants = [{"file": file, "precision": precision, "tolerance": 0.02}]
    package = make_package(tmp_path / "p", file, variants=variants)
    backend = _open(package, precision=Precision(precision))
    found = backend.run({"image": images(4)})["probabilities"]
    difference = np.abs(found - answers(images(4))).max()
    assert found.dtype == np.float32
    assert 0 < difference < 0.02
    assert difference > TOLERANCE  # it was computed in fewer bits
    assert (backend.precision, backend.tolerance) == (Precision(precision), 0.02)


def test_outputs_by_name_or_in_order(tmp_path: Path) -> None:
    import torch

    class Two(torch.nn.Module):
        def __init__(self, named: bool) -> None:
            super().__init__()
            self.named = named

        def forward(self, image: torch.Tensor) -> object:
            total = image.flatten(1).sum(dim=1)
            return {"second": total * 2, "first": total} if self.named else (total, total * 2)

    outputs = [{"name": name, "dtype": "float32", "shape": ["batch"]} for name in ("first", "second")]
    for named in (True, False):
        folder = tmp_path / f"named-{named}"
        folder.mkdir()
        save(folder / "model.pt2", Two(named))
        described = description(weights="model.pt2", outputs=outputs)
        del described["check"]
        found = _open(write_package(folder, described)).run({"image": images(3)})
        assert np.allclose(found["second"], 2 * found["first"])


def test_answers_are_no_views_of_what_was_asked(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "p"
    folder.mkdir()
    torch.jit.trace(torch.nn.Identity(), torch.from_numpy(images(2))).save(str(folder / "model.ts"))
    spec = {"dtype": "float32", "shape": ["batch", 1, 12, 12]}
    described = description(weights="model.ts", outputs=[{"name": "same", **spec}])
    del described["check"]
    given = images(2)
    found = _open(write_package(folder, described)).run({"image": given})["same"]
    assert np.array_equal(found, given)
    assert not np.shares_memory(found, given)


def test_a_failing_model_is_a_failure_that_quotes_no_value(tmp_path: Path) -> None:
    import torch

    @torch.jit.script
    def picky(image: torch.Tensor) -> torch.Tensor:
        if float(image.max()) > 0.5:
            raise ValueError("cannot cope with " + str(float(image.max())))
        return image.flatten(1)[:, :3]

    folder = tmp_path / "p"
    folder.mkdir()
    picky.save(str(folder / "model.ts"))
    described = description(weights="model.ts")
    del described["check"]
    backend = _open(write_package(folder, described))
    with pytest.raises(BackendFailure) as caught:
        backend.run({"image": np.full((1, 1, 12, 12), 0.625, np.float32)})
    assert "0.625" not in str(caught.value)
    assert backend.run({"image": np.zeros((1, 1, 12, 12), np.float32)})["probabilities"].shape == (1, 3)


def test_what_the_library_says_becomes_an_error_with_a_meaning(tmp_path: Path) -> None:
    import torch

    backend = _open(make_package(tmp_path / "p", "model.ts"))
    for error, expected in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("failed in the TorchScript interpreter.\nRuntimeError: CUDA out of memory. Tried"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OutOfMemory),
        (RuntimeError("shapes differ"), BackendFailure),
    ):
        assert type(backend._failure(error, "on 2 samples")) is expected  # type: ignore[attr-defined]


def test_a_gpu_that_answers_no_more_after_an_error_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.backends import torch as torch_backend

    backend: Any = _open(make_package(tmp_path / "p", "model.ts"))
    backend.device = Device.CUDA
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    for still, expected in ((False, BackendLost), (True, BackendFailure)):
        monkeypatch.setattr(torch_backend, "gpu_answers", lambda still=still: still)
        assert type(backend._failure(error, "on 2 samples")) is expected


def test_an_error_holds_nothing_of_the_run_that_failed(tmp_path: Path) -> None:
    import torch

    backend: Any = _open(make_package(tmp_path / "p", "model.ts"))
    alive: list[weakref.ref[torch.Tensor]] = []

    def greedy(image: torch.Tensor) -> torch.Tensor:
        taken = image + 1
        alive.append(weakref.ref(taken))
        raise torch.OutOfMemoryError("CUDA out of memory")

    backend._model = greedy
    with pytest.raises(OutOfMemory) as caught:
        backend.run({"image": images(2)})
    assert caught.value.__context__ is None
    assert alive[0]() is None


def test_an_exported_program_is_moved_to_another_device_as_a_whole(tmp_path: Path) -> None:
    import torch

    from runtime.backends.torch import _exported

    class Mixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch_module()
            self.register_buffer("scale", torch.tensor(2.0))
            self.shift = torch.tensor([1.0, 2.0, 3.0])  # neither parameter nor buffer

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            places = torch.arange(3, device=image.device)
            return self.network(image.to(torch.float32) * self.scale) + self.shift.to(image.device) + places

    save(tmp_path / "model.pt2", Mixed())
    program = _exported((tmp_path / "model.pt2").read_bytes(), "meta")  # a device that every machine has
    with torch.inference_mode():
        given = program(torch.zeros(5, 1, 12, 12, device="meta"))
    assert (given.device.type, given.shape) == ("meta", (5, 3))


@pytest.mark.parametrize("file", FORMATS)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / file).write_bytes(b"no model")
    write_check(folder)
    with pytest.raises(PackageError):
        _open(write_package(folder, description(weights=file)))


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self._file,)


def test_a_pickle_in_an_exported_program_never_runs(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    save(folder / "good.pt2")
    trace = tmp_path / "it-ran"
    with zipfile.ZipFile(folder / "good.pt2") as good, zipfile.ZipFile(folder / "model.pt2", "w") as bad:
        for member in good.infolist():
            content = good.read(member)
            if member.filename.endswith("sample_inputs/model.pt"):
                content = pickle.dumps(_Touches(trace))
            bad.writestr(member, content)
    (folder / "good.pt2").unlink()
    write_check(folder)
    package = write_package(folder, description(weights="model.pt2"))
    assert _open(package).run({"image": images(1)})["probabilities"].shape == (1, 3)
    assert not trace.exists()
    pickle.load(io.BytesIO(pickle.dumps(_Touches(trace))))
    assert trace.exists()  # it would have


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    import torch

    package = make_package(tmp_path / "p", "model.ts")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RouteUnavailable, match="cuda is demanded"):
        _open(package, Place.CUDA)


PLACES = (Place.CPU, pytest.param(Place.CUDA, marks=pytest.mark.gpu))


def _on(place: Place, package: ModelPackage, precision: Precision | None = None) -> Backend:
    import torch

    if place is Place.CUDA and not torch.cuda.is_available():
        pytest.skip("this build of PyTorch, or the driver, has no CUDA")
    return _open(package, place, precision)


_on_gpu = partial(_on, Place.CUDA)


def _recorded(backend: Any) -> list[bool]:
    return [prepared.graph is not None for prepared in backend._graphs._prepared.values()]


def _without_check(folder: Path, script: Any, **changes: Any) -> ModelPackage:
    folder.mkdir()
    script.save(str(folder / "model.ts"))
    described = description(weights="model.ts", **changes)
    del described["check"]
    return write_package(folder, described)


@pytest.mark.gpu
@pytest.mark.parametrize("file", FORMATS)
def test_a_gpu_gives_the_answers_of_the_cpu_at_every_size(tmp_path: Path, file: str) -> None:
    backend = _on_gpu(make_package(tmp_path / "p", file))
    for samples in (1, 3, 8, 5, 8):
        found = backend.run({"image": images(samples)})["probabilities"]
        assert np.abs(found - answers(images(samples))).max() <= TOLERANCE
    assert backend.device is Device.CUDA
    assert backend.memory_bytes > (4 * 9 + 4 + 3 * 4) * 4
    assert _recorded(backend) == [True] * 3  # of 1, 4 and 8 samples
    backend.close()


@pytest.mark.gpu
@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_gpu_computes_in_fewer_bits(tmp_path: Path, file: str, precision: str) -> None:
    variants = [{"file": file, "precision": precision, "tolerance": 0.02}]
    backend = _on_gpu(make_package(tmp_path / "p", file, variants=variants), Precision(precision))
    for samples in (4, 1, 4):
        found = backend.run({"image": images(samples)})["probabilities"]
        assert found.dtype == np.float32
        assert np.abs(found - answers(images(samples))).max() < 0.02
    assert all(_recorded(backend))
    backend.close()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", list(DType))
def test_every_dtype_is_taken_and_given(tmp_path: Path, dtype: DType, place: Place) -> None:
    import torch

    spec = {"dtype": dtype.value, "shape": ["batch", 1, 12, 12]}
    given = (images(3) * 100).astype(dtype.numpy)
    script = torch.jit.trace(torch.nn.Identity(), torch.from_numpy(given))
    package = _without_check(
        tmp_path / "p", script, inputs=[{"name": "image", **spec}], outputs=[{"name": "same", **spec}]
    )
    backend = _on(place, package)
    for _ in range(2):
        found = backend.run({"image": given})["same"]
        assert (found.dtype, found.tolist()) == (given.dtype, given.tolist())
    backend.close()


@pytest.mark.gpu
def test_a_model_that_cannot_be_recorded_runs_as_it_is_and_others_are_recorded_after_it(tmp_path: Path) -> None:
    import torch

    @torch.jit.script
    def waits(image: torch.Tensor) -> torch.Tensor:
        total = image.flatten(1)[:, :3]
        return total * float(total.max() >= 0)  # reads a number back, which no graph can do

    backend = _on_gpu(_without_check(tmp_path / "p", waits))
    for samples in (3, 3, 8):
        found = backend.run({"image": images(samples)})["probabilities"]
        assert np.allclose(found, images(samples).reshape(samples, -1)[:, :3])
    assert not any(_recorded(backend))
    other = _on_gpu(make_package(tmp_path / "other", "model.pt2"))
    assert np.abs(other.run({"image": images(4)})["probabilities"] - answers(images(4))).max() <= TOLERANCE
    assert _recorded(other) == [True]
    before = torch.cuda.memory_reserved()
    backend.close()
    other.close()
    assert torch.cuda.memory_reserved() < before  # memory is given back, too


@pytest.mark.parametrize("place", PLACES)
def test_too_many_samples_are_out_of_memory_and_fewer_work(tmp_path: Path, place: Place) -> None:
    import torch

    @torch.jit.script
    def greedy(image: torch.Tensor) -> torch.Tensor:
        taken = image.flatten(1)[:, :3]
        if image.shape[0] > 4:
            taken = taken + torch.empty([1 << 50, 3], dtype=torch.uint8, device=image.device)[: image.shape[0]]
        return taken

    backend = _on(place, _without_check(tmp_path / "p", greedy))
    with pytest.raises(OutOfMemory):
        backend.run({"image": images(8)})
    assert np.allclose(backend.run({"image": images(2)})["probabilities"], images(2).reshape(2, -1)[:, :3])
    backend.close()


@pytest.mark.gpu
def test_a_model_is_opened_while_others_of_both_libraries_run(tmp_path: Path) -> None:
    """Recording a graph must not meet what another thread does on the device."""
    packages = [make_package(tmp_path / "steady", "model.pt2"), make_package(tmp_path / "onnx")]
    steady = [_on_gpu(packages[0])]
    if not _preload_cuda():
        steady.append(_open(packages[1], Place.CUDA))
    for package, backend in zip(packages, steady, strict=False):
        warm_up(package, backend)
    opened, stop = make_package(tmp_path / "opened", "model.ts"), threading.Event()

    def run(backend: Backend) -> bool:
        right = True
        while not stop.is_set():
            found = backend.run({"image": images(8)})["probabilities"]
            right = right and bool(np.abs(found - answers(images(8))).max() <= TOLERANCE)
        return right

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, backend) for backend in steady]
        try:
            for _ in range(5):
                backend = _open(opened, Place.CUDA)
                assert warm_up(opened, backend) == 8
                assert _recorded(backend) == [True] * 4
                backend.close()
        finally:
            stop.set()
    assert all(future.result() for future in running)
    for backend in steady:
        backend.close()


@pytest.mark.gpu
@pytest.mark.parametrize("file", FORMATS)
def test_a_gpu_serves_many_clients(tmp_path: Path, file: str) -> None:
    package = make_package(tmp_path / "p", file, routes=[{"on": "cuda"}])
    _on_gpu(package).close()
    with LocalRuntime([package]) as runtime, ThreadPoolExecutor(16) as pool:

        def ask(seed: int) -> bool:
            image = images(1, seed=seed)
            found = runtime.infer("network", {"image": image}, timeout_seconds=60)
            right = np.abs(found.outputs["probabilities"] - answers(image)).max() <= TOLERANCE
            return found.device is Device.CUDA and bool(right)

        assert all(pool.map(ask, range(400)))


_FAULT = """
import sys
from pathlib import Path
from runtime import BackendLost, ModelPackage
from runtime.backend import open_backend
from runtime.package import Place, Route
import numpy as np
backend = open_backend(ModelPackage.load(Path(sys.argv[1])), Route(on=Place.CUDA), threads=1)
good = np.zeros((2, 1, 12, 12), np.float32)
backend.run({"image": good})
for _ in range(2):
    try:
        backend.run({"image": good + 1000})
    except BackendLost:
        print("lost")
backend.close()
print("closed")
"""


@pytest.mark.gpu
def test_a_fault_loses_the_gpu_and_ends_nothing_else(tmp_path: Path) -> None:
    import torch

    @torch.jit.script
    def faulty(image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)
        return flat.gather(1, flat[:, :3].long())  # 1000 is no place in it: an assertion fails on the device

    package = _without_check(tmp_path / "p", faulty)
    _on_gpu(package).close()
    code = [sys.executable, "-c", _FAULT, str(package.directory)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["lost", "lost", "closed"]), done.stderr[-2000:]
