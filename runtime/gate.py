"""The out-of-distribution gate of a package: tells inputs that the model was not made for, before anyone believes it.

Every model answers everything: a chest model calls a hand "pneumonia" with confidence. So the maker of a package lays
down, from the training data, within which limits an input is usual, in ``gate.npz``; a sample outside them gets a
`Verdict` that says why, and no answer (`withhold`). A package without a gate judges nothing.

The rules, in the order in which they are tried; the first that a sample breaks is its verdict:

1. likeness: how a thumbnail of the first input correlates with a template, such as the mean thumbnail of the training
   data;
2. traits of the first input (`runtime.traits`): coarseness, black, white, mean, contrast;
3. the Mahalanobis distance of the output with the role "embedding" from the nearest class of the training data, under
   one covariance that is shrunk as Ledoit and Wolf do (J. Multivariate Anal. 88, 2004; Lee et al., NeurIPS 2018).

The file has these arrays, all optional but `format`, and no others; `Gate.write` makes it:

====================  ==================  ==============================================================
``format``            int64 ()            1
``levels``            float64 (2,)        the numbers that black and white have in the first input
``limits:<trait>``    float64 (2,)        the lowest and the highest that is usual; needs ``levels``
``template``          float64 (r, c)      of thumbnails; needs ``levels``
``limits:likeness``   float64 ()          the lowest that is usual; needs ``template``
``centres``           float32 (k, f)      the mean embedding of each class
``precision``         float32 (f, f)      the inverse of the covariance within the classes
``limits:distance``   float64 ()          the longest that is usual; needs ``centres`` and ``precision``
====================  ==================  ==============================================================
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from runtime.errors import PackageError
from runtime.inference import Array
from runtime.package import ModelPackage, Role, read_arrays
from runtime.traits import Measured, Numbers, Trait, is_image, likeness, measure, template_of
from runtime.verdict import Verdict

_FORMAT: Final = 1
_MOST_BYTES: Final = 1 << 26
_MARGIN: Final = 0.25  # by which limits lie further out than what was seen, in distances from the median
_SLACK: Final = 1e-3  # for what is the same in all of them, but for rounding
_TAIL: Final = 0.005  # the share of the training data that may lie beyond a limit before that margin

_BROKEN: Final = {
    Trait.COARSENESS: (Verdict.TOO_FINE, Verdict.TOO_COARSE),
    Trait.BLACK: (Verdict.TOO_LITTLE_BLACK, Verdict.TOO_MUCH_BLACK),
    Trait.WHITE: (Verdict.TOO_LITTLE_WHITE, Verdict.TOO_MUCH_WHITE),
    Trait.MEAN: (Verdict.TOO_DARK, Verdict.TOO_BRIGHT),
    Trait.CONTRAST: (Verdict.TOO_FLAT, Verdict.TOO_HARSH),
}


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Of the classes of the training data: their centres (k, f), and the precision (f, f) within them."""

    centres: Numbers
    precision: Numbers
    limit: float  # of the distance
    _whitening: Numbers = field(init=False, repr=False)
    _centres: Numbers = field(init=False, repr=False)  # whitened

    def __post_init__(self) -> None:
        """Raises `ValueError` if the precision is not positive definite."""
        try:
            object.__setattr__(self, "_whitening", np.linalg.cholesky(self.precision))
        except np.linalg.LinAlgError:
            raise ValueError("is not positive definite") from None
        object.__setattr__(self, "_centres", self.centres @ self._whitening)

    def distances(self, embeddings: Array) -> Numbers:
        """The Mahalanobis distance of each row of `embeddings`, (samples, f), to the nearest centre."""
        found, centres = embeddings.astype(np.float64) @ self._whitening, self._centres
        squared = (found**2).sum(1)[:, None] - 2 * found @ centres.T + (centres**2).sum(1)
        return np.asarray(np.sqrt(np.clip(squared.min(axis=1), 0, None)))


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Of the images of the training data: how black and white are written, limits, and what thumbnails are like."""

    black: float
    white: float
    limits: Mapping[Trait, tuple[float, float]]
    template: Numbers | None = None
    least_likeness: float = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """What is usual for a model. Each part is optional."""

    images: Images | None = None
    embeddings: Embeddings | None = None

    @property
    def levels(self) -> tuple[float, float] | None:
        """Black and white in the first input, if the gate judges images."""
        return (self.images.black, self.images.white) if self.images else None

    def judge(self, inputs: Array, embeddings: Array | None, measured: Measured | None = None) -> tuple[Verdict, ...]:
        """A verdict on each sample: `inputs` are those of the first input, `embeddings` the output of that role.
        `measured` is what `measure` gives of them with the gate's `levels`, if somebody has asked already.
        """
        verdicts = [Verdict.FITS] * len(inputs)
        for broken, verdict in self._rules(inputs, embeddings, measured):
            for position in np.flatnonzero(broken):
                if verdicts[position].fits:
                    verdicts[position] = verdict
        return tuple(verdicts)

    def _rules(self, inputs: Array, embeddings: Array | None, measured: Measured | None) -> list[tuple[Any, Verdict]]:
        rules: list[tuple[Any, Verdict]] = []
        if self.images is not None:
            traits, thumbnails = measured or measure(inputs, self.images.black, self.images.white)
            if self.images.template is not None:
                alike = likeness(thumbnails, self.images.template)
                rules.append((alike < self.images.least_likeness, Verdict.UNLIKE))
            for trait, (below, above) in _BROKEN.items():
                low, high = self.images.limits.get(trait, (-np.inf, np.inf))
                rules += [(traits[trait] < low, below), (traits[trait] > high, above)]
        if self.embeddings is not None and embeddings is not None:
            distances = self.embeddings.distances(embeddings)
            rules.append((~(distances <= self.embeddings.limit), Verdict.STRANGE))
        return rules

    @classmethod
    def of(cls, package: ModelPackage) -> Self | None:
        """The gate of a package, None if it has none. Raises `PackageError` for one that does not fit the package."""
        if package.gate is None:
            return None
        file = package.directory / package.gate.file
        gate = cls.read(file, package.read(package.gate.file))
        gate._check_fits(file, package)
        return gate

    @classmethod
    def read(cls, file: Path, data: bytes) -> Self:
        """The gate in `data`, the bytes of `file`. Raises `PackageError`."""
        arrays = _Arrays(file, read_arrays(file, data, _MOST_BYTES))
        if arrays.number("format") != _FORMAT:
            raise PackageError(file, "format", f"is not {_FORMAT}: this version cannot read it")
        gate = cls(_read_images(arrays), _read_embeddings(arrays))
        arrays.check_all_read()
        return gate

    def write(self, path: Path) -> None:
        """Write the file of a package's [gate]."""
        path.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `read` reads; the same gate gives the same bytes."""
        arrays: dict[str, Any] = {"format": np.int64(_FORMAT)}
        if self.images is not None:
            arrays["levels"] = np.array([self.images.black, self.images.white])
            arrays |= {f"limits:{trait}": np.array(limits) for trait, limits in self.images.limits.items()}
            if self.images.template is not None:
                arrays["template"] = self.images.template
                arrays["limits:likeness"] = np.float64(self.images.least_likeness)
        if self.embeddings is not None:
            arrays["centres"] = self.embeddings.centres.astype(np.float32)
            arrays["precision"] = self.embeddings.precision.astype(np.float32)
            arrays["limits:distance"] = np.float64(self.embeddings.limit)
        made = io.BytesIO()
        np.savez(made, **arrays)
        return made.getvalue()

    def _check_fits(self, file: Path, package: ModelPackage) -> None:
        shape = package.inputs[0].sample_shape
        if self.images is not None:
            if not is_image(shape):
                raise PackageError(file, "levels", "is of images, and the first input has no rows and columns")
            expected = measure(np.zeros((1, *shape)), 0, 1)[1].shape[1:]
            if self.images.template is not None and self.images.template.shape != expected:
                raise PackageError(file, "template", f"has another shape than {expected}, which the first input gives")
        if self.embeddings is not None:
            output = package.output(Role.EMBEDDING)
            features = self.embeddings.centres.shape[1]
            if output is None or output.sample_shape != (features,):
                problem = f'has {features} features, and no output with the role "embedding" has as many'
                raise PackageError(file, "centres", problem)


def fit_gate(
    inputs: Array,
    *,
    levels: tuple[float, float] = (0.0, 1.0),
    embeddings: Array | None = None,
    classes: Array | None = None,
    held_embeddings: Array | None = None,
    admitted: float = 0.99,
    tail: float = _TAIL,
) -> Gate:
    """Make the gate of a model from what it was trained on.

    `inputs`, (samples, …, rows, columns), are samples of its first input: training and validation together; `levels`
    are black and white there. The share `tail` may lie beyond each limit of theirs before it is widened. With
    `embeddings`, (samples, f), of the training samples, `classes` (samples,) tells their labels, and of
    `held_embeddings`, of samples that the model was not trained on, the share `admitted` stays within the limit: on its
    own training samples a model's distances are wrong, and mostly far too short.
    """
    traits, thumbnails = measure(inputs, *levels)
    template = template_of(thumbnails)
    limits = {trait: _limits(values, tail) for trait, values in traits.items()}
    images = Images(*levels, limits, template, _limits(likeness(thumbnails, template), tail)[0])
    if embeddings is None:
        return Gate(images)
    if held_embeddings is None:
        raise ValueError("held_embeddings: are needed, since distances of training samples are too short")
    groups = np.zeros(len(embeddings)) if classes is None else np.asarray(classes)
    return Gate(images, _fit_embeddings(embeddings, groups, held_embeddings, admitted))


def withhold(outputs: Mapping[str, Array], verdicts: Sequence[Verdict]) -> dict[str, Array]:
    """The outputs, (samples, …) each, without what was answered about samples that do not fit.

    In the place of such an answer stand NaNs, or zeros where numbers are whole, which have no NaN: so nothing but the
    verdict tells them from an answer.
    """
    refused = np.array([not verdict.fits for verdict in verdicts], bool)
    if not refused.any():
        return dict(outputs)
    kept = {name: array.copy() for name, array in outputs.items()}
    for array in kept.values():
        array[refused] = np.nan if array.dtype.kind == "f" else 0
    return kept


def _limits(values: Numbers, tail: float) -> tuple[float, float]:
    low, middle, high = (float(value) for value in np.quantile(values, [tail, 0.5, 1 - tail]))
    return low - _MARGIN * (middle - low) - _SLACK, high + _MARGIN * (high - middle) + _SLACK


def _fit_embeddings(embeddings: Array, groups: Array, held: Array, admitted: float) -> Embeddings:
    rows = embeddings.astype(np.float64)
    found = np.unique(groups)
    centres = np.stack([np.asarray(rows[groups == one].mean(axis=0), np.float64) for one in found])
    within = rows - centres[np.searchsorted(found, groups)]
    precision = np.asarray(np.linalg.inv(shrunk_covariance(within)), np.float64)
    measured = Embeddings(centres, precision, np.inf).distances(held)
    return Embeddings(centres, precision, float(np.quantile(measured, admitted)))


def shrunk_covariance(rows: Numbers) -> Numbers:
    """The covariance of rows with mean 0, (samples, f), drawn towards a multiple of the identity (Ledoit and Wolf)."""
    count, features = rows.shape
    sample = rows.T @ rows / count
    scale = np.trace(sample) / features
    spread = ((sample - scale * np.eye(features)) ** 2).sum()
    error = (((rows**2).sum(axis=1) ** 2).sum() / count - (sample**2).sum()) / count
    share = float(np.clip(error / spread, 0, 1)) if spread > 0 else 1.0
    floor = max(scale, 1.0 if scale == 0 else 0.0) * 1e-6  # of features that never vary
    return np.asarray((1 - share) * sample + (share * scale + floor) * np.eye(features))


class _Arrays:
    """The arrays of a file, each checked when it is taken."""

    def __init__(self, file: Path, arrays: dict[str, Any]) -> None:
        self.file = file
        self._left = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, dimensions: int) -> Numbers:
        found = self._left.pop(name, None)
        if found is None:
            raise PackageError(self.file, name, "is missing")
        if found.dtype.kind not in "fi" or found.ndim != dimensions or not np.isfinite(found).all():
            raise PackageError(self.file, name, f"must hold finite numbers in {dimensions} dimensions")
        return np.asarray(found, np.float64)

    def number(self, name: str) -> float:
        return float(self.take(name, 0))

    def pair(self, name: str) -> tuple[float, float]:
        found = self.take(name, 1)
        if len(found) != 2 or found[0] > found[1]:
            raise PackageError(self.file, name, "must hold two numbers, the lower one first")
        return float(found[0]), float(found[1])

    def check_all_read(self) -> None:
        if self._left:
            raise PackageError(
                self.file, "", f"holds arrays that a gate has not, or that lack another: {sorted(self._left)}"
            )


def _read_images(arrays: _Arrays) -> Images | None:
    if "levels" not in arrays:
        return None
    black, white = arrays.pair("levels")
    if black == white:
        raise PackageError(arrays.file, "levels", "is empty: black and white are the same number")
    limits = {trait: arrays.pair(f"limits:{trait}") for trait in Trait if f"limits:{trait}" in arrays}
    if "template" not in arrays:
        return Images(black, white, limits)
    return Images(black, white, limits, arrays.take("template", 2), arrays.number("limits:likeness"))


def _read_embeddings(arrays: _Arrays) -> Embeddings | None:
    if "centres" not in arrays:
        return None
    centres, precision = arrays.take("centres", 2), arrays.take("precision", 2)
    features = centres.shape[1]
    if not len(centres) or precision.shape != (features, features):
        raise PackageError(arrays.file, "precision", f"must be {features} × {features}, as many as the centres have")
    try:
        return Embeddings(centres, precision, arrays.number("limits:distance"))
    except ValueError as error:
        raise PackageError(arrays.file, "precision", str(error)) from None
