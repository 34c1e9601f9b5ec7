"""Measures of a classifier's scores against known labels, in numpy: accuracy, AUROC, sensitivity, specificity."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.statistics import Proportion

Probabilities = npt.NDArray[np.floating]
Targets = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """One label against all others. Sensitivity and specificity are at `threshold`."""

    label: str
    auroc: float
    threshold: float
    sensitivity: Proportion
    specificity: Proportion


@dataclass(frozen=True, slots=True)
class Measures:
    """Of one set of samples. `confusion[i][j]` counts samples of label i whose likeliest label is j."""

    accuracy: Proportion
    labels: tuple[LabelMeasures, ...]
    confusion: tuple[tuple[int, ...], ...]


def measure(
    probabilities: Probabilities, targets: Targets, labels: Sequence[str], thresholds: Mapping[str, float]
) -> Measures:
    """Measure `probabilities` (N, classes) against `targets` (N,), the index of each sample's label."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (targets, predicted), 1)
    return Measures(
        accuracy=Proportion(int((predicted == targets).sum()), len(targets)),
        labels=tuple(
            _of_label(label, probabilities[:, index], targets == index, thresholds[label])
            for index, label in enumerate(labels)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def auroc(scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a positive scores above a negative, ties counted half; NaN if either is missing."""
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low):
        return math.nan
    order = np.sort(low)
    below, up_to = np.searchsorted(order, high, "left"), np.searchsorted(order, high, "right")
    return float((below + up_to).mean() / (2 * len(low)))


def _of_label(
    label: str, scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_], threshold: float
) -> LabelMeasures:
    scores = scores.astype(np.float64)  # beside float32, numpy would round the threshold to one
    return LabelMeasures(
        label=label,
        auroc=auroc(scores, positive),
        threshold=threshold,
        sensitivity=Proportion(int((scores[positive] >= threshold).sum()), int(positive.sum())),
        specificity=Proportion(int((scores[~positive] < threshold).sum()), int((~positive).sum())),
    )
