"""Drift: whether what a model sees and says has moved away from the data it was made on.

A package's ``reference.json`` holds how features of inputs and outputs were distributed there: the edges of bins, and
how many samples fell into each. A `Window` counts the latest samples in the same bins, and nothing else: no sample can
be had back from it, and two windows add up. `compare` says how far apart the two are, for each feature, by

- the population stability index, the sum of (p - q) · ln(p / q) over the bins: below 0.1 is usually called none, above
  0.25 a large change;
- the two-sample Kolmogorov–Smirnov test at the edges of the bins. Between edges the distributions may differ by more,
  so the distance is never too large, nor p too small (p by its asymptotic form with Stephens's correction, J. R. Stat.
  Soc. B 32, 1970).

The features are the traits of the first input (``input.mean`` …, see `runtime.traits`), the embedding along the axes
on which the reference varies most (``embedding.0`` …), and the scores (``score.0`` …, by position).

The file, which `Reference.write` makes, `fit_reference` from data::

    {
      "format": 1,
      "levels": [0.0, 1.0],                                  // black and white; null: no traits of inputs
      "projection": {"mean": [f numbers], "axes": [[f numbers], …]},       // null: no embedding
      "features": {"input.mean": {"edges": [e1, e2, …], "counts": [n0, n1, n2, …]}, …}
    }

Bin i has the numbers x with edges[i-1] < x <= edges[i]; the first and the last bin have no end.
"""

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.errors import PackageError
from runtime.inference import Array
from runtime.package import ModelPackage, Role
from runtime.traits import Measured, Numbers, Trait, is_image, measure

_BINS: Final = 20
_AXES: Final = 4
_MOST_FEATURES: Final = 256
_MOST_BYTES: Final = 1 << 24
_CHUNKS: Final = 16
WINDOW_SAMPLES: Final = 1024
"""The latest samples that are compared, at most; a window is emptied a sixteenth at a time."""

Counts = npt.NDArray[np.int64]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Distribution(_Part):
    """How often a feature fell into each bin."""

    edges: tuple[float, ...] = Field(min_length=1, max_length=1024)
    counts: tuple[Annotated[int, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges: must rise")
        if len(self.counts) != len(self.edges) + 1 or not sum(self.counts):
            raise ValueError("counts: must be one more than edges, and not all 0")
        return self

    def count(self, values: Numbers) -> Counts:
        """How many of `values` fall into each bin."""
        return np.bincount(np.searchsorted(self.edges, values, side="left"), minlength=len(self.counts))


class Projection(_Part):
    """The embedding's mean, and the axes along which it varies most."""

    mean: tuple[float, ...] = Field(min_length=1, max_length=1 << 16)
    axes: tuple[tuple[float, ...], ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if any(len(axis) != len(self.mean) for axis in self.axes):
            raise ValueError("axes: each must have as many numbers as the mean")
        return self

    def along(self, embeddings: Array) -> Numbers:
        """Where embeddings, (samples, f), lie on the axes: (samples, axes)."""
        mean, axes = self._arrays
        return np.asarray((embeddings.astype(np.float64) - mean) @ axes)

    @cached_property
    def _arrays(self) -> tuple[Numbers, Numbers]:
        return np.array(self.mean), np.array(self.axes).T


class Reference(_Part):
    """What a model's inputs and outputs were like on the data it was made on."""

    format: Literal[1] = 1
    levels: tuple[float, float] | None
    projection: Projection | None
    features: dict[str, Distribution] = Field(max_length=_MOST_FEATURES)

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise ValueError("levels: black must be less than white")
        return self

    @classmethod
    def of(cls, package: ModelPackage) -> Self | None:
        """The reference of a package, None if it has none. Raises `PackageError` if it is not one of this package."""
        if package.reference is None:
            return None
        file = package.directory / package.reference.file
        reference = cls.read(file, package.read(package.reference.file))
        if reference.levels is not None and not is_image(package.inputs[0].sample_shape):
            raise PackageError(file, "levels", "is of images, and the first input has no rows and columns")
        embedding = package.output(Role.EMBEDDING)
        features = len(reference.projection.mean) if reference.projection else 0
        if features and (embedding is None or embedding.sample_shape != (features,)):
            problem = f'has {features} features, and no output with the role "embedding" has as many'
            raise PackageError(file, "projection", problem)
        known = _names(reference, package)
        for name in reference.features:
            if name not in known:
                raise PackageError(file, f"features.{name}", f"is no feature of this model; there are {sorted(known)}")
        return reference

    @classmethod
    def read(cls, file: Path, data: bytes) -> Self:
        """The reference in `data`, the bytes of `file`. Raises `PackageError`."""
        if len(data) > _MOST_BYTES:
            raise PackageError(file, "", "is larger than 16 MiB")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise PackageError(file, ".".join(str(step) for step in first["loc"]), first["msg"]) from None

    def write(self, path: Path) -> None:
        """Write the file of a package's [reference]."""
        path.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    def measure(
        self,
        inputs: Array,
        embeddings: Array | None,
        scores: Array | None,
        measured: Measured | None = None,
    ) -> dict[str, Numbers]:
        """Each feature of some samples that this reference has a distribution of. `measured` is what
        `runtime.traits.measure` gives of the inputs with the reference's `levels`, if somebody has asked already.
        """
        if self.levels is not None:
            measured = measured or measure(inputs, *self.levels)
        features = _features(measured, self.projection, embeddings, scores)
        return {name: values for name, values in features.items() if name in self.features}


def fit_reference(
    inputs: Array,
    *,
    levels: tuple[float, float] | None = (0.0, 1.0),
    embeddings: Array | None = None,
    scores: Array | None = None,
) -> Reference:
    """Make the reference of a model from samples it was not trained on (its scores of those are too sure), each
    (samples, …): of its first input, of its output "embedding", and its scores. `levels` are black and white there.
    """
    projection = None if embeddings is None else _fit_projection(embeddings)
    measured = None if levels is None else measure(inputs, *levels)
    features = _features(measured, projection, embeddings, scores)
    found = {name: _distribution(values) for name, values in features.items()}
    return Reference(levels=levels, projection=projection, features=found)


def _fit_projection(embeddings: Array) -> Projection:
    rows = embeddings.astype(np.float64)
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:_AXES]
    return Projection(mean=tuple(mean.tolist()), axes=tuple(tuple(axis) for axis in axes.tolist()))


def _distribution(values: Numbers) -> Distribution:
    """Bins with as many of the values each; fewer where many values are equal."""
    edges = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return Distribution(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _features(
    measured: Measured | None,
    projection: Projection | None,
    embeddings: Array | None,
    scores: Array | None,
) -> dict[str, Numbers]:
    found: dict[str, Numbers] = {}
    if measured is not None:
        found |= {f"input.{trait}": values for trait, values in measured[0].items()}
    if projection is not None and embeddings is not None:
        along = projection.along(embeddings)
        found |= {f"embedding.{position}": values for position, values in enumerate(along.T)}
    if scores is not None:
        found |= {f"score.{position}": values for position, values in enumerate(scores.astype(np.float64).T)}
    return found


def _names(reference: Reference, package: ModelPackage) -> set[str]:
    scores = package.output(Role.SCORES)
    return {
        *((f"input.{trait}" for trait in Trait) if reference.levels else ()),
        *(f"embedding.{n}" for n in range(len(reference.projection.axes) if reference.projection else 0)),
        *(f"score.{n}" for n in range(scores.sample_shape[0] if scores else 0)),
    }


class Window:
    """Counts of the latest samples, at most `WINDOW_SAMPLES`, in the bins of a reference. Not safe for threads."""

    def __init__(self, reference: Reference) -> None:
        lengths = [len(distribution.edges) for distribution in reference.features.values()]
        self._rows = {name: row for row, name in enumerate(reference.features)}
        self._last = np.array(lengths)  # each feature's last bin
        self._edges = np.full((len(lengths), max(lengths, default=0)), np.inf)  # of all features, filled up
        for row, distribution in zip(self._edges, reference.features.values(), strict=True):
            row[: len(distribution.edges)] = distribution.edges
        self._chunks: deque[Counts] = deque(maxlen=_CHUNKS)  # (features, bins) each
        self._sizes: deque[int] = deque(maxlen=_CHUNKS)

    @property
    def samples(self) -> int:
        """How many samples it counts."""
        return sum(self._sizes)

    def add(self, features: Mapping[str, Numbers]) -> None:
        """Count some samples' features, as `Reference.measure` gives them."""
        size = max((len(values) for values in features.values()), default=0)
        features_, bins = len(self._last), self._edges.shape[1] + 1
        if not self._sizes or self._sizes[-1] + size > WINDOW_SAMPLES // _CHUNKS:
            self._chunks.append(np.zeros((features_, bins), np.int64))
            self._sizes.append(0)
        self._sizes[-1] += size
        if not size:
            return
        rows = np.array([self._rows[name] for name in features])
        values = np.stack(list(features.values()))  # (features, samples)
        # As `Distribution.count` does, for all at once: how many edges are below; a NaN is above all of them.
        below = (~(self._edges[rows][:, np.newaxis] >= values[..., np.newaxis])).sum(axis=2)
        places = np.minimum(below, self._last[rows][:, np.newaxis]) + rows[:, np.newaxis] * bins
        self._chunks[-1] += np.bincount(places.reshape(-1), minlength=features_ * bins).reshape(features_, bins)

    def counts(self) -> dict[str, Counts]:
        """Each feature's counts; those of several windows add up."""
        if not self._chunks:
            return {}
        total = np.sum(self._chunks, axis=0)
        return {name: total[row, : self._last[row] + 1] for name, row in self._rows.items() if total[row].any()}


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far a feature's latest samples are from the reference: two distances, and the probability of the second by
    chance.
    """

    feature: str
    samples: int
    stability_index: float
    distance: float
    p_value: float


def compare(reference: Reference, counts: Mapping[str, Counts]) -> tuple[FeatureDrift, ...]:
    """Compare a window's counts with the reference, feature by feature; those without samples are left out."""
    return tuple(
        _compare(name, np.array(distribution.counts), counts[name])
        for name, distribution in reference.features.items()
        if name in counts and counts[name].sum()
    )


def _compare(feature: str, expected: Counts, found: Counts) -> FeatureDrift:
    distance = kolmogorov_distance(expected, found)
    return FeatureDrift(
        feature=feature,
        samples=int(found.sum()),
        stability_index=stability_index(expected, found),
        distance=distance,
        p_value=kolmogorov_probability(distance, int(expected.sum()), int(found.sum())),
    )


def stability_index(expected: Counts, found: Counts) -> float:
    """The population stability index of two histograms over the same bins, half a sample added to each bin so that an
    empty one has a logarithm.
    """
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def kolmogorov_distance(expected: Counts, found: Counts) -> float:
    """The largest difference of the two cumulative distributions at the edges of the bins."""
    return float(np.abs(expected.cumsum() / expected.sum() - found.cumsum() / found.sum()).max())


def kolmogorov_probability(distance: float, first: int, second: int) -> float:
    """The probability that two samples of these sizes from one distribution are so far apart, or further."""
    root = math.sqrt(first * second / (first + second))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.3:  # where the series converges slowly and the probability is 1 to nine digits
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))
