"""The configuration of a training run: one TOML file, overridden key by key from the command line.

Unknown keys are refused, so that a misspelt setting cannot silently fall back to a default. Every number that
shapes a model is here and nowhere else; the run writes the configuration it used beside its results.
"""

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from runtime.package.description import ModelDescription
from training.errors import ConfigError

_SMALLEST: Final = 16  # pixels a side
_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """How patients are divided. Fractions are of patients; the rest of them train."""

    seed: int
    validation: float
    test: float

    def __post_init__(self) -> None:
        if min(self.validation, self.test) <= 0 or self.validation + self.test >= 1:
            raise ConfigError("[split] validation and test must be above 0 and leave some patients for training")


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """One of what a network tells apart: the table's word for it, and what it is in SNOMED CT."""

    name: str
    code: str
    display: str


@unique
class Kind(StrEnum):
    """Which network a run fits."""

    TEXTURE = "texture"  # `training.texture`: [texture] applies, [augmentation] and [optimisation] do not
    RESIDUAL = "residual"  # `training.network`: [texture] does not apply


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network; of a residual one channels and blocks of each stage. `dropout` is before its last layer."""

    kind: Kind
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    dropout: float

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.blocks):
            raise ConfigError("[network] widths and blocks must name the same number of stages")
        require("network", "at least 1", widths=min(self.widths) >= 1, blocks=min(self.blocks) >= 1)
        require("network", "at least 0 and below 1", dropout=0 <= self.dropout < 1)


@dataclass(frozen=True, slots=True)
class TextureConfig:
    """The classifier of texture. Each number of cells must divide the largest, and that the input's side."""

    grids: tuple[int, ...]  # cells a side of each grid over the image
    penalties: tuple[float, ...]  # of squared weights: of the second label against the first, the third against both …
    embedding: int  # features that gate and drift look at

    def __post_init__(self) -> None:
        if not self.grids or not self.penalties or min(*self.grids, self.embedding) < 1 or min(self.penalties) <= 0:
            raise ConfigError("[texture] grids, penalties and embedding must be above 0")


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """Random changes of training images. Shifts and holes are fractions of the side, angles degrees."""

    base_size: int  # pixels a side from which the network's input is cut
    rotation_degrees: float
    scale_min: float
    scale_max: float
    shear: float
    shift: float
    flip_probability: float
    gamma: float  # exponent drawn log-uniformly from [1/(1+gamma), 1+gamma]
    contrast: float
    brightness: float
    noise: float  # standard deviation, of the range [0, 1]
    hole_probability: float
    hole_side: float
    mixup_alpha: float

    def __post_init__(self) -> None:
        require("augmentation", f"at least {_SMALLEST}", base_size=self.base_size >= _SMALLEST)
        require("augmentation", "above 0 and at most scale_max", scale_min=0 < self.scale_min <= self.scale_max)
        shares = ("flip_probability", "hole_probability", "hole_side")
        require("augmentation", "from 0 to 1", **{name: 0 <= getattr(self, name) <= 1 for name in shares})
        amounts = {"rotation_degrees", "shear", "shift", "gamma", "contrast", "brightness", "noise", "mixup_alpha"}
        require("augmentation", "at least 0", **{name: getattr(self, name) >= 0 for name in sorted(amounts)})


@unique
class Schedule(StrEnum):
    """How the learning rate falls after the warm-up."""

    COSINE = "cosine"  # half a wave, to 0 at the last step
    STEP = "step"  # by `decay` each `decay_epochs`
    EXPONENTIAL = "exponential"  # smoothly, by `decay` in `decay_epochs`


@dataclass(frozen=True, slots=True)
class OptimisationConfig:
    """The optimiser's settings: AdamW, linear warm-up, a schedule, an exponential moving average of the weights."""

    seed: int
    epochs: int
    warmup_epochs: int
    batch_size: int  # of one device in one step
    accumulate: int  # batches whose gradients are added up for one step of the optimiser
    learning_rate: float
    schedule: Schedule
    decay: float  # of the step and exponential schedules
    decay_epochs: float
    weight_decay: float
    clip: float  # largest norm of the gradient
    label_smoothing: float
    balance: float  # exponent: 0 draws classes as they come, 1 equally often
    ema_decay: float
    patience: int  # epochs without a lower loss on the validation part until the run ends; 0: never early

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulate")
        require("optimisation", "at least 1", **{name: getattr(self, name) >= 1 for name in counts})
        amounts = ("learning_rate", "weight_decay", "clip", "balance", "patience")
        require("optimisation", "at least 0", **{name: getattr(self, name) >= 0 for name in amounts})
        require("optimisation", "at least 0 and below 1", label_smoothing=0 <= self.label_smoothing < 1)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError("[optimisation] warmup_epochs must be fewer than epochs")
        if not 0 < self.decay <= 1 or self.decay_epochs <= 0:
            raise ConfigError("[optimisation] decay must be above 0 and at most 1, decay_epochs above 0")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError("[optimisation] ema_decay must be at least 0 (no averaging) and below 1")


@unique
class Numbers(StrEnum):
    """In which numbers the network is trained. Weights and sums are float32 in any case."""

    AUTO = "auto"  # bfloat16 where the device computes in it, float16 on older GPUs
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@unique
class Accelerator(StrEnum):
    """On what a network is trained."""

    AUTO = "auto"  # GPUs where there are some
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Where a run computes. What it computes depends on `batch_size` times `devices`, not on which devices they are."""

    accelerator: Accelerator
    devices: int  # of this machine, a process each: distributed data parallel (DDP)
    precision: Numbers
    threads: int  # of each process
    checkpoints: int  # how many of the last epochs' are kept

    def __post_init__(self) -> None:
        if min(self.devices, self.threads, self.checkpoints) < 1:
            raise ConfigError("[device] devices, threads and checkpoints must be at least 1")


@dataclass(frozen=True, slots=True)
class PackageConfig:
    """What the package says of itself beside its numbers."""

    name: str
    version: str
    input_size: int
    batch_size: int
    batch_wait_ms: int
    sample_threads: int  # 1: of a CPU, for each sample of a batch, which then run side by side; 0: all share the batch
    variants: tuple[str, ...]  # which of float16 and int8 are put into the package; all are measured
    licence: str
    intended_use: str
    remarks: str  # how these settings were chosen, for the card of a run on the data that [data] is of; may be empty

    def __post_init__(self) -> None:
        strange = set(self.variants) - {"float16", "int8"}
        if strange:
            raise ConfigError(f"[package] variants: {sorted(strange)[0]!r} is none of float16, int8")
        require("package", f"at least {_SMALLEST}", input_size=self.input_size >= _SMALLEST)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is known of one set of images beside its files: it counts for a run on that very set, and no other."""

    sha256: str  # as the card of a run on it says
    images: str  # what they are, and where they come from
    limits: str  # of what can be learnt from them
    licences: str


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A whole run. `folds` is 0 for one run on the split, or the number of folds of a patient-wise cross-validation."""

    folds: int
    labels: tuple[LabelConfig, ...]  # in the order of the network's outputs
    split: SplitConfig
    network: NetworkConfig
    texture: TextureConfig
    augmentation: AugmentationConfig
    optimisation: OptimisationConfig
    device: DeviceConfig
    package: PackageConfig
    data: DataConfig

    def __post_init__(self) -> None:
        if self.folds and self.folds < 3:
            raise ConfigError("folds must be 0 for none, or at least 3: one tests, one validates, the others train")
        _check_description(self)
        if self.network.kind is Kind.TEXTURE and "float16" in self.package.variants:
            raise ConfigError("[package] variants: float16 cannot count what a texture network counts")
        if len(self.label_names) < 2 or len(set(self.label_names)) < len(self.label_names):
            raise ConfigError("[[labels]] there must be at least two, each with a name of its own")
        if self.network.kind is Kind.TEXTURE and len(self.texture.penalties) != len(self.labels) - 1:
            raise ConfigError("[texture] penalties: there must be one for each label after the first")

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels as the table has them."""
        return tuple(label.name for label in self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them, to be written beside the results and into checkpoints."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read the TOML file at `path` and apply `overrides`, each ``section.key=value`` with a TOML value.

    Raises `ConfigError` for a file or override that does not parse, an unknown or missing key and a wrong type.
    """
    raw = read_settings(path, overrides)
    sections = {
        "split": SplitConfig,
        "network": NetworkConfig,
        "texture": TextureConfig,
        "augmentation": AugmentationConfig,
        "optimisation": OptimisationConfig,
        "device": DeviceConfig,
        "package": PackageConfig,
        "data": DataConfig,
    }
    unknown = set(raw) - set(sections) - {"folds", "labels"}
    if unknown:
        raise ConfigError(
            f"unknown key {sorted(unknown)[0]!r}; the file has folds, [[labels]] and the sections {sorted(sections)}"
        )
    labels = raw.get("labels")
    if not isinstance(labels, list):
        raise ConfigError("[[labels]] is missing: a table for each label, with name, code and display")
    return TrainingConfig(
        folds=_typed("folds", raw.get("folds", 0), int),
        labels=tuple(section("labels", {"labels": label}, LabelConfig) for label in labels),
        split=section("split", raw, SplitConfig),
        network=section("network", raw, NetworkConfig),
        texture=section("texture", raw, TextureConfig),
        augmentation=section("augmentation", raw, AugmentationConfig),
        optimisation=section("optimisation", raw, OptimisationConfig),
        device=section("device", raw, DeviceConfig),
        package=section("package", raw, PackageConfig),
        data=section("data", raw, DataConfig),
    )


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the TOML file at `path`, with `overrides`. Raises `ConfigError` for what does not parse."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from error
    for override in overrides:
        _override(raw, override)
    return raw


def require(section: str, what: str, **holds: bool) -> None:
    """Raise `ConfigError` for the first of the settings that is not `what` it must be."""
    for name, right in holds.items():
        if not right:
            raise ConfigError(f"[{section}] {name} must be {what}")


def _check_description(config: TrainingConfig) -> None:
    """Refuse here, and not when the package is written after hours, what the runtime would refuse in it."""
    package = config.package
    said: dict[str, Any] = {name: getattr(package, name) for name in ("name", "version", "intended_use", "licence")}
    threads = package.sample_threads or None
    said["batch"] = {"size": package.batch_size, "wait_ms": package.batch_wait_ms, "sample_threads": threads}
    said["labels"] = tuple(
        {"index": index, "system": "-", "threshold": 0.5, **dataclasses.asdict(label)}
        for index, label in enumerate(config.labels)
    )
    try:
        ModelDescription.model_validate(said)
    except ValidationError as error:
        for each in error.errors():  # of what is only known when the package is made, too
            if each["loc"][0] in said:
                raise ConfigError(f"[package] or [[labels]] {'.'.join(map(str, each['loc']))}: {each['msg']}") from None


def _override(raw: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r}: write section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"override {override!r}: the value is not TOML (strings need quotes): {error}") from error
    section, dot, key = name.strip().rpartition(".")
    target = raw.setdefault(section, {}) if dot else raw
    if not isinstance(target, dict):
        raise ConfigError(f"override {override!r}: {section!r} is not a section")
    target[key] = value


def section(name: str, raw: Mapping[str, Any], kind: type[_Section]) -> _Section:
    """Make `kind` of the section; raises `ConfigError` for an unknown or missing key and a wrong type."""
    values = raw.get(name)
    if not isinstance(values, dict):
        raise ConfigError(f"section [{name}] is missing")
    fields = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if set(values) != set(fields):
        wrong = sorted(set(values) ^ set(fields))[0]
        raise ConfigError(f"[{name}] {wrong}: {'unknown key' if wrong in values else 'is missing'}")
    return kind(**{key: _typed(f"[{name}] {key}", values[key], fields[key]) for key in fields})


def _typed(where: str, value: Any, kind: Any) -> Any:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{where}: {number} is not finite")
    if kind == tuple[int, ...] and isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    if kind == tuple[float, ...] and isinstance(value, list) and all(type(item) in (int, float) for item in value):
        return tuple(float(item) for item in value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(type(item) is str for item in value):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
        raise ConfigError(f"{where}: {value!r} is none of {', '.join(kind)}")
    if type(value) is kind:
        return value
    raise ConfigError(f"{where}: {value!r} is not {getattr(kind, '__name__', kind)}")
