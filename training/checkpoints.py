"""The states of a run after each of its last epochs: written whole or not at all, read without unpickling code.

A checkpoint says which settings and which data it belongs to, and is continued with no others: half a run on one data
set and half on another would be a model that nobody can describe. It names no machine, path or person.
"""

import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from training.config import TrainingConfig
from training.errors import CheckpointError

_NAME = re.compile(r"epoch-(\d{5})\.ckpt")
_ABOUT = "kopru"


class Checkpoints(Callback):
    """Writes ``epoch-00012.ckpt`` after the twelfth epoch and removes all but the last few."""

    def __init__(self, folder: Path, config: TrainingConfig, data_digest: str) -> None:
        self._folder = folder
        self._keep = config.device.checkpoints
        self._about = about(config, data_digest)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what the run is."""
        versions = {name: version(name) for name in ("torch", "lightning", "monai")}
        done = {"epochs_done": trainer.current_epoch + 1, "ended_early": bool(trainer.should_stop)}
        checkpoint[_ABOUT] = {**self._about, **done, "made_with": versions}

    def on_train_epoch_end(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        """Write, then clean up. Every process takes part in making the state; the first one writes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"epoch-{trainer.current_epoch + 1:05}.ckpt"
        unfinished = path.with_suffix(".part")
        try:
            trainer.save_checkpoint(unfinished)
            if trainer.is_global_zero:
                _make_durable(unfinished)
                unfinished.replace(path)
                _make_durable(self._folder)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise CheckpointError(f"{path}: cannot be written ({error.strerror}); --resume goes on before it") from None
        if trainer.is_global_zero:
            for old in _all(self._folder)[: -self._keep]:
                old.unlink()


def latest(folder: Path, config: TrainingConfig, data_digest: str) -> Path:
    """The last epoch's checkpoint. Raises `CheckpointError` if there is none, or it is of another run."""
    there = _all(folder)
    if not there:
        raise CheckpointError(f"{folder}: there is no checkpoint to continue; start without --resume")
    path = there[-1]
    found = read_about(path)
    for name, expected in about(config, data_digest).items():
        if found.get(name) != expected:
            raise CheckpointError(
                f"{path.name}: is of a run with another {name}; continue with the same, or start without --resume"
            )
    return path


def forget(folder: Path) -> None:
    """Remove the checkpoints of earlier runs: of those, the last few epochs would be kept, and not the new run's."""
    for path in _all(folder):
        path.unlink()


def read_about(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: config, data digest, epochs done, whether the run ended early, versions."""
    return dict(_read(path)[_ABOUT])


def finished_weights(path: Path, epochs: int) -> dict[str, torch.Tensor] | None:
    """The weights that a run of so many epochs, or one that ended early, came to; None if it has more to do."""
    checkpoint = _read(path)
    known = checkpoint[_ABOUT]
    if known["epochs_done"] < epochs and not known["ended_early"]:
        return None
    return dict(checkpoint["state_dict"])  # where there is an average, that


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        known = checkpoint[_ABOUT]
        return {**checkpoint, _ABOUT: {"ended_early": False, **known}}
    except Exception as error:
        raise CheckpointError(f"{path.name}: is no checkpoint of this program ({type(error).__name__})") from error


def about(config: TrainingConfig, data_digest: str) -> dict[str, Any]:
    """What must be the same for a run to be continued. Devices may change; what they compute then may, in rounding."""
    settings = config.to_dict()
    del settings["device"]
    return {"config": settings, "data": data_digest}


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*.ckpt") if _NAME.fullmatch(path.name))


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
