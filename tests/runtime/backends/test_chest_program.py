"""The bundled chest network as a PyTorch program, which the benchmark of the GPU serves."""

from pathlib import Path

import numpy as np
import pytest

from runtime import ModelPackage
from runtime.backend import open_backend
from runtime.package import Place, Route
from runtime.parity import prove

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("place", [Place.CPU, pytest.param(Place.CUDA, marks=pytest.mark.gpu)])
def test_it_answers_as_the_bundled_package_does(tmp_path: Path, place: Place) -> None:
    import torch

    from benchmarks.chest_program import write_chest_program
    from benchmarks.runtime import BUNDLED

    if place is Place.CUDA and not torch.cuda.is_available():
        pytest.skip("this build of PyTorch, or the driver, has no CUDA")
    bundled = ModelPackage.load(BUNDLED)
    package = write_chest_program(bundled, tmp_path / "p", 4)
    backend = open_backend(package, Route(on=place), threads=2)
    prove(package, backend)
    reference = open_backend(bundled, Route(on=Place.CPU), threads=2)
    noise = np.random.default_rng(0).integers(0, 1 << 16, (4, *bundled.inputs[0].sample_shape), np.uint16)
    for images in (noise, noise[:1]):
        found, expected = backend.run({"image": images}), reference.run({"image": images})
        for name in expected:
            assert np.abs(found[name] - expected[name]).max() <= bundled.check.tolerance  # type: ignore[union-attr]
    backend.close()
    reference.close()
