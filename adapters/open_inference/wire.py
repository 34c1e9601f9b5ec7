"""The bytes of the Open Inference Protocol v2: requests and answers as JSON, tensors in it or, raw, behind it.

Source: KServe's *Open Inference Protocol*, REST, and Triton's *Binary Tensor Data Extension*: a header
``Inference-Header-Content-Length`` says where the JSON ends; the tensors follow in the order of the JSON, each of the
``binary_data_size`` that its parameters give, little-endian and row-major. Without any JSON (a length of 0) the body is
the one input of the model. What is not done here (classes instead of numbers, shared memory) is refused, never ignored.
"""

import itertools
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime import InferenceResult, ModelDescription

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_BINARY_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_BINARY_OUTPUT: Final = "binary_data_output"
_NOT_DONE: Final = ("classification", "shared_memory_region")  # Triton's extensions, by which a tensor is another

DATATYPES: Final[Mapping[str, str]] = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int8": "INT8",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "int32": "INT32",
    "int64": "INT64",
}
"""The protocol's names of the element types that models here have."""

_DTYPES: Final = {name: dtype for dtype, name in DATATYPES.items()}
_MOST_DIMENSIONS: Final = 8
_OTHER_VALUES: Final = 4096  # of a request, beside the numbers of its tensors
_LONGEST_NUMBER: Final = 26  # characters of a float64 in JSON, with its comma
_MOST_EXACT: Final = 1 << 53  # integers below are the same as float64
_LONGEST_TIMEOUT: Final = 1 << 40  # microseconds; the server waits less anyway

Tensor = npt.NDArray[Any]


class BadRequest(Exception):
    """The request is not what the protocol or the model asks for. The message holds no value of a tensor."""


class _Part(BaseModel):
    """Keys that may be left out may be null, too: so MLServer's own client writes them."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Input(_Part):
    name: str
    shape: tuple[Annotated[int, Field(ge=0, le=1 << 40)], ...] = Field(max_length=_MOST_DIMENSIONS)
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _Output(_Part):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(_Part):
    id: str | None = Field(default=None, max_length=256)
    parameters: dict[str, Any] | None = None
    inputs: list[_Input] = Field(min_length=1, max_length=64)
    outputs: list[_Output] | None = Field(default=None, max_length=64)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client asks for. `outputs` maps each wanted output to whether it is to come raw; empty: all of them."""

    id: str
    inputs: dict[str, Tensor] = field(repr=False)
    outputs: dict[str, bool]
    binary_by_default: bool
    timeout_seconds: float | None


def numbers_of(model: ModelDescription) -> int:
    """How many numbers the inputs of a full batch have."""
    return sum(math.prod(spec.sample_shape) for spec in model.inputs) * model.batch.size


def largest_body(model: ModelDescription) -> int:
    """The most bytes that a request for a full batch can have, its numbers written out in JSON."""
    return (1 << 16) + numbers_of(model) * _LONGEST_NUMBER


def read_request(body: bytes, header_length: str | None, model: ModelDescription | None = None) -> InferenceRequest:
    """Read the body of a request; `header_length` is the header of that name, if there was one.

    With `model`, JSON of more values or lists than a full batch of it has is refused before it is parsed: parsed, it
    takes forty times the memory. Raises `BadRequest`.
    """
    json_length = len(body) if header_length is None else _length(header_length, len(body))
    if model is not None:
        if header_length is not None and json_length == 0:
            return _without_json(body, model)
        _check_size(body, json_length, model)
    try:
        request = _Request.model_validate_json(body[:json_length])
    except (ValidationError, RecursionError):
        raise BadRequest("the body is no inference request of the Open Inference Protocol v2") from None
    parameters = request.parameters or {}
    default = _flag("the request", parameters, _BINARY_OUTPUT, default=False)
    return InferenceRequest(
        request.id or "",
        _inputs(request, memoryview(body)[json_length:]),
        _outputs(request, default),
        default,
        _timeout(parameters),
    )


def _without_json(body: bytes, model: ModelDescription) -> InferenceRequest:
    """The extension's "raw binary request": all of the body is the model's one input. All outputs come raw, too."""
    if len(model.inputs) != 1:
        raise BadRequest(f"{model.name} has several inputs, so JSON must say what of the body is which")
    (spec,) = model.inputs
    samples, rest = divmod(len(body), spec.sample_bytes)
    if rest or not samples:
        raise BadRequest(
            f"the body has {len(body)} bytes; a sample of input {_shown(spec.name)} has {spec.sample_bytes}"
        )
    shape = (samples, *spec.sample_shape)
    inputs = {spec.name: _little_endian_array(body, spec.dtype.numpy, shape)}
    return InferenceRequest("", inputs, outputs={}, binary_by_default=True, timeout_seconds=None)


def _inputs(request: _Request, raw: memoryview) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    position = 0
    for part in request.inputs:
        if part.name in inputs:
            raise BadRequest(f"input {_shown(part.name)} is there twice")
        parameters = part.parameters or {}
        _check_done(f"input {_shown(part.name)}", parameters)
        size = parameters.get(_BINARY_SIZE)
        if size is None:
            inputs[part.name] = _listed(part)
        elif type(size) is not int or not 0 <= size <= len(raw) - position:
            raise BadRequest(f"input {_shown(part.name)}: {_BINARY_SIZE} is not the size of what follows")
        else:
            inputs[part.name] = _raw(part, raw[position : position + size])
            position += size
    if position != len(raw):
        raise BadRequest("bytes follow after the last tensor")
    return inputs


def _outputs(request: _Request, default: bool) -> dict[str, bool]:
    outputs: dict[str, bool] = {}
    for part in request.outputs or ():
        who = f"output {_shown(part.name)}"
        if part.name in outputs:
            raise BadRequest(f"{who} is wanted twice")
        parameters = part.parameters or {}
        _check_done(who, parameters)
        outputs[part.name] = _flag(who, parameters, _BINARY, default=default)
    return outputs


def _check_done(who: str, parameters: Mapping[str, Any]) -> None:
    for name in _NOT_DONE:
        if parameters.get(name):
            raise BadRequest(f"{who}: {name} is not done here")


def _flag(who: str, parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise BadRequest(f"{who}: {name} is neither true nor false")
    return default if value is None else value


def _check_size(body: bytes, json_length: int, model: ModelDescription) -> None:
    numbers = numbers_of(model)
    values = body.count(b",", 0, json_length) + body.count(b":", 0, json_length)
    lists = body.count(b"[", 0, json_length) + body.count(b"{", 0, json_length)
    if values > numbers + _OTHER_VALUES or lists > 2 * numbers + _OTHER_VALUES:
        raise BadRequest("there is more in the body than a full batch of this model can have")


def write_answer(request: InferenceRequest, result: InferenceResult) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON if raw tensors follow. Raises `BadRequest` for an output that
    the model does not have.
    """
    wanted = request.outputs or dict.fromkeys(result.outputs, request.binary_by_default)
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, is_binary in wanted.items():
        tensor = result.outputs.get(name)
        if tensor is None:
            raise BadRequest(f"the model has no output {_shown(name)}; it has {', '.join(result.outputs)}")
        about: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
        }
        if is_binary:
            raw.append(_little_endian(tensor).tobytes())
            about["parameters"] = {_BINARY_SIZE: len(raw[-1])}
        else:
            about["data"] = tensor.ravel().tolist()
        outputs.append(about)
    document: dict[str, Any] = {"model_name": result.model, "model_version": result.version, "outputs": outputs}
    if request.id:
        document["id"] = request.id
    head = json.dumps(document, separators=(",", ":")).encode()
    return (b"".join([head, *raw]), len(head)) if raw else (head, None)


def metadata(model: ModelDescription, others: Sequence[str]) -> dict[str, Any]:
    """The protocol's description of a model; `others` are its other versions, which can be asked for."""
    return {
        "name": model.name,
        "versions": [model.version, *others],
        "platform": "kopru",
        "inputs": [_about(spec.name, spec.dtype, spec.sample_shape) for spec in model.inputs],
        "outputs": [_about(spec.name, spec.dtype, spec.sample_shape) for spec in model.outputs],
    }


def _about(name: str, dtype: str, sample_shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[dtype], "shape": [-1, *sample_shape]}


def _length(header: str, most: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) <= 12 and int(header) <= most):
        raise BadRequest(f"{HEADER_LENGTH} is not the length of the JSON in this body")
    return int(header)


def _dtype(part: _Input) -> np.dtype[Any]:
    if part.datatype not in _DTYPES:
        raise BadRequest(f"input {_shown(part.name)}: the datatype is none of {', '.join(_DTYPES)}")
    if 0 in part.shape:
        raise BadRequest(f"input {_shown(part.name)}: there are no numbers in a tensor with a dimension of 0")
    return np.dtype(_DTYPES[part.datatype])


def _raw(part: _Input, data: memoryview) -> Tensor:
    dtype = _dtype(part)
    if part.data is not None:
        raise BadRequest(f"input {_shown(part.name)}: it has both data and {_BINARY_SIZE}")
    if len(data) != math.prod(part.shape) * dtype.itemsize:
        raise BadRequest(f"input {_shown(part.name)}: shape and {_BINARY_SIZE} do not agree")
    return _little_endian_array(data, dtype, part.shape)


def _little_endian_array(data: bytes | memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    little = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
    return little.astype(dtype, copy=sys.byteorder == "big")


def _listed(part: _Input) -> Tensor:
    """A tensor from JSON: flat or nested lists of numbers, each of which its type can hold.

    Python's own types are looked at: to numpy `true` beside 0.5 is 1.0, and a large integer beside it another one.
    """
    dtype = _dtype(part)
    if part.data is None:
        raise BadRequest(f"input {_shown(part.name)}: it has neither data nor {_BINARY_SIZE}")
    kinds = _kinds(part.data)
    exact = np.int64 if dtype.kind in "iu" and kinds == {int} else np.float64
    try:
        values = np.asarray(part.data, exact) if kinds <= {int, float} else None
    except (ValueError, TypeError):
        raise BadRequest(f"input {_shown(part.name)}: the lists have different lengths") from None
    except OverflowError:
        raise BadRequest(f"input {_shown(part.name)}: there are numbers that {part.datatype} cannot hold") from None
    if values is None or values.shape not in (part.shape, (math.prod(part.shape),)):
        raise BadRequest(f"input {_shown(part.name)}: data are not the numbers of its shape")
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    if dtype.kind in "iu" and not (np.array_equal(cast, values) and (exact is np.int64 or _is_exact(values))):
        raise BadRequest(f"input {_shown(part.name)}: there are numbers that {part.datatype} cannot hold")
    return cast.reshape(part.shape)


def _kinds(data: list[Any]) -> set[type]:
    """The types of all that is in nested lists, which may be of any depth."""
    kinds: set[type] = set()
    level: Iterable[Any] = data
    for _ in range(_MOST_DIMENSIONS):
        values = list(level)
        kinds |= set(map(type, values))
        if list not in kinds:
            break
        kinds.discard(list)
        level = itertools.chain.from_iterable(value for value in values if type(value) is list)
    else:
        kinds.add(list)  # deeper than any tensor is
    return kinds


def _is_exact(values: Tensor) -> bool:
    return bool((np.abs(values) < _MOST_EXACT).all())


def _little_endian(tensor: Tensor) -> Tensor:
    return np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    """Triton's parameter `timeout`: microseconds, of which 0 are no wish."""
    microseconds = parameters.get("timeout")
    if microseconds is None or (type(microseconds) is int and microseconds == 0):
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise BadRequest("the parameter timeout is no number of microseconds")
    return min(microseconds, _LONGEST_TIMEOUT) / 1e6


def _shown(name: str) -> str:
    return repr(name[:64])
