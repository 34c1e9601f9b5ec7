"""Trains, measures and packages the chest classifier: ``python -m training.chest_xray --data DIR --out DIR``.

One run: divide by patient, fit on the training part, choose temperature and thresholds on the validation part, write
the package, and measure that very file, preprocessed as the daemon does, on the test part. Nothing is ever chosen on
the test part. ``--folds 5`` cross-validates instead (no package; a later run of the same settings into the same folder
puts its figures on the card); ``--weights FILE`` packages an earlier run's weights; ``--resume`` goes on where an
interrupted run stopped.
"""

import argparse
import dataclasses
import json
import math
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from runtime import RuntimeFailure
from runtime.drift import fit_reference
from runtime.evaluation import Probabilities
from runtime.gate import Gate, fit_gate
from runtime.package import write_arrays
from runtime.statistics import Proportion
from training.config import Kind, TrainingConfig, read_config
from training.errors import CheckpointError, ConfigError, TrainingError
from training.evaluation import Evaluation, by_source, choose_thresholds, clustered, evaluate
from training.export import (
    Answers,
    check_parity,
    cost,
    difference,
    run_onnx,
    write_float16,
    write_int8,
    write_onnx,
)
from training.fitting import Examples, Fitted, Report, check_device, fit, fit_temperature, predict_logits
from training.gating import fit_texture_gate
from training.inputs import Part, label_indices, load_inputs
from training.inspection import inspect_images
from training.model_card import CardNumbers, VariantNumbers, write_card
from training.network import Calibrated, ChestXrayNetwork, Explained, as_images
from training.packaging import LEVELS, check_inputs, write_description
from training.plots import draw
from training.radiographs import Division, Radiograph, check_parts, digest, divide, fold, read_labels
from training.texture import TextureNetwork, fit_texture

Write = Callable[[Path, Path], None]

_CALIBRATION_IMAGES = 200
_SLACK = 2.0  # of a variant's tolerance, over the largest difference that was seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.chest_xray", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv and the images or DICOM files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("chest_xray.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--folds", type=int, help="cross-validate with this many folds")
    parser.add_argument("--seed", type=int, help="seed of the weights and of the augmentation")
    parser.add_argument("--weights", type=Path, help="weights.pt of an earlier run: measure and package, do not fit")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    options = parser.parse_args(arguments)
    overrides = list(options.overrides)
    overrides += [f"folds={options.folds}"] if options.folds is not None else []
    overrides += [f"optimisation.seed={options.seed}"] if options.seed is not None else []
    try:
        config = read_config(options.config, overrides)
        if config.folds and options.weights:
            raise ConfigError("--weights: each fold of a cross-validation is fitted anew; leave one of the two out")
        if config.network.kind is Kind.RESIDUAL:
            check_device(config.device)
        options.out.mkdir(parents=True, exist_ok=True)
        run = Run(config, options.data, options.out, _say, resume=options.resume)
        if config.folds:
            run.cross_validate()
        else:
            run.train(options.weights)
    except (TrainingError, RuntimeFailure) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or options.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return _failed("interrupted")
    return 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the program: what it was asked, and where it writes."""

    config: TrainingConfig
    data: Path
    out: Path
    report: Report
    resume: bool = False

    @property
    def _labels(self) -> tuple[str, ...]:
        return self.config.label_names

    def train(self, weights: Path | None = None) -> Evaluation:
        """Fit (or take `weights`), package into `out` and return the measures on the test part."""
        radiographs = self._radiographs()
        data_digest = digest(self.data, radiographs)
        split = self.config.split
        division = divide(radiographs, split.seed, split.validation, split.test, self._labels)
        check_parts([division], self._labels)
        folds = self._folds(data_digest)
        fitted = self._read(weights) if weights else self._fit(division, self.out / "checkpoints", data_digest)
        both = {"network": fitted.network.state_dict(), "trial": fitted.trial.state_dict()}
        saved = BytesIO()  # to a full disk torch would write with an error that does not say so
        torch.save(both, saved)
        (self.out / "weights.pt").write_bytes(saved.getvalue())
        evaluation = self._package(fitted, division, data_digest, folds)
        self.report(f"test accuracy {_text(evaluation.accuracy)}; package in {self.out / self.config.package.name}")
        return evaluation

    def cross_validate(self) -> Evaluation:
        """Fit once for each fold and return the measures over all test parts together; write them to `out`.

        Folds that an interrupted run had finished are read, not fitted again, with ``--resume``.
        """
        radiographs = self._radiographs()
        data_digest = digest(self.data, radiographs)
        folds, probabilities, tested = [], [], []
        divisions = fold(radiographs, self.config.split.seed, self.config.folds, self._labels)
        check_parts(divisions, self._labels)
        for number, division in enumerate(divisions):
            self.report(f"fold {number + 1} of {self.config.folds}")
            checkpoints = self.out / "checkpoints" / f"fold-{number + 1}"
            fitted = self._fit(division, checkpoints, data_digest)
            validation, test = self._part(division.validation), self._part(division.test)
            temperature = self._temperature(fitted, validation)
            on_validation = _probabilities(fitted.trial, temperature, validation)
            thresholds = choose_thresholds(on_validation, validation.targets, self._labels)
            probabilities.append(_probabilities(fitted.network, temperature, test))
            tested.append(test)
            folds.append(evaluate(probabilities[-1], test.targets, self._labels, thresholds))
            self.report(f"fold {number + 1}: accuracy {_text(folds[-1].accuracy)}")
        even = dict.fromkeys(
            self._labels, 0.5
        )  # thresholds differ from fold to fold, so the pooled operating point is even
        together, targets = np.concatenate(probabilities), np.concatenate([part.targets for part in tested])
        patients = [patient for part in tested for patient in part.patients]
        sources = [radiograph.source for part in tested for radiograph in part.radiographs]
        pooled = evaluate(together, targets, self._labels, even)
        accuracies = [one.accuracy.value for one in folds]
        summary = {
            "pooled": dataclasses.asdict(pooled),
            "intervals": clustered(together, targets, patients, self._labels, even),
            "by_source": {name: dataclasses.asdict(one) for name, one in by_source(together, targets, sources).items()},
            "folds": [dataclasses.asdict(one) for one in folds],
            "mean_accuracy": float(np.mean(accuracies)),
            "accuracy_deviation": float(np.std(accuracies)),
            "data_sha256": data_digest,
            "config": self.config.to_dict(),
        }
        _write_json(self.out / "cross_validation.json", summary)
        draw(self.out, together, targets, self._labels, pooled)
        self.report(f"pooled accuracy {_text(pooled.accuracy)}, mean of folds {np.mean(accuracies):.4f}")
        return pooled

    def _radiographs(self) -> tuple[Radiograph, ...]:
        radiographs = read_labels(self.data, self._labels)
        inspect_images(self.data, radiographs)
        return radiographs

    def _fit(self, division: Division, checkpoints: Path, data_digest: str) -> Fitted:
        texture = self.config.network.kind is Kind.TEXTURE
        size = self.config.package.input_size if texture else self.config.augmentation.base_size
        images = as_images(torch.from_numpy(load_inputs(self.data, division.train, size)))
        train = Examples(images, torch.from_numpy(label_indices(division.train, self._labels)))
        held = self._part(division.validation)
        validation = Examples(held.images, torch.from_numpy(held.targets))
        if texture:
            torch.set_num_threads(self.config.device.threads)
            return fit_texture(train, validation, len(self._labels), self.config)
        begun = any(checkpoints.glob("epoch-*.ckpt"))
        resume = self.resume and (begun or not self.config.folds)  # a later fold may have finished no epoch
        network = fit(
            train, validation, len(self._labels), self.config, checkpoints, data_digest, self.report, resume=resume
        )
        return Fitted(network, network)

    def _read(self, path: Path) -> Fitted:
        fitted = Fitted(self._blank(), self._blank())
        try:
            saved = torch.load(path, weights_only=True)
            fitted.network.load_state_dict(saved["network"])
            fitted.trial.load_state_dict(saved["trial"])
        except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: holds no weights of such a network ({type(error).__name__})") from error
        return fitted

    def _blank(self) -> ChestXrayNetwork | TextureNetwork:
        if self.config.network.kind is Kind.TEXTURE:
            return TextureNetwork(self.config.texture, len(self._labels), self.config.package.input_size).eval()
        return ChestXrayNetwork(self.config.network, len(self._labels)).eval()

    def _part(self, radiographs: tuple[Radiograph, ...]) -> Part:
        return Part.load(self.data, radiographs, self.config.package.input_size, self._labels)

    def _temperature(self, fitted: Fitted, part: Part) -> float:
        logits = predict_logits(fitted.trial, part.images)
        return fit_temperature(logits, torch.from_numpy(part.targets))

    def _folds(self, data_digest: str) -> tuple[Proportion, ...]:
        """Right answers in each fold of a cross-validation of these settings and data in this folder, if there is one.

        What no fold depends on may differ: the device, the package's own words and the embedding.
        """
        path = self.out / "cross_validation.json"
        if not path.exists():
            return ()
        ours = (data_digest, _of_folds(self.config.to_dict()))
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            if (summary["data_sha256"], _of_folds(summary["config"])) == ours:
                return tuple(Proportion(**fold["accuracy"]) for fold in summary["folds"])
        except (ValueError, KeyError, TypeError):
            pass  # of an earlier version, or half written
        raise CheckpointError(f"{path}: is of other settings or data; write to another folder, or remove it")

    def _gate(self, network: nn.Module, model: Path, train: Part, validation: Part) -> Gate:
        if isinstance(network, TextureNetwork):
            return fit_texture_gate(network, train, validation, self.config.split.seed, self._labels)
        seen = np.concatenate([train.inputs, validation.inputs])
        embeddings, held = (run_onnx(model, part.inputs)["embedding"] for part in (train, validation))
        return fit_gate(seen, levels=LEVELS, embeddings=embeddings, classes=train.targets, held_embeddings=held)

    def _package(
        self, fitted: Fitted, division: Division, data_digest: str, folds: tuple[Proportion, ...]
    ) -> Evaluation:
        network = fitted.network
        folder = self.out / self.config.package.name
        folder.mkdir(exist_ok=True)
        model = folder / "model.onnx"
        size = self.config.package.input_size
        train, validation, test = (self._part(p) for p in (division.train, division.validation, division.test))
        temperature = self._temperature(fitted, validation)
        calibrated = Calibrated(network, temperature)
        write_onnx(calibrated, size, model)
        parity = check_parity(calibrated, model, torch.from_numpy(validation.inputs))
        on_validation, on_test = _probabilities(fitted.trial, temperature, validation), run_onnx(model, test.inputs)
        thresholds = choose_thresholds(on_validation, validation.targets, self._labels)

        drawn = check_inputs(size)
        answers, on_held = run_onnx(model, drawn), run_onnx(model, validation.inputs)
        named: dict[str, Any] = {"input:image": drawn, **{f"output:{name}": value for name, value in answers.items()}}
        (folder / "check.npz").write_bytes(write_arrays(named))
        calibration = train.inputs[:: max(1, len(train.inputs) // _CALIBRATION_IMAGES)]
        threads = self.config.package.sample_threads or 2
        variants = {"float32": VariantNumbers(cost(model, size, threads), {}, _accuracy(on_test, test))}
        tolerances = {}
        quantise = partial(write_int8, calibration=calibration, operators=cast(Explained, network).quantised)
        counts = self.config.network.kind is Kind.TEXTURE  # beyond what half precision can count
        halve: dict[str, Write] = {} if counts else {"float16": write_float16}
        forms: dict[str, Write] = {**halve, "int8": quantise}
        for precision, write in forms.items():
            packaged = precision in self.config.package.variants
            file = (folder if packaged else self.out) / f"model.{precision}.onnx"
            write(model, file)
            if packaged:
                seen = ((drawn, answers), (validation.inputs, on_held))
                apart = max(max(difference(run_onnx(file, inputs), them).values()) for inputs, them in seen)
                tolerances[precision] = float(f"{_SLACK * apart:.2g}")
            there = run_onnx(file, test.inputs)
            variants[precision] = VariantNumbers(
                cost(file, size, threads), difference(there, on_test), _accuracy(there, test)
            )

        gate = self._gate(network, model, train, validation)
        gate.write(folder / "gate.npz")
        reference = fit_reference(
            validation.inputs, levels=LEVELS, embeddings=on_held["embedding"], scores=on_validation
        )
        reference.write(folder / "reference.json")

        tested = evaluate(on_test["probabilities"], test.targets, self._labels, thresholds)
        numbers = CardNumbers(
            network=cast(Explained, network).description,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            temperature=temperature,
            folds=folds,
            validation=evaluate(on_validation, validation.targets, self._labels, thresholds),
            test=tested,
            intervals=clustered(on_test["probabilities"], test.targets, test.patients, self._labels, thresholds),
            sources=by_source(on_test["probabilities"], test.targets, [r.source for r in test.radiographs]),
            variants=variants,
            refused=_refused(gate, on_test, test),
            parity=parity,
            data_sha256=data_digest,
        )
        draw(folder, on_test["probabilities"], test.targets, self._labels, tested)
        (folder / "MODEL_CARD.md").write_text(
            write_card(self.config, division, self._labels, numbers), encoding="utf-8"
        )
        _write_json(folder / "training.json", {"config": self.config.to_dict(), "numbers": dataclasses.asdict(numbers)})
        metrics = {
            "accuracy (test part)": round(tested.accuracy.value, 4),
        }
        if len(self._labels) > 2:
            pair = " against ".join(self._labels[:2])
            metrics[f"accuracy, {pair} (test part)"] = round(tested.pair_accuracy.value, 4)
        if folds:
            together = Proportion(sum(fold.hits for fold in folds), sum(fold.total for fold in folds))
            metrics[f"accuracy ({len(folds)} folds by patient)"] = round(together.value, 4)
        learnt_from = len(division.train) + (len(division.validation) if fitted.trial is not network else 0)
        write_description(folder, self.config, thresholds, learnt_from, data_digest, answers, tolerances, metrics)
        return tested


def _of_folds(config: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the figures of a cross-validation depend."""
    settings = {name: config[name] for name in ("split", "network", "texture", "augmentation", "optimisation")}
    settings |= {"labels": [label["name"] for label in config["labels"]], "size": config["package"]["input_size"]}
    return settings | {"texture": settings["texture"] | {"embedding": None}}


def _probabilities(network: nn.Module, temperature: float, part: Part) -> Probabilities:
    logits = predict_logits(network, part.images)
    return torch.softmax(logits / temperature, dim=1).numpy()


def _accuracy(answers: Answers, part: Part) -> Proportion:
    right = answers["probabilities"].argmax(axis=1) == part.targets
    return Proportion(int(right.sum()), len(right))


def _refused(gate: Gate, answers: Answers, part: Part) -> Proportion:
    verdicts = gate.judge(part.inputs, answers["embedding"])
    return Proportion(sum(not verdict.fits for verdict in verdicts), len(verdicts))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(_told(value), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _told(value: Any) -> Any:
    """The same for JSON, which has no number for what could not be measured."""
    if isinstance(value, dict):
        return {key: _told(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(proportion: Proportion) -> str:
    low, high = proportion.interval
    return f"{proportion.value:.4f} ({proportion.hits}/{proportion.total}, 95 % CI {low:.4f}–{high:.4f})"


def _failed(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
