"""The parts of a package's description, one class for each table of `model.toml`, and what each alone must fulfil."""

import ipaddress
import math
import re
from enum import StrEnum, unique
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

_MAX_SAMPLE_BYTES: Final = 1 << 32
_MOST_DIMENSIONS: Final = 16


def _stated(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say it in words")
    return text


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise ValueError("a file's name is up to 128 letters, digits and ._- without folders")
    if name.startswith("model.toml") or name.endswith(".sealed"):
        raise ValueError("this name is kept for the description, its signature and sealed files; choose another")
    return name


LONGEST_NAME: Final = 256  # of a tensor


def is_tensor_name(name: str) -> bool:
    """Whether tensors may have this name: it becomes a key of files and a word in messages."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _tensor_name(name: str) -> str:
    if not is_tensor_name(name):
        raise ValueError(f"a tensor's name is 1 to {LONGEST_NAME} characters that can be seen")
    return name


Text = Annotated[str, AfterValidator(_stated)]
FileName = Annotated[str, AfterValidator(_file_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 lower-case hex digits")]
Tolerance = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A frozen table: unknown keys, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@unique
class DType(StrEnum):
    """The element types that tensors can have; the values are numpy's names."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    UINT8 = "uint8"
    UINT16 = "uint16"
    INT32 = "int32"
    INT64 = "int64"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The same, as numpy has it."""
        return _NUMPY[self]


_NUMPY: Final = {dtype: np.dtype(dtype.value) for dtype in DType}
DTYPES: Final = {numpy: dtype for dtype, numpy in _NUMPY.items()}
"""By numpy's types, in this machine's byte order."""
_GREYS: Final = {None: DType.FLOAT32, 8: DType.UINT8, 16: DType.UINT16}


_NO_SHAPE: Final = 'must start with "batch", and all other dimensions must be positive integers'


def _sizes(shape: Any) -> Any:
    """Before it is tried as the one and the other, of which each would have its own complaint."""
    if not isinstance(shape, list | tuple):
        return shape
    if any(size != "batch" and not (type(size) is int and size > 0) for size in shape):
        raise ValueError(_NO_SHAPE)
    return tuple(shape)


class TensorSpec(Part):
    """One input or output. `shape` starts with ``"batch"``; the other dimensions are fixed."""

    name: Annotated[str, AfterValidator(_tensor_name)]
    dtype: DType
    shape: Annotated[tuple[Literal["batch"] | PositiveInt, ...], BeforeValidator(_sizes)] = Field(
        max_length=_MOST_DIMENSIONS
    )

    @model_validator(mode="after")
    def _one_leading_batch(self) -> Self:
        if self.shape[:1] != ("batch",) or "batch" in self.shape[1:]:
            raise ValueError(f"shape {_NO_SHAPE}")
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
        return math.prod(self.sample_shape) * self.dtype.numpy.itemsize


@unique
class Role(StrEnum):
    """What an output is for, where the runtime or its clients do something with it."""

    SCORES = "scores"  # [batch, labels]: one number for each label
    HEATMAP = "heatmap"  # [batch, labels, rows, columns]: how much each place speaks for each label
    EMBEDDING = "embedding"  # [batch, features]: what the gate and drift look at
    MASK = "mask"  # what is where, in the geometry of the input


class OutputSpec(TensorSpec):
    """One output, with what it is for and what its numbers can be.

    No number of it is below `lowest` or above `highest`, and those of each sample add up to `total`, but for rounding.
    A heatmap lies in [0, 1] without saying so.
    """

    role: Role | None = None
    lowest: float | None = None
    highest: float | None = None
    total: float | None = None

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        low, high = self.bounds
        if low > high:
            raise ValueError("lowest: is above the highest")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number, infinite where any is allowed."""
        low, high = (0.0, 1.0) if self.role is Role.HEATMAP else (-math.inf, math.inf)
        return (
            low if self.lowest is None else self.lowest,
            high if self.highest is None else self.highest,
        )


class Batch(Part):
    """How requests are joined: at most `size` samples in a run, at most `wait_ms` milliseconds of waiting for more.

    With `sample_threads` 1 an ONNX model runs the samples of a batch side by side on a CPU, each on one thread;
    without, all threads share the batch as a whole. Side by side is faster where one sample's tensors fill a core's
    cache, and then no answer depends on what else is in the batch.
    """

    size: int = Field(ge=1, le=1024)
    wait_ms: float = Field(ge=0, le=1000)
    sample_threads: Literal[1] | None = None


@unique
class Resize(StrEnum):
    """What happens to an image whose proportions are not those of the input: see `runtime.preprocess`."""

    LETTERBOX = "letterbox"
    STRETCH = "stretch"
    CROP = "crop"


Side = Annotated[int, Field(ge=1, le=8192)]


class Grayscale(Part):
    """A grey image is resized to `size` (rows, columns), normalised by `mean` and `std`, repeated on `channels`. With
    `bits` it is written as whole greys instead, from 0 (black) to 2 ** `bits` - 1 (white), and the model itself
    normalises them: half a float32, or a quarter, to be moved and kept.
    """

    kind: Literal["grayscale"]
    size: tuple[Side, Side]
    resize: Resize
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    channels: int = Field(ge=1, le=16)
    bits: Literal[8, 16] | None = None

    @property
    def dtype(self) -> DType:
        """That of the input."""
        return _GREYS[self.bits]

    @property
    def white(self) -> float:
        """What white is in whole greys, 1 without `bits`."""
        return float((1 << self.bits) - 1) if self.bits else 1.0

    @model_validator(mode="after")
    def _normalised_once(self) -> Self:
        if self.bits and (self.mean, self.std) != (0.0, 1.0):
            raise ValueError("mean, std: with bits the model normalises the greys itself")
        return self


class NoPreprocessing(Part):
    """The model takes what it is given; an image becomes one channel, unchanged."""

    kind: Literal["none"] = "none"


Preprocessing = Annotated[Grayscale | NoPreprocessing, Field(discriminator="kind")]


class Label(Part):
    """What position `index` of the first output means: a coded concept and the probability from which it is present."""

    index: int = Field(ge=0)
    name: Text
    system: Text  # the URI of the code system
    code: Text
    display: Text
    threshold: float = Field(ge=0, le=1)


@unique
class Precision(StrEnum):
    """In which numbers a model computes."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


@unique
class Format(StrEnum):
    """The kinds of weights files; the values are their suffixes."""

    ONNX = ".onnx"
    TORCH_EXPORT = ".pt2"
    TORCHSCRIPT = ".ts"
    RULES = ".rules.toml"

    @classmethod
    def of(cls, name: str) -> Self | None:
        """The format of the file of that name; None if no backend runs it."""
        return next((kind for kind in cls if name.endswith(kind.value) and name != kind.value), None)

    @property
    def converts(self) -> bool:
        """Whether one file can be run in several precisions; the others have theirs in the file."""
        return self in (Format.TORCH_EXPORT, Format.TORCHSCRIPT)


class Variant(Part):
    """The same model in the file `file`, computed in `precision`; no output differs by more than `tolerance`."""

    file: FileName
    precision: Precision
    tolerance: Tolerance

    @property
    def format(self) -> Format:
        """The kind of the file."""
        found = Format.of(self.file)
        assert found is not None  # the description checks each file's suffix
        return found


_SECURE_SCHEMES: Final = ("https", "grpcs")
_PLAIN_SCHEMES: Final = ("http", "grpc")


def _server_url(text: str) -> str:
    problem = (
        "is a server's address such as grpcs://models.example.org:8001, with the scheme http, https, grpc or grpcs and "
        "without user, query or fragment"
    )
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError(problem) from None
    known = url.scheme in (*_SECURE_SCHEMES, *_PLAIN_SCHEMES)
    if not known or not host or "@" in url.netloc or "?" in text or "#" in text or not text.isascii():
        raise ValueError(problem)
    if not text.isprintable() or " " in text:
        raise ValueError(problem)
    if url.scheme.startswith("grpc") and (port is None or url.path.strip("/")):
        raise ValueError("of a gRPC server names host and port, and no path: grpcs://models.example.org:8001")
    if url.scheme in _PLAIN_SCHEMES and not _is_loopback(host):
        raise ValueError(
            f"{url.scheme}:// sends tensors in the clear and is for this machine only; use {url.scheme}s://"
        )
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Remote(Part):
    """The same model behind a server that speaks the Open Inference Protocol, version 2."""

    url: Annotated[str, AfterValidator(_server_url)]
    model: Text
    version: Text | None = None
    tolerance: Tolerance

    @property
    def authority(self) -> str:
        """Host and port as the URL has them, in lower case: what a site's access goes by."""
        return urlsplit(self.url).netloc.lower()


@unique
class Place(StrEnum):
    """Where a route runs a model."""

    CUDA = "cuda"
    TENSORRT = "tensorrt"
    CPU = "cpu"
    REMOTE = "remote"


class Route(Part):
    """One way to run a model, and for which requests: those that fulfil every rule that is given.

    `priority_at_most` is compared with the request's priority (smaller is more urgent), `waiting_at_least` with the
    number of samples that wait for the route before it.
    """

    on: Place
    precision: Precision | None = None
    file: FileName | None = None
    min_samples: int | None = Field(default=None, ge=1)
    max_samples: int | None = Field(default=None, ge=1)
    priority_at_most: int | None = None
    waiting_at_least: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _can_be_fulfilled(self) -> Self:
        if self.min_samples and self.max_samples and self.min_samples > self.max_samples:
            raise ValueError("min_samples is larger than max_samples, so no request fits")
        if self.on is Place.REMOTE and (self.file or self.precision):
            raise ValueError("a remote server has its own file and precision; remove them from this route")
        return self


class Check(Part):
    """Inputs and the answers of `weights` to them, in an .npz file of arrays ``input:NAME`` and ``output:NAME``."""

    file: FileName
    tolerance: Tolerance


class Gate(Part):
    """The file of the out-of-distribution gate (.npz)."""

    file: FileName


class Reference(Part):
    """The file with the distributions of inputs and outputs on the training data (.json)."""

    file: FileName
