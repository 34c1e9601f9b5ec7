"""PyTorch: both formats, precisions, what its errors become; on a GPU also graphs and memory."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runtime import BackendFailure, BackendLost, Device, LocalRuntime, OutOfMemory, PackageError, RouteUnavailable
from runtime.backend import Backend, open_backend
from runtime.package import ModelPackage, Place, Precision, Route, write_package
from tests.runtime.backends.networks import TOLERANCE, answers, description, images, make_package, save, write_check

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
        (RuntimeError("CUDA error: an illegal memory access was encountered"), BackendLost),
        (RuntimeError("shapes differ"), BackendFailure),
    ):
        assert type(backend._failure(error, "on 2 samples")) is expected  # type: ignore[attr-defined]


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


@pytest.mark.gpu
@pytest.mark.parametrize("file", FORMATS)
def test_a_gpu_gives_the_answers_of_the_cpu_at_every_size(tmp_path: Path, file: str) -> None:
    backend = _open(make_package(tmp_path / "p", file), Place.CUDA)
    for samples in (1, 3, 8, 5, 8):
        found = backend.run({"image": images(samples)})["probabilities"]
        assert np.abs(found - answers(images(samples))).max() <= TOLERANCE
    assert backend.device is Device.CUDA
    assert backend.memory_bytes > (4 * 9 + 4 + 3 * 4) * 4
    assert all(captured is not None for captured in backend._captured.values())  # type: ignore[attr-defined]
    backend.close()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_gpu_computes_in_fewer_bits(tmp_path: Path, precision: str) -> None:
    variants = [{"file": "model.ts", "precision": precision, "tolerance": 0.02}]
    backend = _open(make_package(tmp_path / "p", "model.ts", variants=variants), Place.CUDA, Precision(precision))
    found = backend.run({"image": images(4)})["probabilities"]
    assert np.abs(found - answers(images(4))).max() < 0.02


@pytest.mark.gpu
def test_a_model_that_cannot_be_captured_runs_as_it_is(tmp_path: Path) -> None:
    import torch

    @torch.jit.script
    def waits(image: torch.Tensor) -> torch.Tensor:
        total = image.flatten(1)[:, :3]
        return total * float(total.max() >= 0)  # reads a number back, which no graph can do

    folder = tmp_path / "p"
    folder.mkdir()
    waits.save(str(folder / "model.ts"))
    described = description(weights="model.ts")
    del described["check"]
    backend = _open(write_package(folder, described), Place.CUDA)
    for _ in range(2):
        found = backend.run({"image": images(3)})["probabilities"]
        assert np.allclose(found, images(3).reshape(3, -1)[:, :3])


@pytest.mark.gpu
def test_too_many_samples_for_the_gpu_are_out_of_memory_and_fewer_work(tmp_path: Path) -> None:
    import torch

    @torch.jit.script
    def greedy(image: torch.Tensor) -> torch.Tensor:
        if image.shape[0] > 4:
            torch.empty([1 << 50], dtype=torch.uint8, device=image.device)
        return image.flatten(1)[:, :3]

    folder = tmp_path / "p"
    folder.mkdir()
    greedy.save(str(folder / "model.ts"))
    described = description(weights="model.ts")
    del described["check"]
    backend = _open(write_package(folder, described), Place.CUDA)
    with pytest.raises(OutOfMemory):
        backend.run({"image": images(8)})
    assert backend.run({"image": images(2)})["probabilities"].shape == (2, 3)
