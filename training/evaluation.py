"""Measures of a classifier on held-back images, in numpy: accuracy with its interval, AUROC, operating points.

Thresholds are chosen by `choose_thresholds` on validation images only; `evaluate` never chooses anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.evaluation import LabelMeasures, Probabilities, Targets, auroc, measure
from runtime.statistics import Proportion
from training.errors import DataError


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All measures of one set of images. `confusion[i][j]` counts images of label i whose likeliest label is j."""

    accuracy: Proportion
    labels: tuple[LabelMeasures, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    pair_accuracy: Proportion
    pair_auroc: float


def evaluate(
    probabilities: Probabilities, targets: Targets, labels: Sequence[str], thresholds: Mapping[str, float]
) -> Evaluation:
    """Measure `probabilities` (N, classes) against `targets` (N,), the index of each image's label.

    Those of the pair are of the first two labels (of the bundled model: Normal and Pneumonia, from one source) with all
    others left out of both the images and the choice, so that a model that only tells sources apart gains nothing.
    """
    measures = measure(probabilities, targets, labels, thresholds)
    pair = targets < 2
    share = probabilities[pair, 1] / probabilities[pair, :2].sum(axis=1)
    return Evaluation(
        accuracy=measures.accuracy,
        labels=measures.labels,
        confusion=measures.confusion,
        calibration_error=calibration_error(probabilities, targets),
        pair_accuracy=Proportion(int(((share >= 0.5) == (targets[pair] == 1)).sum()), int(pair.sum())),
        pair_auroc=auroc(share, targets[pair] == 1),
    )


def clustered(
    probabilities: Probabilities,
    targets: Targets,
    patients: Sequence[str],
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    draws: int = 1000,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the same measures from a bootstrap that draws whole patients (Field and Welsh, JRSS B 2007).

    Images of one patient are alike, so intervals over images are too narrow; these are not. By name: ``accuracy``; of
    more than two labels ``A against B accuracy`` and ``A against B AUROC`` of the first two; of each label ``LABEL
    AUROC``, ``LABEL sensitivity`` and ``LABEL specificity``. NaN where too few draws had both kinds of images.
    """
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    groups = [np.array(found) for found in rows.values()]
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        chosen = np.concatenate([groups[at] for at in generator.integers(len(groups), size=len(groups))])
        drawn = evaluate(probabilities[chosen], targets[chosen], labels, thresholds)
        for name, value in _named(drawn, labels).items():
            found.setdefault(name, []).append(value)
    return {name: _middle(np.array(values)) for name, values in found.items()}


def reliability(probabilities: Probabilities, targets: Targets, bins: int = 10) -> tuple[tuple[float, float, int], ...]:
    """Mean confidence, share that is right, and number of images of each bin of the top label's confidence."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return tuple(
        (float(confidence[which == b].mean()), float(correct[which == b].mean()), int((which == b).sum()))
        for b in range(bins)
        if (which == b).any()
    )


def by_source(probabilities: Probabilities, targets: Targets, sources: Sequence[str]) -> dict[str, Proportion]:
    """The accuracy on the images of each source."""
    right = probabilities.argmax(axis=1) == targets
    which = np.array(sources)
    return {
        source: Proportion(int(right[which == source].sum()), int((which == source).sum()))
        for source in sorted(set(sources))
    }


def _named(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, float]:
    values = {"accuracy": evaluation.accuracy.value}
    if len(labels) > 2:
        pair = " against ".join(labels[:2])
        values |= {f"{pair} accuracy": evaluation.pair_accuracy.value, f"{pair} AUROC": evaluation.pair_auroc}
    for label in evaluation.labels:
        values[f"{label.label} AUROC"] = label.auroc
        values[f"{label.label} sensitivity"] = label.sensitivity.value
        values[f"{label.label} specificity"] = label.specificity.value
    return values


def _middle(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    there = values[np.isfinite(values)]
    if len(there) < 0.9 * len(values):
        return math.nan, math.nan
    low, high = np.quantile(there, (0.025, 0.975))
    return float(low), float(high)


def choose_thresholds(probabilities: Probabilities, targets: Targets, labels: Sequence[str]) -> dict[str, float]:
    """Choose for each label the threshold with the highest sensitivity + specificity (Youden, Cancer 1950).

    A threshold lies half way between two neighbouring probabilities of the validation images, so that neither image
    sits on it; of equally good ones the lowest, which misses least.

    Raises `DataError` for a label that no validation image has, or that all have.
    """
    chosen = {}
    missing = [label for index, label in enumerate(labels) if (targets == index).all() or not (targets == index).any()]
    if missing:
        raise DataError(f"no threshold for {missing[0]!r}: the validation part has no image with it, or none without")
    for index, label in enumerate(labels):
        scores, positive = probabilities[:, index].astype(float), targets == index
        edges = np.unique(scores)
        candidates = (edges[1:] + edges[:-1]) / 2 if len(edges) > 1 else np.array([0.5])
        youden = [(scores[positive] >= c).mean() + (scores[~positive] < c).mean() for c in candidates]
        best = int(np.argmax(youden))
        chosen[label] = _rounded(float(candidates[best]), *map(float, edges[best : best + 2]))
    return chosen


def _rounded(middle: float, low: float = -math.inf, high: float = math.inf) -> float:
    """`middle` with four decimals, or as many more as it takes to stay between its neighbours."""
    return next((short for digits in range(4, 17) if low < (short := round(middle, digits)) < high), middle)


def calibration_error(probabilities: Probabilities, targets: Targets, bins: int = 10) -> float:
    """Return the expected calibration error of the top label (Guo et al., ICML 2017), in equal-width bins."""
    filled = reliability(probabilities, targets, bins)
    return float(sum(abs(confidence - right) * count for confidence, right, count in filled) / len(targets))
