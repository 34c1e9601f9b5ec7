"""Model packages: a directory with `model.toml` and the files it lists, each with its SHA-256.

What `model.toml` says is checked once, here, so that the rest of the runtime can rely on it; a package with a changed,
missing or unlisted file is refused. Nothing in a package is ever executed or unpickled by reading it.

A package looks like this (`write_package` fills in ``[files]``)::

    name = "digits"                     # letters, digits, . and -
    version = "1.0.0"
    weights = "model.onnx"              # the file that runs; its suffix names the backend
    intended_use = "Reads handwritten digits."
    research_only = true                # true: no result may be used for a patient
    licence = "Apache-2.0"              # of the weights
    training_data = "60,000 images of …"

    [batch]
    size = 8                            # most samples in one run
    wait_ms = 5                         # longest wait of a request for others to join it

    [[inputs]]
    name = "image"
    dtype = "float32"
    shape = ["batch", 1, 28, 28]        # the first dimension is always "batch"

    [[outputs]]                         # the first output is the one that the labels are about
    name = "probabilities"
    dtype = "float32"
    shape = ["batch", 10]

    [preprocessing]                     # what clients do to an image, see `runtime.preprocess`
    kind = "grayscale"                  # or "none"
    size = [28, 28]                     # rows, columns
    resize = "letterbox"                # or "stretch", "crop"
    mean = 0.5
    std = 0.25
    channels = 1

    [[labels]]                          # one for each position of the first output
    index = 0
    name = "zero"
    system = "https://example.org/digits"
    code = "0"
    display = "Digit zero"
    threshold = 0.5

    [files]
    "model.onnx" = "<sha256, 64 hex digits>"
"""

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum, unique
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from runtime.errors import PackageError

DESCRIPTION: Final = "model.toml"
BACKEND_SUFFIXES: Final = (".onnx",)
_MAX_DESCRIPTION_BYTES: Final = 1 << 20
_MAX_SAMPLE_BYTES: Final = 1 << 32


def _stated(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say it in words")
    return text


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) or name == DESCRIPTION:
        raise ValueError("a file's name is up to 128 letters, digits and ._- without folders")
    return name


Text = Annotated[str, AfterValidator(_stated)]
FileName = Annotated[str, AfterValidator(_file_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 lower-case hex digits")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@unique
class DType(StrEnum):
    """The element types that tensors can have; the values are numpy's names."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    UINT8 = "uint8"
    INT32 = "int32"
    INT64 = "int64"


class TensorSpec(_Part):
    """One input or output. `shape` starts with ``"batch"``; the other dimensions are fixed."""

    name: Text
    dtype: DType
    shape: tuple[Literal["batch"] | PositiveInt, ...]

    @model_validator(mode="after")
    def _one_leading_batch(self) -> Self:
        if self.shape[:1] != ("batch",) or "batch" in self.shape[1:]:
            raise ValueError('shape must start with "batch", and all other dimensions must be positive integers')
        if self.sample_bytes > _MAX_SAMPLE_BYTES:
            raise ValueError("one sample would take more than 4 GiB")
        return self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch dimension."""
        return tuple(size for size in self.shape if size != "batch")

    @property
    def sample_bytes(self) -> int:
        """The size of one sample."""
        return math.prod(self.sample_shape) * np.dtype(self.dtype.value).itemsize


class Batch(_Part):
    """How requests are joined: at most `size` samples in a run, at most `wait_ms` milliseconds of waiting for more."""

    size: int = Field(ge=1, le=1024)
    wait_ms: float = Field(ge=0, le=1000)


@unique
class Resize(StrEnum):
    """What happens to an image whose proportions are not those of the input: see `runtime.preprocess`."""

    LETTERBOX = "letterbox"
    STRETCH = "stretch"
    CROP = "crop"


Side = Annotated[int, Field(ge=1, le=8192)]


class Grayscale(_Part):
    """A grey image is resized to `size` (rows, columns), normalised by `mean` and `std`, repeated on `channels`."""

    kind: Literal["grayscale"]
    size: tuple[Side, Side]
    resize: Resize
    mean: float
    std: float = Field(gt=0)
    channels: int = Field(ge=1, le=16)


class NoPreprocessing(_Part):
    """The model takes what it is given; an image becomes one channel, unchanged."""

    kind: Literal["none"] = "none"


Preprocessing = Annotated[Grayscale | NoPreprocessing, Field(discriminator="kind")]


class Label(_Part):
    """What position `index` of the first output means: a coded concept and the probability from which it is present."""

    index: int = Field(ge=0)
    name: Text
    system: Text  # the URI of the code system
    code: Text
    display: Text
    threshold: float = Field(ge=0, le=1)


class ModelDescription(_Part):
    """All that `model.toml` says. Equal descriptions name the same files by digest, so the same model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")
    weights: FileName
    intended_use: Text
    research_only: bool
    licence: Text
    training_data: Text
    batch: Batch
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    preprocessing: Preprocessing = NoPreprocessing()
    labels: tuple[Label, ...] = ()
    files: dict[FileName, Sha256]

    @property
    def weights_sha256(self) -> str:
        """The hex digest of the weights file."""
        return self.files[self.weights]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.weights not in self.files:
            raise ValueError(f"weights: {self.weights} is not listed in [files]")
        if not self.weights.endswith(BACKEND_SUFFIXES):
            raise ValueError(
                f"weights: no backend runs this kind of file; known suffixes: {', '.join(BACKEND_SUFFIXES)}"
            )
        for key, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len({tensor.name for tensor in tensors}) != len(tensors):
                raise ValueError(f"{key}: two tensors have the same name")
        self._check_labels()
        self._check_preprocessing()
        return self

    def _check_labels(self) -> None:
        if not self.labels:
            return
        count = len(self.labels)
        if [label.index for label in self.labels] != list(range(count)):
            raise ValueError("labels: the indices must be 0, 1, 2 … in this order")
        if len({label.name for label in self.labels}) != count:
            raise ValueError("labels: two labels have the same name")
        if self.outputs[0].sample_shape != (count,):
            raise ValueError(f'labels: there are {count}, so the first output must have the shape ["batch", {count}]')

    def _check_preprocessing(self) -> None:
        if not isinstance(self.preprocessing, Grayscale):
            return
        expected = (self.preprocessing.channels, *self.preprocessing.size)
        first = self.inputs[0]
        if first.dtype is not DType.FLOAT32 or first.sample_shape != expected:
            raise ValueError(
                f'preprocessing: gives float32 ["batch", {", ".join(map(str, expected))}], '
                "but the first input has another dtype or shape"
            )


class ModelPackage(ModelDescription):
    """A package on disk whose files have been checked. Made by `load`; can be handed to another process."""

    directory: Path

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read and check the package in `directory`. Raises `PackageError` that names file and key."""
        file = directory / DESCRIPTION
        raw = _read_toml(file)
        if "directory" in raw:
            raise PackageError(file, "directory", "unknown key; remove it")
        try:
            text = json.dumps({**raw, "directory": str(directory.absolute())}, default=str)
            package = cls.model_validate_json(text)
        except ValidationError as error:
            raise _explained(file, error) from None
        _check_files(directory, package.files)
        return package

    def read_weights(self) -> bytes:
        """The bytes of the weights file, checked once more: what was checked is what runs."""
        file = self.directory / self.weights
        try:
            data = file.read_bytes()
        except OSError as error:
            raise PackageError(file, "", f"cannot be read ({error.strerror})") from None
        _check_digest(file.parent, self.weights, self.weights_sha256, hashlib.sha256(data).hexdigest())
        return data


def write_package(directory: Path, description: Mapping[str, Any]) -> ModelPackage:
    """Write `model.toml` into `directory` beside the files that are already there, and load the package.

    `description` holds the keys of `model.toml` but ``files``: that is filled in with every file of the directory.
    Raises `PackageError` if the package would be refused; nothing is written then, and an older `model.toml` stays.
    """
    file = directory / DESCRIPTION
    names = sorted(path.name for path in directory.iterdir() if path.name != DESCRIPTION)
    complete = {**description, "files": {name: _digest(directory / name) for name in names}}
    try:
        ModelDescription.model_validate_json(json.dumps(complete))
    except ValidationError as error:
        raise _explained(file, error) from None
    file.write_text(_to_toml(complete), encoding="utf-8")
    return ModelPackage.load(directory)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_DESCRIPTION_BYTES + 1)
    except OSError as error:
        raise PackageError(file, "", f"cannot be read ({error.strerror}); a package is a directory with it") from None
    if len(data) > _MAX_DESCRIPTION_BYTES:
        raise PackageError(file, "", "is larger than 1 MiB; it is no description of a model")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PackageError(file, "", f"is not TOML: {error}") from None


def _explained(file: Path, error: ValidationError) -> PackageError:
    """Name the first problem: its key as in the TOML file, what is wrong, what is allowed."""
    first = error.errors(include_url=False)[0]
    steps = [step for step in first["loc"] if step not in ("grayscale", "none")]  # pydantic's names of the two kinds
    key = ".".join(str(step) for step in steps)
    problem = {
        "extra_forbidden": "unknown key; remove it or correct its spelling",
        "missing": "is missing",
    }.get(first["type"], first["msg"].removeprefix("Value error, "))
    if not key:  # a rule about several keys, which says itself which ones
        key, _, problem = problem.partition(": ")
    return PackageError(file, key, problem)


def _check_files(directory: Path, files: Mapping[str, str]) -> None:
    for path in sorted(directory.iterdir()):
        if path.name == DESCRIPTION:
            continue
        if path.name not in files:
            listed = ", ".join(files)
            raise PackageError(path, "", f"is not listed in [files] of {DESCRIPTION}; remove it (listed: {listed})")
    for name, expected in files.items():
        _check_digest(directory, name, expected, _digest(directory / name))


def _digest(path: Path) -> str:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise PackageError(path, "", "is no regular file; packages hold no folders and no links")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(path, "", f"cannot be read ({error.strerror})") from None


def _check_digest(directory: Path, name: str, expected: str, found: str) -> None:
    if found != expected:
        problem = (
            f"the file has the SHA-256 {found}, not {expected}: it was changed; get the package anew from its maker"
        )
        raise PackageError(directory / DESCRIPTION, f"files.{name}", problem)


def _to_toml(description: Mapping[str, Any]) -> str:
    """Write strings, numbers, booleans, lists of them, tables of those and arrays of such tables."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in description.items() if not _is_section(value)]
    for key, value in description.items():
        if not _is_section(value):
            continue
        heading, tables = (f"[{key}]", [value]) if isinstance(value, Mapping) else (f"[[{key}]]", value)
        for table in tables:
            lines += ["", heading]
            lines += [f"{_toml_value(name) if '.' in name else name} = {_toml_value(v)}" for name, v in table.items()]
    return "\n".join(lines) + "\n"


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)
    )


def _toml_value(value: Any) -> str:
    """JSON's forms of these values are TOML's too (TOML 1.0), but for DEL, which must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
