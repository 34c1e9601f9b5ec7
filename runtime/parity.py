"""Proof that a route gives the answers of the package: its [check] is run on it before it serves anybody."""

import numpy as np

from runtime.backend import Backend
from runtime.errors import BackendFailure, InvalidInput, PackageError
from runtime.inference import Array
from runtime.package import ModelPackage, TensorSpec
from runtime.package.archives import read_arrays
from runtime.tensors import check_finite_inputs, check_outputs, count_samples, forms


def prove(package: ModelPackage, backend: Backend) -> None:
    """Run the package's check on `backend`. Raises `PackageError` if an output is not within the backend's tolerance of
    the answer in the package, or the check is none. A package without [check] proves nothing and passes.
    """
    if package.check is None:
        return
    file = package.directory / package.check.file
    inputs, answers, samples = _read_check(package)
    try:
        outputs = backend.run(inputs)
        check_outputs(package, outputs, samples)
    except BackendFailure as error:
        if error.retryable:
            raise  # of the route, and not of the package
        raise PackageError(file, "", f"its inputs fail on {backend.device}: {error}") from error
    for spec in package.outputs:
        _compare(package, backend, spec, outputs[spec.name], answers[spec.name])


def _compare(package: ModelPackage, backend: Backend, spec: TensorSpec, found: Array, expected: Array) -> None:
    difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    if difference <= backend.tolerance:  # not so for NaN
        return
    assert package.check is not None  # `prove` has looked
    where = " ".join(filter(None, (backend.device, backend.precision)))
    problem = (
        f"on {where} it differs by {difference:.3g} from the package's own answers, more than {backend.tolerance:g}"
    )
    raise PackageError(package.directory / package.check.file, f"output:{spec.name}", problem)


def _read_check(package: ModelPackage) -> tuple[dict[str, Array], dict[str, Array], int]:
    assert package.check is not None  # `prove` has looked
    file = package.directory / package.check.file
    wanted = {f"input:{spec.name}" for spec in package.inputs} | {f"output:{spec.name}" for spec in package.outputs}
    found = read_arrays(file, package.read(package.check.file))
    if found.keys() != wanted:
        raise PackageError(file, "", f"holds {sorted(found)}, and must hold {sorted(wanted)}")
    inputs = {spec.name: found[f"input:{spec.name}"] for spec in package.inputs}
    answers = {spec.name: found[f"output:{spec.name}"] for spec in package.outputs}
    try:
        samples = count_samples(package, forms(inputs))
        check_finite_inputs(inputs)
        check_outputs(package, answers, samples)
    except (InvalidInput, BackendFailure) as error:
        raise PackageError(file, "", str(error)) from None
    return inputs, answers, samples
