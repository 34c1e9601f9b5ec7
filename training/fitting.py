"""The training loop. It sees the training part only; nothing is chosen here by looking at held-back images.

The weights that come back are the exponential moving average at the last epoch: no epoch is picked by its score.
"""

import copy
import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.augmentation import Augmentation
from training.config import TrainingConfig
from training.network import ChestXrayNetwork


def fit(
    images: Tensor, labels: Tensor, classes: int, config: TrainingConfig, report: Callable[[str], None]
) -> ChestXrayNetwork:
    """Train on `images` float32 (N, 1, base, base) in [0, 1] and `labels` int64 (N,); return the averaged network."""
    settings = config.optimisation
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)  # initial weights and dropout
    generator = torch.Generator().manual_seed(settings.seed)
    network = ChestXrayNetwork(config.network, classes)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    averaged.eval()
    augment = Augmentation(config.augmentation, config.package.input_size, generator)
    optimiser = torch.optim.AdamW(_decayed(network, settings.weight_decay), lr=settings.learning_rate)
    batches = math.ceil(len(images) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _rate(step, settings.warmup_epochs * batches, settings.epochs * batches)
    )
    weights = _sampling_weights(labels, classes, settings.balance)
    started = time.monotonic()
    for epoch in range(settings.epochs):
        network.train()
        total = 0.0
        for _ in range(batches):
            chosen = torch.multinomial(weights, settings.batch_size, replacement=True, generator=generator)
            targets = functional.one_hot(labels[chosen], classes).float()
            targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / classes
            inputs, targets = augment.mix(augment(images[chosen]), targets)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
                logits = network(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            _average(averaged, network, settings.ema_decay, schedule.last_epoch)
            total += float(loss.detach())
        elapsed = time.monotonic() - started
        report(f"epoch {epoch + 1}/{settings.epochs}  loss {total / batches:.4f}  {elapsed:.0f} s")
    averaged.eval()
    return averaged


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


def _decayed(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay the weights of convolutions and linear layers; biases and normalisation are left alone."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(step: int, warmup: int, total: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _sampling_weights(labels: Tensor, classes: int, balance: float) -> Tensor:
    counts = torch.bincount(labels, minlength=classes).double()
    return counts[labels] ** -balance


def _average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `averaged` towards `network`. The decay grows in from 0, so that the random start is soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
