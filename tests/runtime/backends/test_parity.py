"""One package, one answer: ONNX Runtime, PyTorch and a server agree, and a route that does not is never opened."""

from pathlib import Path

import numpy as np
import pytest

from runtime import Device, LocalRuntime, ModelPackage, PackageError
from runtime.backend import open_backend
from runtime.package import Place, Route, write_package
from runtime.parity import prove
from tests.peers.mlserver import MlServer
from tests.runtime.backends.networks import TOLERANCE, answers, description, images, make_package, save, write_check

CPU = Route(on=Place.CPU)


def _answer(package: ModelPackage, route: Route) -> np.ndarray:
    backend = open_backend(package, route, threads=1)
    try:
        prove(package, backend)
        return backend.run({"image": images(5)})["probabilities"]
    finally:
        backend.close()


def test_onnx_runtime_gives_the_answers_of_numpy(tmp_path: Path) -> None:
    package = make_package(tmp_path / "p")
    assert np.abs(_answer(package, CPU) - answers(images(5))).max() <= TOLERANCE


@pytest.mark.torch
@pytest.mark.mlserver
def test_all_backends_give_the_same_answer_to_one_package(tmp_path: Path, mlserver: MlServer) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("model.onnx", "model.ts", "model.pt2"):
        save(folder / name)
    write_check(folder)
    variants = [{"file": name, "precision": "float32", "tolerance": TOLERANCE} for name in ("model.ts", "model.pt2")]
    remote = {"url": mlserver.urls[1], "model": "network", "tolerance": TOLERANCE}
    package = write_package(folder, description(variants=variants, remote=remote))
    local = [Route(on=Place.CPU, file=name) for name in ("model.onnx", "model.ts", "model.pt2")]
    found = [_answer(package, route) for route in (*local, Route(on=Place.REMOTE))]
    for one in found:
        assert np.abs(one - found[0]).max() <= TOLERANCE
    assert np.abs(found[0] - answers(images(5))).max() <= TOLERANCE


def test_a_route_whose_answers_differ_is_never_opened(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "p").directory
    write_check(folder, error=2e-5)
    package = write_package(folder, description())
    with pytest.raises(PackageError, match=r"on cpu float32 it differs by 2.*more than 1e-05") as caught:
        LocalRuntime([package])
    assert caught.value.key == "output:probabilities"


def test_a_difference_within_the_tolerance_passes(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "p").directory
    write_check(folder, error=2e-5)
    package = write_package(folder, description(check={"file": "check.npz", "tolerance": 1e-4}))
    with LocalRuntime([package]) as runtime:
        assert runtime.infer("network", {"image": images(1)}, timeout_seconds=20).batch_size == 1


def test_a_variant_is_held_to_its_own_tolerance(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "p").directory
    save(folder / "other.onnx")
    write_check(folder, error=2e-5)
    variants = [{"file": "other.onnx", "precision": "float16", "tolerance": 1e-4}]
    package = write_package(folder, description(variants=variants))
    assert _answer(package, Route(on=Place.CPU, file="other.onnx")).shape == (5, 3)
    with pytest.raises(PackageError, match="differs"):
        _answer(package, CPU)


class _Fixed:
    """A backend that gives what it is told to give."""

    device, precision, tolerance, memory_bytes = Device.CPU, None, 1e9, 0

    def __init__(self, answer: np.ndarray) -> None:
        self._answer = answer

    def run(self, inputs: dict) -> dict:
        return {"probabilities": self._answer}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [
        np.full((3, 3), np.nan, np.float32),
        np.full((3, 3), np.inf, np.float32),
        np.zeros((3, 4), np.float32),
        np.zeros((3, 3), np.float64),
    ],
)
def test_an_answer_that_is_none_is_no_answer_however_much_is_tolerated(tmp_path: Path, answer: np.ndarray) -> None:
    with pytest.raises(PackageError):
        prove(make_package(tmp_path / "p"), _Fixed(answer))


def _check_of(arrays: dict[str, np.ndarray], folder: Path) -> ModelPackage:
    directory = make_package(folder).directory
    np.savez(directory / "check.npz", **arrays)
    return write_package(directory, description())


@pytest.mark.parametrize(
    "changes",
    [
        {"input:image": images(9)},
        {"input:image": images(2)},
        {"input:image": images(3).astype(np.float64)},
        {"input:image": np.full((3, 1, 12, 12), np.nan, np.float32)},
        {"output:probabilities": np.zeros((3, 4), np.float32)},
        {"output:other": np.zeros(1)},
        {"output:probabilities": np.array([[None] * 3] * 3)},
    ],
)
def test_a_check_that_is_none_of_this_package_is_refused(tmp_path: Path, changes: dict) -> None:
    arrays = {"input:image": images(3), "output:probabilities": answers(images(3)), **changes}
    with pytest.raises(PackageError, match=r"check\.npz"):
        _answer(_check_of(arrays, tmp_path / "p"), CPU)


def test_a_package_without_a_check_proves_nothing(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "p").directory
    (folder / "check.npz").unlink()
    described = description()
    del described["check"]
    assert _answer(write_package(folder, described), CPU).shape == (5, 3)
