"""The plots of a run as PNG: receiver operating characteristic, reliability, confusion. Drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from runtime.evaluation import Probabilities, Targets
from training.evaluation import Evaluation, reliability

_COLOURS = ("#0b6e99", "#d1662b", "#4d8b31", "#7b4ea3", "#8a8a8a")
_STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120}


def draw(
    folder: Path, probabilities: Probabilities, targets: Targets, labels: Sequence[str], evaluation: Evaluation
) -> None:
    """Write ``roc.png``, ``reliability.png`` and ``confusion.png`` into `folder`."""
    with mpl.rc_context(_STYLE):
        _roc(probabilities, targets, labels, evaluation).savefig(folder / "roc.png", metadata={"Software": None})
        _reliability(probabilities, targets).savefig(folder / "reliability.png", metadata={"Software": None})
        _confusion(labels, evaluation).savefig(folder / "confusion.png", metadata={"Software": None})


def _roc(probabilities: Probabilities, targets: Targets, labels: Sequence[str], evaluation: Evaluation) -> Figure:
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    for index, (label, measures) in enumerate(zip(labels, evaluation.labels, strict=True)):
        positive = targets == index
        order = np.argsort(-probabilities[:, index], kind="stable")
        hits, alarms = np.cumsum(positive[order]), np.cumsum(~positive[order])
        colour = _COLOURS[index % len(_COLOURS)]
        axes.step(
            np.r_[0, alarms / max(1, alarms[-1])],
            np.r_[0, hits / max(1, hits[-1])],
            where="post",
            color=colour,
            label=f"{label} (AUROC {measures.auroc:.3f}, n = {positive.sum()})",
        )
        point = (1 - measures.specificity.value, measures.sensitivity.value)
        axes.plot(*point, marker="o", color=colour, markeredgecolor="white", markersize=8)
    axes.set(xlabel="1 - specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    axes.set_title("Each label against the others; dots: operating points", fontsize=10)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def _reliability(probabilities: Probabilities, targets: Targets) -> Figure:
    filled = reliability(probabilities, targets)
    confidence, right, count = (np.array(column) for column in zip(*filled, strict=True))
    figure = Figure(figsize=(5, 5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    above.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--", label="perfectly calibrated")
    above.plot(confidence, right, marker="o", color=_COLOURS[0], label="model")
    above.set(ylabel="Share that is right", ylim=(0, 1.02), title="Reliability of the likeliest label")
    above.legend(loc="upper left", frameon=False)
    below.bar(confidence, count, width=0.06, color=_COLOURS[0])
    below.set(xlabel="Confidence", ylabel="Images", xlim=(0, 1.02))
    return figure


def _confusion(labels: Sequence[str], evaluation: Evaluation) -> Figure:
    counts = np.array(evaluation.confusion)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, f"{count}\n{share[row, column]:.0%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="Likeliest label", ylabel="True label", title="Images (share of the row)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure
