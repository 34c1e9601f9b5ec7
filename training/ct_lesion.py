"""Trains and packages the sample of a segmentation: ``python -m training.ct_lesion --out DIR``.

A small 3D U-Net of MONAI learns lungs and lesions of drawn volumes (`training.ct_phantoms`). It carries the way
volume → mask → millilitres; no image of a person was in its training, and none must be given to it. Its Dice
coefficients are of phantoms that it was not trained on, and say nothing about people.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import lightning
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from monai.losses.dice import DiceLoss
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pipelines.volume import millilitres
from runtime import RuntimeFailure
from runtime.gate import fit_gate
from runtime.package import write_arrays, write_package
from training.config import read_settings, require, section
from training.ct_phantoms import SHAPE, Phantom, draw_phantom
from training.errors import ConfigError, ParityError, TrainingError

CHANNELS: Final = ("lung", "lesion")
_LOW, _HIGH = -1000.0, 400.0  # Hounsfield units that become 0 and 1
_OPSET: Final = 17
_TOLERANCE: Final = 1e-3  # of a probability, between network and file, and between devices
_LEVELS: Final = (-1024.0, 3071.0)

Volumes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PhantomConfig:
    """How many volumes are drawn, and from which seed on; those of the test part follow those of training."""

    seed: int
    train: int
    test: int

    def __post_init__(self) -> None:
        require("phantoms", "at least 1", train=self.train >= 1, test=self.test >= 1)


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """Channels of each level, each half as large as the one before; residual units of each."""

    channels: tuple[int, ...]
    residual_units: int

    def __post_init__(self) -> None:
        require("unet", "at least two, each at least 1", channels=len(self.channels) > 1 and min(self.channels) >= 1)
        require("unet", "at least 0", residual_units=self.residual_units >= 0)


@dataclass(frozen=True, slots=True)
class FittingConfig:
    """Adam, with a rate that falls to 0 along half a cosine."""

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    threads: int

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "threads")
        require("fitting", "at least 1", **{name: getattr(self, name) >= 1 for name in counts})
        require("fitting", "at least 0", learning_rate=self.learning_rate >= 0)


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """What the package says of itself."""

    name: str
    version: str
    licence: str
    intended_use: str


@dataclass(frozen=True, slots=True)
class LesionConfig:
    """A whole run."""

    phantoms: PhantomConfig
    unet: UNetConfig
    fitting: FittingConfig
    sample: SampleConfig

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str] = ()) -> "LesionConfig":
        """Read the TOML file. Raises `ConfigError`."""
        raw = read_settings(path, overrides)
        unknown = set(raw) - {"phantoms", "unet", "fitting", "sample"}
        if unknown:
            raise ConfigError(f"unknown key {sorted(unknown)[0]!r}")
        return cls(
            section("phantoms", raw, PhantomConfig),
            section("unet", raw, UNetConfig),
            section("fitting", raw, FittingConfig),
            section("sample", raw, SampleConfig),
        )


@dataclass(frozen=True, slots=True)
class Measures:
    """On phantoms that were not learnt from: Dice coefficients of each channel, and errors of the lesions' volume."""

    lung: npt.NDArray[np.float64]
    lesion: npt.NDArray[np.float64]  # of those that have one
    false_ml: npt.NDArray[np.float64]  # found in those that have none
    error_ml: npt.NDArray[np.float64]  # absolute, of those that have one
    lesion_ml: npt.NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.ct_lesion", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the package's folder to")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("ct_lesion.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    options = parser.parse_args(arguments)
    try:
        config = LesionConfig.read(options.config, options.overrides)
        options.out.mkdir(parents=True, exist_ok=True)
        measures = make(config, options.out)
    except (TrainingError, RuntimeFailure) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or options.out}: {error.strerror or error}\n")
        return 1
    sys.stdout.write(f"Dice of lesions {measures.lesion.mean():.3f}, of lungs {measures.lung.mean():.3f}\n")
    return 0


def make(config: LesionConfig, out: Path) -> Measures:
    """Draw, fit, package into a folder of `out`, and measure the packaged file."""
    drawn = config.phantoms
    train = [draw_phantom(drawn.seed + number) for number in range(drawn.train)]
    test = [draw_phantom(drawn.seed + drawn.train + number) for number in range(drawn.test)]
    network = fit_segmentation(config, train)
    folder = out / config.sample.name
    folder.mkdir(parents=True, exist_ok=True)
    _write_onnx(network, folder / "model.onnx")
    _check_parity(network, folder / "model.onnx", volumes_of(test[:2]))
    measures = _measure(folder / "model.onnx", test)
    _package(config, folder, train, measures, sum(parameter.numel() for parameter in network.parameters()))
    return measures


class Segmentation(nn.Module):
    """Volumes (N, 1, slices, rows, columns) in Hounsfield units to probabilities (N, 2, …): lung, lesion within it."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.unet = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=len(CHANNELS),
            channels=config.channels,
            strides=(2,) * (len(config.channels) - 1),
            num_res_units=config.residual_units,
            norm="BATCH",
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the probabilities."""
        return torch.sigmoid(self.logits(volumes))

    def logits(self, volumes: Tensor) -> Tensor:
        """Return what the probabilities are made of."""
        return cast(Tensor, self.unet((volumes.clamp(_LOW, _HIGH) - _LOW) / (_HIGH - _LOW)))


class _Fit(lightning.LightningModule):
    """The loss and the optimiser, for Lightning's loop."""

    def __init__(self, config: LesionConfig) -> None:
        super().__init__()
        self.network = Segmentation(config.unet)
        self._config = config.fitting
        self._dice = DiceLoss(sigmoid=True, batch=True)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return cross-entropy and Dice loss of a batch."""
        volumes, masks = batch
        logits = self.network.logits(volumes)
        dice = cast(Tensor, self._dice(logits, masks))
        return dice + nn.functional.binary_cross_entropy_with_logits(logits, masks)

    def configure_optimizers(self) -> Any:
        """Adam, along half a cosine."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self._config.learning_rate)
        return [optimiser], [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._config.epochs)]


def fit_segmentation(config: LesionConfig, phantoms: Sequence[Phantom]) -> Segmentation:
    """Return the network fitted to `phantoms`, on the CPU and in evaluation mode."""
    settings = config.fitting
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    masks = np.stack([np.stack([phantom.lung, phantom.lesion]) for phantom in phantoms]).astype(np.float32)
    examples = TensorDataset(torch.from_numpy(volumes_of(phantoms)), torch.from_numpy(masks))
    order = torch.Generator().manual_seed(settings.seed)
    module = _Fit(config)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=settings.epochs,
        enable_checkpointing=False,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )
    trainer.fit(module, DataLoader(examples, settings.batch_size, shuffle=True, generator=order))
    return module.network.cpu().eval()


def volumes_of(phantoms: Sequence[Phantom]) -> Volumes:
    """The model's input: (N, 1, slices, rows, columns)."""
    return np.stack([phantom.hounsfield for phantom in phantoms])[:, np.newaxis]


def _write_onnx(network: Segmentation, path: Path) -> None:
    axes = {name: {0: "batch"} for name in ("volume", "mask")}
    example = (torch.zeros(2, 1, *SHAPE),)
    names: dict[str, Any] = {"input_names": ["volume"], "output_names": ["mask"], "dynamic_axes": axes}
    torch.onnx.export(network, example, str(path), opset_version=_OPSET, dynamo=False, **names)
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""  # source lines of this machine
    onnx.checker.check_model(model)
    onnx.save(model, path)


def run(path: Path, volumes: Volumes) -> Volumes:
    """Run the file on the CPU, volume by volume: masks (N, 2, slices, rows, columns)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["mask"], {"volume": one[np.newaxis]})[0] for one in volumes])


def _check_parity(network: Segmentation, path: Path, volumes: Volumes) -> None:
    with torch.inference_mode():
        expected = network(torch.from_numpy(volumes)).numpy()
    apart = float(np.abs(run(path, volumes) - expected).max())
    if not apart <= _TOLERANCE:
        raise ParityError(f"the file's masks differ by {apart:.1e} from the network's; {_TOLERANCE:.0e} is allowed")


def dice(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """The Dice coefficient of two masks, one of which is not empty."""
    return 2 * float((found & true).sum()) / float(found.sum() + true.sum())


def _measure(path: Path, phantoms: Sequence[Phantom]) -> Measures:
    found = run(path, volumes_of(phantoms)) >= 0.5
    with_lesion = [(phantom, masks[1]) for phantom, masks in zip(phantoms, found, strict=True) if phantom.lesion.any()]
    without = [(phantom, masks[1]) for phantom, masks in zip(phantoms, found, strict=True) if not phantom.lesion.any()]
    true_ml = np.array([millilitres(phantom.lesion, phantom.spacing_mm) for phantom, _ in with_lesion])
    found_ml = np.array([millilitres(mask, phantom.spacing_mm) for phantom, mask in with_lesion])
    return Measures(
        lung=np.array([dice(masks[0], phantom.lung) for phantom, masks in zip(phantoms, found, strict=True)]),
        lesion=np.array([dice(mask, phantom.lesion) for phantom, mask in with_lesion]),
        false_ml=np.array([millilitres(mask, phantom.spacing_mm) for phantom, mask in without]),
        error_ml=np.abs(found_ml - true_ml),
        lesion_ml=true_ml,
    )


def _package(config: LesionConfig, folder: Path, train: Sequence[Phantom], measures: Measures, parameters: int) -> None:
    sample = config.sample
    drawn = volumes_of([draw_phantom(0)])
    answer = run(folder / "model.onnx", drawn)
    (folder / "check.npz").write_bytes(write_arrays({"input:volume": drawn, "output:mask": answer}))
    fit_gate(volumes_of(train), levels=_LEVELS).write(folder / "gate.npz")
    (folder / "MODEL_CARD.md").write_text(_card(config, measures, parameters), encoding="utf-8")
    write_package(
        folder,
        {
            "name": sample.name,
            "version": sample.version,
            "weights": "model.onnx",
            "intended_use": sample.intended_use,
            "research_only": True,
            "licence": sample.licence,
            "training_data": f"{len(train)} drawn volumes (training/ct_phantoms.py). No image of a person.",
            "batch": {"size": 2, "wait_ms": 0},
            "inputs": [{"name": "volume", "dtype": "float32", "shape": ["batch", 1, *SHAPE]}],
            "outputs": [
                {
                    "name": "mask",
                    "dtype": "float32",
                    "shape": ["batch", len(CHANNELS), *SHAPE],
                    "role": "mask",
                    "lowest": 0.0,
                    "highest": 1.0,
                }
            ],
            "check": {"file": "check.npz", "tolerance": _TOLERANCE},
            "gate": {"file": "gate.npz"},
            "metrics": {
                "Dice of lesions (held-out phantoms)": round(float(measures.lesion.mean()), 4),
                "Dice of lungs (held-out phantoms)": round(float(measures.lung.mean()), 4),
            },
        },
    )


def _card(config: LesionConfig, measures: Measures, parameters: int) -> str:
    sample, drawn = config.sample, config.phantoms
    shape = " × ".join(map(str, SHAPE))
    false_ml = f"{measures.false_ml.max():.2f} ml" if len(measures.false_ml) else "none was without"
    return f"""\
# {sample.name} {sample.version}

**{sample.intended_use}**

## Model

- 3D U-Net of MONAI, {parameters:,} parameters, trained from random weights.
- Input `volume`: {shape} (slices, rows, columns) in Hounsfield units, the whole chest of a phantom, about 10 × 5.5 ×
  5.5 mm a voxel.
- Output `mask`: the probability of {CHANNELS[0]} and of {CHANNELS[1]} at each voxel, in the input's geometry; a lesion
  lies within the outline of a lung. From 0.5 a voxel counts as found.
- Millilitres of a mask: `pipelines.volume.millilitres`, with the spacing of the image.

## Data

{drawn.train} volumes drawn by `training/ct_phantoms.py` from seed {drawn.seed} on: a body, a spine, two lungs with
vessels, none to four lesions of 11 to 28 mm radius, noise. No image of a person. The test part are the {drawn.test}
seeds after them.

## Results on the test part

| | mean | lowest |
| --- | --- | --- |
| Dice of lungs, {len(measures.lung)} phantoms | {measures.lung.mean():.3f} | {measures.lung.min():.3f} |
| Dice of lesions, {len(measures.lesion)} phantoms that have some | {measures.lesion.mean():.3f} | \
{measures.lesion.min():.3f} |

- Volume of lesions, absolute error: {measures.error_ml.mean():.1f} ml on average, \
{measures.error_ml.max():.1f} ml at worst, of {measures.lesion_ml.mean():.0f} ml on average.
- Most that was found in a phantom without lesions ({len(measures.false_ml)} of them): {false_ml}.

## Limits

Drawn lesions have sharp edges and one density, drawn lungs one shape. **These figures say nothing about people**: on a
CT of a person its masks mean nothing. Its gate refuses volumes that are unlike the phantoms; what passes need not be
one.

## Licence

{sample.licence}: weights, card and phantoms.
"""


if __name__ == "__main__":
    sys.exit(main())
