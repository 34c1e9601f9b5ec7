"""Trains a network, with Lightning's loop. It fits on the training part; the validation part is only measured.

All that is random in an epoch comes from (seed, epoch, process), and an epoch is the smallest thing that is kept. So a
run that was interrupted and resumed ends with the very weights of one that was not. The weights that come back are
the exponential moving average at the last epoch: no epoch is picked by its score.
"""

import logging
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as functional
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from training.augmentation import Augmentation
from training.checkpoints import Checkpoints, finished_weights, forget, latest
from training.config import Accelerator, DeviceConfig, Numbers, OptimisationConfig, Schedule, TrainingConfig
from training.errors import ConfigError, Interrupted
from training.network import ChestXrayNetwork

Report = Callable[[str], None]
_VALIDATION_LOSS = "validation_loss"


@dataclass(frozen=True, slots=True)
class Examples:
    """Images float32 (N, 1, rows, columns) in [0, 1] and the indices of their labels, int64 (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network to keep, and the one on which temperature and thresholds are chosen: it has not seen validation."""

    network: nn.Module
    trial: nn.Module


def fit(
    train: Examples,
    validation: Examples,
    classes: int,
    config: TrainingConfig,
    folder: Path,
    data_digest: str,
    report: Report,
    *,
    resume: bool = False,
    until: int | None = None,
) -> ChestXrayNetwork:
    """Train on `train`, images of `base_size`; return the averaged network, on the CPU and in evaluation mode.

    Checkpoints go to `folder`. With `resume` the last of them is continued, or read where its run had ended, else those
    there are removed; `until` ends the run after that epoch, as a time limit of a cluster would. Raises
    `CheckpointError` for a checkpoint of other settings or other data, or one that cannot be written, `ConfigError` for
    a device that is not there, `Interrupted` on SIGINT and SIGTERM.
    """
    settings = config.optimisation
    check_device(config.device)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # devices it did not find, its maker's products
    torch.set_num_threads(config.device.threads)
    checkpoint = latest(folder, config, data_digest) if resume else None
    if checkpoint is None:
        forget(folder)
    torch.manual_seed(settings.seed)  # initial weights
    sampler = BalancedSampler(train.labels, classes, config)
    module = Classifier(config, classes, len(sampler) // settings.batch_size)
    finished = finished_weights(checkpoint, settings.epochs) if checkpoint else None
    if finished is not None:  # Lightning would go on for an epoch, or hand back the last weights and not their average
        module.load_state_dict(finished)
        return module.network.cpu().eval()
    trainer = lightning.Trainer(
        accelerator=config.device.accelerator,
        devices=config.device.devices,
        # Spawned, since processes that ran the whole program again would write its results again.
        strategy="ddp_spawn" if config.device.devices > 1 else "auto",
        precision=_precision(config.device),
        max_epochs=min(settings.epochs, until or settings.epochs),
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip,
        callbacks=_callbacks(config, folder, data_digest, report),
        use_distributed_sampler=False,  # the sampler knows the processes itself
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # `Checkpoints` does it
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=_is_terminal(),
    )
    with warnings.catch_warnings():  # `Classifier.setup` chooses which
        try:
            trainer.fit(
                module,
                DataLoader(TensorDataset(train.images, train.labels), settings.batch_size, sampler=sampler),
                DataLoader(TensorDataset(validation.images, validation.labels), settings.batch_size),
                ckpt_path=checkpoint,
                weights_only=True,
            )
        except SystemExit:  # as which Lightning tells of signals
            raise Interrupted("interrupted; --resume goes on after the last finished epoch") from None
    return module.network.cpu().eval()


def check_device(device: DeviceConfig) -> None:
    """Raise `ConfigError` for devices that this machine does not have, and for numbers that they do not compute in."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.accelerator is Accelerator.CUDA and not gpus:
        raise ConfigError('[device] accelerator: torch finds no GPU here that it can use; "cpu" and "auto" need none')
    if _on_gpus(device) and device.devices > gpus:
        found = f"{gpus} GPU" + ("s" if gpus > 1 else "")
        raise ConfigError(f"[device] devices: {device.devices} are asked for, and torch finds {found} here")
    if device.precision is Numbers.FLOAT16 and not _on_gpus(device):
        raise ConfigError('[device] precision: float16 is for GPUs; a CPU computes in "bfloat16" and "float32"')


class Classifier(lightning.LightningModule):
    """What Lightning's loop asks: the loss of a batch, the optimiser and its schedule."""

    def __init__(self, config: TrainingConfig, classes: int, batches_per_epoch: int) -> None:
        super().__init__()
        self.network = ChestXrayNetwork(config.network, classes)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._config = config
        self._classes = classes
        self._steps_per_epoch = math.ceil(batches_per_epoch / config.optimisation.accumulate)

    def setup(self, stage: str) -> None:  # noqa: ARG002  # the base class's name
        """Leave out what Lightning says of devices, its maker and itself: each process has to be told."""
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        # Examples are tensors in memory: no worker could fetch them faster.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of one augmented batch."""
        if index == 0:  # not when the epoch starts: between the two, a resumed run draws what another does not
            config = self._config
            seed = _seed(config.optimisation.seed, self.current_epoch, self.global_rank)
            generator = torch.Generator(self.device).manual_seed(seed)
            self._augment = Augmentation(config.augmentation, config.package.input_size, generator)
            torch.manual_seed(seed)  # dropout
        images, labels = batch
        smoothing = self._config.optimisation.label_smoothing
        targets = functional.one_hot(labels, self._classes).float()
        targets = targets * (1 - smoothing) + smoothing / self._classes
        inputs, targets = self._augment.mix(self._augment(images), targets)
        logits = self.network(inputs.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), targets)
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Measure the loss of the averaged weights, for the log and for early stopping."""
        images, labels = batch
        loss = functional.cross_entropy(self.network(images).float(), labels)
        self.log(_VALIDATION_LOSS, loss, prog_bar=True, sync_dist=True, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        """AdamW. Convolutions and linear layers decay; biases and normalisation are left alone."""
        settings = self._config.optimisation
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
        steps = self._steps_per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps, settings))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate(step: int, steps_per_epoch: int, settings: OptimisationConfig) -> float:
    """The learning rate of step `step`, from 0, as a share of the highest."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    since = (step - warmup) / steps_per_epoch
    match settings.schedule:
        case Schedule.COSINE:
            return 0.5 * (1 + math.cos(math.pi * min(1.0, since / (settings.epochs - settings.warmup_epochs))))
        case Schedule.STEP:
            return float(settings.decay ** (since // settings.decay_epochs))
        case Schedule.EXPONENTIAL:
            return float(settings.decay ** (since / settings.decay_epochs))


class BalancedSampler(Sampler[int]):
    """Draws examples with replacement, rare labels more often; the processes of a run share out one common draw."""

    def __init__(self, labels: Tensor, classes: int, config: TrainingConfig) -> None:
        counts = torch.bincount(labels, minlength=classes).double()
        self._weights = counts[labels] ** -config.optimisation.balance
        self._seed = config.optimisation.seed
        whole = config.optimisation.batch_size * config.device.devices
        self._draws = math.ceil(len(labels) / whole) * whole
        self._devices = config.device.devices
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._draws // self._devices

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(_seed(self._seed, self._epoch, -1))
        drawn = torch.multinomial(self._weights, self._draws, replacement=True, generator=generator)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        return iter(drawn[rank :: self._devices].tolist())


def predict_logits(network: nn.Module, images: Tensor, batch_size: int = 32) -> Tensor:
    """Return the logits (N, classes) of `images` (N, 1, size, size), without augmentation, in float32."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in torch.split(images, batch_size)])


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that gives the least cross-entropy on validation images (Guo et al., ICML 2017)."""
    candidates = torch.exp(torch.linspace(math.log(0.2), math.log(5.0), 400))
    losses = [float(functional.cross_entropy(logits / temperature, labels)) for temperature in candidates]
    return float(candidates[min(range(len(losses)), key=losses.__getitem__)])


class _Average(WeightAveraging):
    """An exponential moving average. Its decay grows in from 0, so that the random start is soon forgotten."""

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_average, decay))


def _average(decay: float, mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
    if not mean.dtype.is_floating_point:  # batch normalisation's count of batches
        return value
    return mean.lerp(value, 1 - min(decay, (1 + int(count)) / (10 + int(count))))


class _Log(Callback):
    """One line for each epoch: losses, rate, time and the most memory that was held until then."""

    def __init__(self, report: Report, epochs: int) -> None:
        self._report = report
        self._epochs = epochs
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the epoch that ended."""
        # Every process takes part in this mean over them; one that returned first would leave the others waiting.
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        self._report(
            f"epoch {trainer.current_epoch + 1}/{self._epochs}  loss {measured['loss']:.4f}  "
            f"validation {measured[_VALIDATION_LOSS]:.4f}  rate {trainer.optimizers[0].param_groups[0]['lr']:.1e}  "
            f"{time.monotonic() - self._started:.0f} s  {_memory(pl_module.device)}"
        )


def _memory(device: torch.device) -> str:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if device.type != "cuda":
        return f"{kibibytes >> 10} MiB"
    return f"{kibibytes >> 10} MiB, on the device {torch.cuda.max_memory_allocated(device) >> 20} MiB"


def _callbacks(config: TrainingConfig, folder: Path, data_digest: str, report: Report) -> list[Callback]:
    """In an order that matters: the average is put in place first, and kept by the checkpoint, which comes last."""
    settings = config.optimisation
    chosen: list[Callback] = [_Average(settings.ema_decay)] if settings.ema_decay else []
    if settings.patience:
        # After validation: at the end of the epoch it would count after the checkpoint was written, and without it.
        early = EarlyStopping(_VALIDATION_LOSS, patience=settings.patience, mode="min", check_on_train_epoch_end=False)
        chosen.append(early)
    if _is_terminal():
        chosen.append(RichProgressBar())
    return [*chosen, _Log(report, settings.epochs), Checkpoints(folder, config, data_digest)]


def _on_gpus(device: DeviceConfig) -> bool:
    return device.accelerator is not Accelerator.CPU and torch.cuda.is_available()


def _precision(device: DeviceConfig) -> Any:
    """Lightning's name of it. float16 is for GPUs without bfloat16: its range needs the loss to be scaled."""
    numbers = device.precision
    if numbers is Numbers.AUTO:
        old_gpu = _on_gpus(device) and not torch.cuda.is_bf16_supported(including_emulation=False)
        numbers = Numbers.FLOAT16 if old_gpu else Numbers.BFLOAT16
    return {Numbers.FLOAT32: "32-true", Numbers.FLOAT16: "16-mixed", Numbers.BFLOAT16: "bf16-mixed"}[numbers]


def _seed(seed: int, epoch: int, process: int) -> int:
    """A seed for each of the three, far from those of its neighbours."""
    return (seed * 1_000_003 + epoch) * 1_009 + process + 1


def _is_terminal() -> bool:
    return sys.stderr.isatty()
