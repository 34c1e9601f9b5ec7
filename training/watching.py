"""What a package says about the images it was made from: the gate (`gate.npz`) and the reference (`reference.json`).

The gate tells images that the model was not made for. The reference holds the distributions that drift is measured
against. Both are statistics of many images; no image and no value of a single one is in them, but for the extremes.

``gate.npz``: ``mean`` (D,) and ``precision`` (D, D), float32, of the embedding; ``threshold``, the largest squared
Mahalanobis distance (x - mean)ᵀ precision (x - mean) of an image that is in place; ``statistics``, the names of the
input statistics of `input_statistics`, with ``low`` and ``high`` (S,), the limits of each.

``reference.json``: ``samples``, and for each of ``inputs.NAME``, ``embedding.norm`` and ``outputs.LABEL`` the
``quantiles`` at 0, 0.01, …, 1, of which any histogram can be made.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
STATISTICS = ("mean", "standard_deviation", "p05", "p50", "p95", "gradient")
_KEPT_SHARE = 0.99
_MARGIN = 0.5  # of the range of what was seen, on either side


def input_statistics(images: Array) -> npt.NDArray[np.float64]:
    """`STATISTICS` of each image of (N, 1, rows, columns): (N, 6). The gradient is the mean step between neighbours."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    steps = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)) + np.abs(np.diff(images, axis=3)).mean(axis=(1, 2, 3))
    return np.column_stack([flat.mean(axis=1), flat.std(axis=1), *np.percentile(flat, (5, 50, 95), axis=1), steps / 2])


def write_gate(path: Path, train: Array, embedding: Array, held: Array, held_embedding: Array) -> float:
    """Fit on training images, choose the threshold on validation images so that 99 % of them pass; return it.

    The covariance is shrunk towards a multiple of the identity by Ledoit and Wolf's estimate (J. Multivar. Anal. 2004),
    since there are hardly more images than features.
    """
    mean = embedding.mean(axis=0, dtype=np.float64)
    precision = np.linalg.inv(shrunk_covariance(embedding - mean))
    threshold = float(np.quantile(distances(held_embedding, mean, precision), _KEPT_SHARE))
    statistics = input_statistics(np.concatenate([train, held]))
    low, high = statistics.min(axis=0), statistics.max(axis=0)
    margin = _MARGIN * (high - low)
    np.savez(
        path,
        mean=mean.astype(np.float32),
        precision=precision.astype(np.float32),
        threshold=np.float32(threshold),
        statistics=np.array(STATISTICS),
        low=(low - margin).astype(np.float32),
        high=(high + margin).astype(np.float32),
    )
    return threshold


def distances(
    embedding: npt.NDArray[np.floating], mean: npt.NDArray[np.floating], precision: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """The squared Mahalanobis distance of each row of `embedding` (N, D) from `mean`: (N,)."""
    centred = embedding.astype(np.float64) - mean
    return np.asarray(np.einsum("ni,ij,nj->n", centred, precision, centred))


def shrunk_covariance(centred: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Ledoit and Wolf's estimate of the covariance (D, D) of rows whose mean is 0, (N, D)."""
    rows = centred.astype(np.float64)
    count, features = rows.shape
    sample = rows.T @ rows / count
    scale = np.trace(sample) / features
    target = scale * np.eye(features)
    spread = float(((sample - target) ** 2).sum())
    error = float(((rows**2).T @ (rows**2) / count - sample**2).sum()) / count
    share = min(1.0, error / spread) if spread else 1.0
    return np.asarray(share * target + (1 - share) * sample)


def write_reference(path: Path, images: Array, embedding: Array, probabilities: Array, labels: Sequence[str]) -> None:
    """Write the quantiles of all that is watched."""
    statistics = input_statistics(images)
    watched = {f"inputs.{name}": statistics[:, at] for at, name in enumerate(STATISTICS)}
    watched["embedding.norm"] = np.linalg.norm(embedding.astype(np.float64), axis=1)
    watched |= {f"outputs.{label}": probabilities[:, at].astype(np.float64) for at, label in enumerate(labels)}
    levels = np.linspace(0, 1, 101)
    content = {
        "samples": len(images),
        "quantiles": {name: [round(float(q), 6) for q in np.quantile(v, levels)] for name, v in watched.items()},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
