"""Random changes of training images, whole batches at a time, each image by its own draw.

All randomness comes from the generator that is handed in, which is of the images' device. Values stay in [0, 1], as
preprocessing gives them.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.config import AugmentationConfig


class Augmentation:
    """Cuts inputs of `size` pixels a side out of larger images, with random geometry, greys and holes."""

    def __init__(self, config: AugmentationConfig, size: int, generator: torch.Generator) -> None:
        self._config = config
        self._size = size
        self._generator = generator

    def __call__(self, images: Tensor) -> Tensor:
        """Map float32 (N, 1, base, base) in [0, 1] to (N, 1, size, size) in [0, 1]."""
        return self._punch(self._regrade(self._warp(images)))

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Blend each image and its target (N, classes) with another of the batch (Zhang et al., ICLR 2018)."""
        alpha = self._config.mixup_alpha
        if alpha <= 0:
            return images, targets
        # Beta(a, a) out of the generator at hand: torch.distributions cannot be given one.
        first, second = (
            torch._standard_gamma(images.new_full((len(images),), alpha), generator=self._generator) for _ in range(2)
        )
        share = first / (first + second).clamp_min(1e-9)
        share = torch.maximum(share, 1 - share)
        order = torch.randperm(len(images), generator=self._generator, device=images.device)
        weight = share.view(-1, 1, 1, 1)
        column = share.view(-1, 1)
        return images * weight + images[order] * (1 - weight), targets * column + targets[order] * (1 - column)

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        drawn = torch.rand(count, generator=self._generator, device=self._generator.device)
        return drawn * (high - low) + low

    def _warp(self, images: Tensor) -> Tensor:
        config, count = self._config, len(images)
        angle = self._uniform(count, -1, 1) * math.radians(config.rotation_degrees)
        scale = self._uniform(count, config.scale_min, config.scale_max)
        stretch = self._uniform(count, -config.shear, config.shear)
        shear = self._uniform(count, -config.shear, config.shear)
        mirrored = self._uniform(count, 0, 1) < config.flip_probability
        flip = torch.where(mirrored, -1.0, 1.0)
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        affine = images.new_zeros(count, 2, 3)
        affine[:, 0, 0] = cosine * flip * (1 + stretch)
        affine[:, 0, 1] = -sine + shear
        affine[:, 1, 0] = sine * flip
        affine[:, 1, 1] = cosine * (1 - stretch)
        # Grid coordinates run from -1 to 1, so a fraction of the side is twice itself.
        affine[:, :, 2] = self._uniform(count * 2, -2 * config.shift, 2 * config.shift).view(count, 2)
        grid = functional.affine_grid(affine, [count, 1, self._size, self._size], align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _regrade(self, images: Tensor) -> Tensor:
        config, count = self._config, len(images)
        gamma = torch.exp(self._uniform(count, -1, 1) * math.log1p(config.gamma)).view(-1, 1, 1, 1)
        contrast = (1 + self._uniform(count, -config.contrast, config.contrast)).view(-1, 1, 1, 1)
        brightness = self._uniform(count, -config.brightness, config.brightness).view(-1, 1, 1, 1)
        noise = torch.randn(images.shape, generator=self._generator, device=images.device)
        noise = noise * self._uniform(count, 0, config.noise).view(-1, 1, 1, 1)
        graded = images.clamp_min(1e-4) ** gamma
        return ((graded - 0.5) * contrast + 0.5 + brightness + noise).clamp(0, 1)

    def _punch(self, images: Tensor) -> Tensor:
        """Grey out a rectangle, so that no single spot (a side marker, a cable) decides."""
        config, count = self._config, len(images)
        position = torch.arange(self._size, device=images.device).view(1, -1) / self._size
        inside = []
        for _ in range(2):
            centre = self._uniform(count, 0, 1).view(-1, 1)
            half = self._uniform(count, 0.05, config.hole_side).view(-1, 1) / 2
            inside.append((position - centre).abs() < half)
        hole = inside[0].view(count, 1, -1, 1) & inside[1].view(count, 1, 1, -1)
        chosen = self._uniform(count, 0, 1) < config.hole_probability
        return torch.where(hole & chosen.view(-1, 1, 1, 1), images.mean(dim=(2, 3), keepdim=True), images)
