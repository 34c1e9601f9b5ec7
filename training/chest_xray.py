"""Trains, measures and packages the chest classifier: ``python -m training.chest_xray --data DIR --out DIR``.

One run: divide by patient, fit on the training part, choose temperature and thresholds on the validation part, write
the package, and measure that very file, preprocessed as the daemon does, on the test part. Nothing is ever chosen on
the test part. ``--folds 5`` cross-validates instead (no package); ``--weights FILE`` packages an earlier run's weights.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from runtime.preprocess import to_input
from training.config import TrainingConfig, read_config
from training.errors import TrainingError
from training.evaluation import Evaluation, Proportion, choose_thresholds, evaluate
from training.export import check_parity, run_onnx, write_onnx
from training.fitting import fit, fit_temperature, predict_logits
from training.model_card import CardNumbers, write_card
from training.network import Calibrated, ChestXrayNetwork
from training.packaging import preprocessing, write_description
from training.radiographs import LABELS, Division, Radiograph, divide, fold, read_image, read_labels

Report = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.chest_xray", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("chest_xray.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--folds", type=int, help="cross-validate with this many folds")
    parser.add_argument("--seed", type=int, help="seed of the weights and of the augmentation")
    parser.add_argument("--weights", type=Path, help="weights.pt of an earlier run: measure and package, do not fit")
    options = parser.parse_args(arguments)
    overrides = list(options.overrides)
    overrides += [f"folds={options.folds}"] if options.folds is not None else []
    overrides += [f"optimisation.seed={options.seed}"] if options.seed is not None else []
    try:
        config = read_config(options.config, overrides)
        options.out.mkdir(parents=True, exist_ok=True)
        if config.folds:
            cross_validate(config, options.data, options.out, _say)
        else:
            train(config, options.data, options.out, _say, weights=options.weights)
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def train(config: TrainingConfig, data: Path, out: Path, report: Report, *, weights: Path | None = None) -> Evaluation:
    """Fit (or take `weights`), package into `out` and return the measures on the test part."""
    radiographs = read_labels(data)
    division = divide(radiographs, config.split.seed, config.split.validation, config.split.test)
    network = _read_weights(config, weights) if weights else _fit(config, data, division.train, report)
    torch.save(network.state_dict(), out / "weights.pt")
    package = out / config.package.name
    package.mkdir(exist_ok=True)
    model = package / "model.onnx"

    validation = torch.from_numpy(load_inputs(data, division.validation, config.package.input_size))
    targets = label_indices(division.validation)
    temperature = fit_temperature(predict_logits(network, validation), torch.from_numpy(targets))
    calibrated = Calibrated(network, temperature)
    write_onnx(calibrated, config.package.input_size, model)
    parity = check_parity(calibrated, model, validation)
    on_validation = run_onnx(model, validation.numpy())
    thresholds = choose_thresholds(on_validation, targets, LABELS)

    on_test = run_onnx(model, load_inputs(data, division.test, config.package.input_size))
    numbers = CardNumbers(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        temperature=temperature,
        validation=evaluate(on_validation, targets, LABELS, thresholds),
        test=evaluate(on_test, label_indices(division.test), LABELS, thresholds),
        parity=parity,
        labels_sha256=hashlib.sha256((data / "labels.csv").read_bytes()).hexdigest(),
    )
    _write_package(package, config, division, thresholds, numbers)
    report(f"test accuracy {_text(numbers.test.accuracy)}; package in {package}")
    return numbers.test


def cross_validate(config: TrainingConfig, data: Path, out: Path, report: Report) -> Evaluation:
    """Fit once for each fold and return the measures over all test parts together; write them to `out`."""
    radiographs = read_labels(data)
    probabilities, targets, folds = [], [], []
    for number, division in enumerate(fold(radiographs, config.split.seed, config.folds)):
        report(f"fold {number + 1} of {config.folds}")
        network = _fit(config, data, division.train, report)
        size = config.package.input_size
        held = torch.from_numpy(load_inputs(data, division.validation, size))
        held_targets = label_indices(division.validation)
        temperature = fit_temperature(predict_logits(network, held), torch.from_numpy(held_targets))
        calibrated = Calibrated(network, temperature)
        thresholds = choose_thresholds(predict_logits(calibrated, held).numpy(), held_targets, LABELS)
        tested = predict_logits(calibrated, torch.from_numpy(load_inputs(data, division.test, size))).numpy()
        probabilities.append(tested)
        targets.append(label_indices(division.test))
        folds.append(evaluate(tested, targets[-1], LABELS, thresholds))
        report(f"fold {number + 1}: accuracy {_text(folds[-1].accuracy)}")
    even = dict.fromkeys(LABELS, 0.5)  # the thresholds differ from fold to fold, so the pooled operating point is even
    pooled = evaluate(np.concatenate(probabilities), np.concatenate(targets), LABELS, even)
    accuracies = [one.accuracy.value for one in folds]
    summary = {
        "pooled": dataclasses.asdict(pooled),
        "folds": [dataclasses.asdict(one) for one in folds],
        "mean_accuracy": float(np.mean(accuracies)),
        "accuracy_deviation": float(np.std(accuracies)),
        "config": config.to_dict(),
    }
    _write_json(out / "cross_validation.json", summary)
    report(f"pooled accuracy {_text(pooled.accuracy)}, mean of folds {np.mean(accuracies):.4f}")
    return pooled


def load_inputs(data: Path, radiographs: Sequence[Radiograph], size: int) -> npt.NDArray[np.float32]:
    """Read and preprocess images exactly as the daemon does: float32 (N, 1, `size`, `size`) in [0, 1]."""
    specification = preprocessing(size)
    return np.stack([to_input(read_image(data, radiograph), specification) for radiograph in radiographs])


def label_indices(radiographs: Sequence[Radiograph]) -> npt.NDArray[np.int64]:
    """Return the index of each image's label in `LABELS`, (N,)."""
    return np.array([LABELS.index(radiograph.label) for radiograph in radiographs], dtype=np.int64)


def _fit(config: TrainingConfig, data: Path, part: Sequence[Radiograph], report: Report) -> ChestXrayNetwork:
    images = torch.from_numpy(load_inputs(data, part, config.augmentation.base_size))
    return fit(images, torch.from_numpy(label_indices(part)), len(LABELS), config, report)


def _read_weights(config: TrainingConfig, path: Path) -> ChestXrayNetwork:
    network = ChestXrayNetwork(config.network, len(LABELS))
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    return network


def _write_package(
    package: Path, config: TrainingConfig, division: Division, thresholds: dict[str, float], numbers: CardNumbers
) -> None:
    (package / "MODEL_CARD.md").write_text(write_card(config, division, LABELS, numbers), encoding="utf-8")
    _write_json(package / "training.json", {"config": config.to_dict(), "numbers": dataclasses.asdict(numbers)})
    write_description(package, config, thresholds, len(division.train))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _text(proportion: Proportion) -> str:
    low, high = proportion.interval
    return f"{proportion.value:.4f} ({proportion.hits}/{proportion.total}, 95 % CI {low:.4f}–{high:.4f})"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
