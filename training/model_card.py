"""Writes a package's MODEL_CARD.md out of a run's own numbers; no figure in a card is typed by hand.

The headings follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.evaluation import LabelMeasures
from runtime.statistics import Proportion
from training.config import Kind, OptimisationConfig, TrainingConfig
from training.evaluation import Evaluation
from training.export import Cost
from training.radiographs import Division, Radiograph

_TEXTURE = """\
**This model looks at nothing but texture at the size of single pixels: it can see no shape, no size, no opacity.** That
the finest texture tells these labels apart better than shapes do, within one source too, means that much of what it
tells is how an image was made: device, bedside or upright, noise, sharpness, processing. Sick people are imaged
differently. Its accuracy on this collection says little about disease, and on images of other devices, sizes or
compression it must be expected to fail. It shows what such a figure is worth, and it carries the way
from image to report."""

_NUMERALS = {2: "two", 3: "three", 4: "four", 5: "five"}


@dataclass(frozen=True, slots=True)
class VariantNumbers:
    """What one file of the model costs, how far its outputs are from those of float32, and its test accuracy."""

    cost: Cost
    apart: Mapping[str, float]
    accuracy: Proportion


@dataclass(frozen=True, slots=True)
class CardNumbers:
    """What a run measured, for its card."""

    network: str
    parameters: int
    temperature: float
    folds: tuple[Proportion, ...]
    validation: Evaluation
    test: Evaluation
    intervals: Mapping[str, tuple[float, float]]
    sources: Mapping[str, Proportion]
    variants: Mapping[str, VariantNumbers]
    refused: Proportion  # of the test part, by the gate
    parity: float
    data_sha256: str


def write_card(config: TrainingConfig, division: Division, labels: Sequence[str], numbers: CardNumbers) -> str:
    """Return the card, Markdown."""
    package, known = config.package, numbers.data_sha256 == config.data.sha256
    parts = {"train": division.train, "validation": division.validation, "test": division.test}
    sections = [
        f"# {package.name} {package.version}\n\n{package.intended_use}",
        f"## Model\n\n{_model(config, labels, numbers)}",
        "## Limits\n\n" + "\n\n".join([_limits(config, parts, numbers), *([_TEXTURE] if _is_texture(config) else [])]),
        *([f"## How the settings were chosen\n\n{package.remarks}"] if package.remarks and known else []),
        f"## Data\n\n{_data(parts, labels, numbers.data_sha256, config)}",
        f"## Results on the test part\n\n{_results(numbers.test, labels)}\n\n{_gate(numbers)}\n\n{_PLOTS}",
        f"## Intervals over patients\n\n{_intervals(numbers)}",
        *([f"## Cross-validation\n\n{_folds(numbers.folds, _classes(labels))}"] if numbers.folds else []),
        f"## By source\n\n{_sources(numbers, _classes(labels))}",
        f"## Precisions\n\n{_variants(numbers)}",
        "## Results on the validation part\n\nSettings, thresholds and temperature were chosen here: these flatter."
        f"\n\n{_results(numbers.validation, labels)}",
        f"## Operating points\n\n{_operating_points(numbers)}",
        f"## Licences\n\n{_licences(config, numbers)}",
    ]
    return "\n\n".join(sections) + "\n"


def _model(config: TrainingConfig, labels: Sequence[str], numbers: CardNumbers) -> str:
    size, run = config.package.input_size, config.optimisation
    fitted = (
        f"- Fitted by minimising one convex function (penalties "
        f"{', '.join(f'{penalty:g}' for penalty in config.texture.penalties)}): the same data give the same "
        "weights. Temperature and thresholds were chosen on the validation part by a fit to the training part; then "
        "the layer was fitted to both."
        if _is_texture(config)
        else f"- {_epochs(run)}, AdamW, {run.schedule} schedule; {'average of the ' if run.ema_decay else ''}weights "
        "at the last epoch (no epoch was picked by its score)."
    )
    return "\n".join(
        (
            f"- {numbers.network}; {numbers.parameters:,} parameters, none from another model.",
            f"- Input: one frontal chest radiograph, rendered for presentation, {size} × {size}, grey, white is bone.",
            f"- Outputs: probabilities of {', '.join(labels)} that sum to 1; a class activation map of each; the "
            "features that they come from.",
            fitted,
            f"- Calibrated with one temperature, {numbers.temperature:.3f}.",
            f"- Largest difference between the trained and the packaged model's probabilities: {numbers.parity:.1e}.",
            "- How it was trained, and every number of this card: `training.json` beside it.",
        )
    )


def _epochs(run: OptimisationConfig) -> str:
    if not run.patience:
        return f"{run.epochs} epochs"
    return (
        f"At most {run.epochs} epochs, fewer where {run.patience} in a row brought no lower loss on the validation part"
    )


def _limits(config: TrainingConfig, parts: dict[str, tuple[Radiograph, ...]], numbers: CardNumbers) -> str:
    """What the data cannot show: in the settings' words where they are of these data, else by their sources."""
    if numbers.data_sha256 == config.data.sha256:
        return f"{config.data.limits}\nNo image comes from the site where you read this."
    found = sorted({(one.label, one.source) for part in parts.values() for one in part})
    return (
        "Where a label's images come from a source of their own, a model can tell the source (device, processing, "
        "cropping, side markers) instead of the disease, and these figures cannot show how much of the result is "
        "that. The sources of these images are:\n\n" + _table(("label", "source"), found)
    )


def _data(parts: dict[str, tuple[Radiograph, ...]], labels: Sequence[str], digest: str, config: TrainingConfig) -> str:
    rows = [
        (name, *(str(sum(r.label == label for r in part)) for label in labels), str(len({r.patient for r in part})))
        for name, part in parts.items()
    ]
    return (
        f"Divided by patient (seed {config.split.seed}): no patient is in two parts. SHA-256 of images and labels: "
        f"`{digest}`.\n\n" + _table(("part", *labels, "patients"), rows)
    )


def _results(evaluation: Evaluation, labels: Sequence[str]) -> str:
    pair = (
        f"- {labels[0]} against {labels[1]} alone: {_percent(evaluation.pair_accuracy)}, "
        f"AUROC {evaluation.pair_auroc:.3f}\n"
    )
    confusion = [(label, *map(str, row)) for label, row in zip(labels, evaluation.confusion, strict=True)]
    return "\n\n".join(
        (
            f"- Accuracy, {_classes(labels)}: {_percent(evaluation.accuracy)}\n"
            f"{pair if len(labels) > 2 else ''}"
            f"- Expected calibration error: {evaluation.calibration_error:.3f}",
            _table(
                ("label", "AUROC", "sensitivity at threshold", "specificity at threshold"),
                [_measures(measures) for measures in evaluation.labels],
            ),
            _table(("true label ↓, likeliest label →", *labels), confusion),
            "These are 95 % score intervals over images; several images of one patient make them too narrow.",
        )
    )


def _gate(numbers: CardNumbers) -> str:
    return (
        f"In service the gate refuses {_percent(numbers.refused)} of these images as unusual and says nothing of them; "
        "all of them are in the figures above. Its limits were set without the test part."
    )


def _measures(measures: LabelMeasures) -> tuple[str, ...]:
    return (
        measures.label,
        f"{measures.auroc:.3f}",
        _percent(measures.sensitivity),
        _percent(measures.specificity),
    )


_PLOTS = """\
![Receiver operating characteristic](roc.png)
![Reliability](reliability.png)
![Confusion](confusion.png)"""


def _intervals(numbers: CardNumbers) -> str:
    rows = [
        (name, f"{low:.3f}–{high:.3f}" if math.isfinite(low) else "too few patients")
        for name, (low, high) in numbers.intervals.items()
    ]
    return (
        "95 % intervals on the test part from a bootstrap that draws whole patients. They say how another draw of "
        "patients from the same sources would vary, nothing about another hospital.\n\n" + _table(("", "95 %"), rows)
    )


def _is_texture(config: TrainingConfig) -> bool:
    return config.network.kind is Kind.TEXTURE


def _folds(folds: Sequence[Proportion], classes: str) -> str:
    together = Proportion(sum(fold.hits for fold in folds), sum(fold.total for fold in folds))
    rows = [(str(number), _percent(fold)) for number, fold in enumerate(folds, 1)]
    return (
        f"Accuracy, {classes}, of the same settings fitted anew for each of {len(folds)} folds by patient; each "
        "image was tested once, by a model that had seen no image of its patient.\n\n"
        + _table(("fold", "accuracy"), [*rows, ("all", _percent(together))])
    )


def _sources(numbers: CardNumbers, classes: str) -> str:
    rows = [(source, _percent(accuracy)) for source, accuracy in numbers.sources.items()]
    return f"Accuracy, {classes}, on the test part.\n\n" + _table(("source", "accuracy"), rows)


def _variants(numbers: CardNumbers) -> str:
    rows = [
        (
            precision,
            f"{one.cost.megabytes:.1f} MB",
            f"{one.cost.milliseconds:.1f} ms",
            _percent(one.accuracy),
            f"{one.apart['probabilities']:.3f}" if one.apart else "",
        )
        for precision, one in numbers.variants.items()
    ]
    head = ("", "size", "one image, CPU", "test accuracy", "largest difference of a probability")
    return _table(head, rows) + "\n\nTimes are those of the machine that made it, and of what else that did."


def _operating_points(numbers: CardNumbers) -> str:
    rows = [
        (one.label, max(f"{one.threshold:.4f}", repr(one.threshold), key=len))  # none of it is rounded away
        for one in numbers.test.labels
    ]
    return (
        "Chosen on the validation part: the highest sensitivity + specificity of each label. The labels are judged one "
        "by one, so an image can reach two thresholds, or none.\n\n" + _table(("label", "threshold"), rows)
    )


def _licences(config: TrainingConfig, numbers: CardNumbers) -> str:
    known = numbers.data_sha256 == config.data.sha256
    images = config.data.licences if known else "What the images that it learnt from may be used for is not known here."
    return f"Weights: {config.package.licence}. {images} No image is part of this package."


def _classes(labels: Sequence[str]) -> str:
    return f"{_NUMERALS.get(len(labels), len(labels))} classes"


def _percent(proportion: Proportion) -> str:
    low, high = proportion.interval
    interval = f"95 % CI {100 * low:.1f}–{100 * high:.1f}"
    return f"{100 * proportion.value:.1f} % ({proportion.hits}/{proportion.total}; {interval})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
