"""Checks of tensors against what a package declares: before a request may join others, and before an answer leaves.

Messages name tensors, dtypes and shapes, never a value.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from runtime.errors import BackendFailure, InvalidInput
from runtime.inference import Array, Tensors
from runtime.package import DTYPES, DType, ModelDescription, OutputSpec, TensorSpec

_ROUNDING: Final = 1e-3

Form = tuple[str, tuple[int, ...]]
"""A tensor's dtype (numpy's name) and shape."""


def made_up(shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> Array:
    """A tensor to try a model with: numbers from 0 to 1; greys from black to white where it is uint8 or uint16; zeros
    where it is of other integers, which may be places in something.
    """
    if dtype in (DType.UINT8, DType.UINT16):
        return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return random.random(shape).astype(dtype) if np.dtype(dtype).kind == "f" else np.zeros(shape, dtype)


def native(inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Array]:
    """The same tensors, C-contiguous and in this machine's byte order. Raises `InvalidInput` for what is none."""
    found = {}
    for name, array in inputs.items():
        dtype = array.dtype.newbyteorder("=") if isinstance(array, np.ndarray) else None
        if dtype not in DTYPES:
            raise InvalidInput(f"input {name!r}: must be a numpy array of one of {', '.join(DType)}")
        found[name] = np.asarray(array, dtype=dtype, order="C")
    return found


def forms(tensors: Tensors) -> dict[str, Form]:
    """The form of each tensor."""
    return {name: (DTYPES.get(array.dtype) or array.dtype.name, array.shape) for name, array in tensors.items()}


def count_samples(description: ModelDescription, inputs: Mapping[str, Form]) -> int:
    """Compare a request's tensors with the declared inputs; return its samples. Raises `InvalidInput`."""
    declared = {spec.name: spec for spec in description.inputs}
    if set(inputs) != set(declared):
        raise InvalidInput(f"{description.name} takes the inputs {sorted(declared)}, not {sorted(inputs)}")
    for name, spec in declared.items():
        _check_form(spec, *inputs[name])
    counts = {shape[0] for _, shape in inputs.values()}
    samples = counts.pop()
    if counts:
        raise InvalidInput("the inputs have different numbers of samples (first dimensions)")
    if not 1 <= samples <= description.batch.size:
        raise InvalidInput(f"{description.name} takes 1 to {description.batch.size} samples at once, not {samples}")
    return samples


def _check_form(spec: TensorSpec, dtype: str, shape: tuple[int, ...]) -> None:
    if dtype != spec.dtype or len(shape) == 0 or shape[1:] != spec.sample_shape:
        raise InvalidInput(f"input {spec.name!r}: is {dtype} {list(shape)}, must be {spec.dtype} {_declared(spec)}")


def _declared(spec: TensorSpec) -> str:
    return f"[{', '.join(map(str, spec.shape))}]"


def check_finite_inputs(inputs: Tensors) -> None:
    """Raise `InvalidInput` if a number is NaN or infinite."""
    for name, array in inputs.items():
        if not is_finite(array):
            raise InvalidInput(f"input {name!r}: holds numbers that are not finite")


def is_finite(array: Array) -> bool:
    """Whether all numbers are finite; integers always are."""
    if array.dtype.kind != "f":
        return True
    flat = array.reshape(-1)
    if array.dtype != np.float16:
        # One pass without memory for answers; squares can add up to infinity though no number is infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(np.dot(flat, flat)):
                return True
    return bool(np.isfinite(flat).all())


def flaw(spec: OutputSpec, array: Array) -> str:
    """What is wrong with the numbers of an output (samples, …); empty if they are what the package declares.

    Half-precision and integer arithmetic round, so a number may exceed a bound, and a sum miss its total, by a little.
    """
    if not array.size:
        return ""
    smallest, largest = float(np.minimum.reduce(array, None)), float(np.maximum.reduce(array, None))  # NaN if one is
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        return "holds numbers that are not finite"
    low, high = spec.bounds
    if smallest < low - _ROUNDING or largest > high + _ROUNDING:
        return f"holds numbers outside {low:g} to {high:g}"
    if spec.total is not None:
        sums = np.add.reduce(array.reshape(len(array), -1), 1, np.float64).tolist()
        allowed = 10 * _ROUNDING * max(1.0, abs(spec.total))
        if any(abs(total - spec.total) > allowed for total in sums):
            return f"does not add up to {spec.total:g}"
    return ""


def digest(tensors: Tensors) -> str:
    """The SHA-256, in hex, of tensors with their names, dtypes and shapes, in the order of their names."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(f"{name}\0{array.dtype.name}\0{list(array.shape)}\0".encode())
        total.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return total.hexdigest()


def check_outputs(description: ModelDescription, outputs: Tensors, samples: int) -> None:
    """Compare what a backend gave for `samples` samples with the declared outputs. Raises `BackendFailure`."""
    for spec in description.outputs:
        found = outputs.get(spec.name)
        if found is None:
            raise BackendFailure(f"{description.name}: the backend gave no output {spec.name!r}")
        if found.dtype != spec.dtype.numpy or found.shape != (samples, *spec.sample_shape):
            raise BackendFailure(
                f"{description.name}: output {spec.name!r} is {found.dtype.name} {list(found.shape)} for {samples} "
                f"samples, declared as {spec.dtype} {_declared(spec)}"
            )
