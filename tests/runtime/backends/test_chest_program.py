"""The bundled chest network as a PyTorch program, which the benchmark of the GPU serves."""

from pathlib import Path
from typing import Any

import pytest

from runtime import ModelPackage
from runtime.backend import open_backend
from runtime.lanes import warm_up
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
    package = write_chest_program(ModelPackage.load(BUNDLED), tmp_path / "p", 4)
    backend: Any = open_backend(package, Route(on=place), threads=2)
    assert warm_up(package, backend) == 4
    prove(package, backend)
    if place is Place.CUDA:
        assert all(prepared.graph is not None for prepared in backend._graphs._prepared.values())
    backend.close()
