"""The classifier of texture: counts of local binary patterns at full resolution, weighed by one learnt linear layer.

Which of its eight neighbours are at least as bright as a pixel is one of 256 patterns (Ojala et al., IEEE PAMI 2002).
An image is described by the shares of the patterns in the cells of grids over it; only what weighs them is learnt,
which is a convex problem with one solution, so nothing is random here. What is darker by less than half a step of 256
greys counts as equal, so rounding on the way to the model changes nothing, nor does another brightness or contrast
(down to half) of an image of 256 greys.
"""

import copy
from collections.abc import Sequence
from typing import Final, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.config import TextureConfig, TrainingConfig
from training.errors import ConfigError
from training.fitting import Examples, Fitted

_NEIGHBOURS: Final = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # in the padded image
_PATTERNS: Final = 1 << len(_NEIGHBOURS)
_TIE: Final = 0.5 / 255  # half a step of the 256 greys that the files have which it learns from
_FLOOR: Final = 0.256  # of the spread that a feature has by chance, added to its own: what hardly varies weighs little
_FARTHEST: Final = 5.0  # spreads from the mean; what lies further out counts as much
_STEPS: Final = 500


class Shares(nn.Module):
    """Images (N, 1, size, size) in [0, 1] to the square roots of the shares of patterns in each cell, (N, features).

    The features are those of the coarsest grid first; of a grid, pattern by pattern, in each of them row by row.
    """

    cell_rows: Tensor
    cell_columns: Tensor

    def __init__(self, grids: Sequence[int], size: int) -> None:
        super().__init__()
        finest = max(grids)
        if any(finest % grid for grid in grids) or size % finest:
            raise ConfigError(f"[texture] grids: each must divide {finest}, and that the input's {size} pixels")
        self.grids = tuple(grids)
        self._size, self._finest = size, finest
        cells = (torch.arange(size) // (size // finest)).float()
        self.register_buffer("cell_rows", (cells * finest).view(-1, 1))
        self.register_buffer("cell_columns", cells)

    @property
    def counts(self) -> list[int]:
        """How many features each grid gives."""
        return [_PATTERNS * grid * grid for grid in self.grids]

    @property
    def chance(self) -> Tensor:
        """The spread of each feature by chance alone: that of the root of a share of n pixels is 1 / (2 √n)."""
        spreads = [
            torch.full((count,), grid / self._size / 2) for grid, count in zip(self.grids, self.counts, strict=True)
        ]
        return torch.cat(spreads)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        size, cells = self._size, self._finest * self._finest
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
        darker = images - _TIE
        place = self.cell_rows + self.cell_columns  # numbers below 2^24 are exact in float32
        for bit, (row, column) in enumerate(_NEIGHBOURS):
            brighter = padded[:, :, row : row + size, column : column + size] >= darker
            place = place + brighter.float() * float(cells << bit)
        counts = torch.zeros(images.shape[0], _PATTERNS * cells).to(images)
        counts = counts.scatter_add(1, place.flatten(1).long(), torch.ones_like(images).flatten(1))
        shares = counts.view(-1, _PATTERNS, self._finest, self._finest) / float(size * size // cells)
        coarser = (functional.avg_pool2d(shares, self._finest // grid) for grid in self.grids)
        return torch.cat([grid.sqrt().flatten(1) for grid in coarser], dim=1)


class Standardised(nn.Module):
    """Features by their distance from the mean of the images that it was fitted to, in spreads; then a linear layer."""

    mean: Tensor
    gain: Tensor

    def __init__(self, features: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("gain", torch.ones(features))
        self.linear = nn.Linear(features, outputs, bias=bias)

    def fit(self, features: Tensor, chance: Tensor) -> Tensor:
        """Take mean and spread of `features` (N, features), which vary by `chance` anyway; return what they become."""
        self.mean.copy_(features.mean(dim=0))
        self.gain.copy_(1 / (features.std(dim=0, correction=0) + _FLOOR * chance))
        return self.standardise(features)

    def standardise(self, features: Tensor) -> Tensor:
        """Return the standardised features."""
        return ((features - self.mean) * self.gain).clamp(-_FARTHEST, _FARTHEST)

    def forward(self, features: Tensor) -> Tensor:
        """Return the linear layer's outputs, (N, outputs)."""
        return cast(Tensor, self.linear(self.standardise(features)))


class TextureNetwork(nn.Module):
    """Images (N, 1, size, size) in [0, 1] to logits (N, classes)."""

    description = (
        "Texture alone: the shares of 256 local binary patterns (Ojala et al. 2002) at full resolution in the cells of "
        "grids, weighed by one learnt linear layer"
    )
    quantised = ("Gemm", "MatMul")

    def __init__(self, config: TextureConfig, classes: int, size: int) -> None:
        super().__init__()
        self.shares = Shares(config.grids, size)
        self.head = Standardised(sum(self.shares.counts), classes)
        self.projection = Standardised(sum(self.shares.counts), config.embedding, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return cast(Tensor, self.head(self.shares(images)))

    def fit_embedding(self, features: Tensor) -> None:
        """Make the embedding of the directions in which `features` vary most, each scaled to a spread of 1."""
        standardised = self.projection.fit(features, self.shares.chance).double()
        _, spreads, directions = torch.linalg.svd(standardised - standardised.mean(dim=0), full_matrices=False)
        found = min(self.projection.linear.out_features, len(spreads) - 1)
        scale = spreads[:found].clamp_min(1e-9) / len(features) ** 0.5
        weight = torch.zeros(self.projection.linear.weight.shape, dtype=torch.float64)
        weight[:found] = directions[:found] / scale.unsqueeze(1)
        with torch.no_grad():
            self.projection.linear.weight.copy_(weight)

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, classes), what each cell of the finest grid adds to them (N, classes, h, w), embedding.

        A cell's part of a coarser grid is its share of that cell's area. The parts and the bias add up to the logits,
        but for the mean of all labels', which changes no probability and is taken off.
        """
        features = self.shares(images)
        logits = self.head(features)
        weights = self.head.linear.weight - self.head.linear.weight.mean(dim=0)
        added = self.head.standardise(features).unsqueeze(1) * weights
        finest = max(self.shares.grids)
        places = torch.zeros(1, 1, finest, finest).to(images)
        for grid, part in zip(self.shares.grids, torch.split(added, self.shares.counts, dim=2), strict=True):
            cells = part.reshape(-1, weights.shape[0], _PATTERNS, grid, grid).sum(dim=2)
            places = places + functional.interpolate(cells, scale_factor=float(finest // grid)) / (finest // grid) ** 2
        return logits, places, self.projection(features)


def fit_texture(train: Examples, validation: Examples, classes: int, config: TrainingConfig) -> Fitted:
    """Fit on `train` for what is chosen on `validation`, then the head once more on both, which is the network to keep.

    Of the network that is kept too, the embedding knows `train` alone: so those of `validation` are of images not seen.
    """
    trial = TextureNetwork(config.texture, classes, train.images.shape[-1]).eval()
    features, more = features_of(trial, train.images), features_of(trial, validation.images)
    _fit_head(trial, features, train.labels, config.texture.penalties)
    trial.fit_embedding(features)
    network = copy.deepcopy(trial)
    labels = torch.cat([train.labels, validation.labels])
    _fit_head(network, torch.cat([features, more]), labels, config.texture.penalties)
    return Fitted(network, trial)


def _contrasts(classes: int) -> Tensor:
    """(classes, classes - 1): column j sets class j + 1 against the mean of those before it, and touches none after."""
    columns = torch.zeros(classes, classes - 1, dtype=torch.float64)
    for column in range(classes - 1):
        columns[: column + 1, column] = -1 / (column + 2)
        columns[column + 1, column] = (column + 1) / (column + 2)
    return columns


def _fit_head(network: TextureNetwork, features: Tensor, labels: Tensor, penalties: Sequence[float]) -> None:
    """Minimise the sum of cross-entropies, and of each contrast's squared weights times half its penalty.

    Features are scaled to a mean squared length of 1 for that.
    """
    scaled = network.head.fit(features, network.shares.chance).double()
    length = scaled.square().sum(dim=1).mean().sqrt()
    # Weights of least square are sums of the images' features: so they are sought among those, which are far fewer.
    basis, coordinates = torch.linalg.qr(scaled.T / length)
    layer = network.head.linear
    contrasts = _contrasts(layer.out_features)
    weight = torch.zeros(contrasts.shape[1], len(coordinates), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(layer.out_features, dtype=torch.float64, requires_grad=True)
    penalty = torch.tensor(penalties, dtype=torch.float64)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(coordinates.T @ weight.T @ contrasts.T + bias, labels, reduction="sum")
        loss = loss + (penalty * weight.square().sum(dim=1)).sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(contrasts @ weight @ basis.T / length)
        layer.bias.copy_(bias)


def features_of(network: TextureNetwork, images: Tensor) -> Tensor:
    """The features of many images, counted a few at a time."""
    with torch.no_grad():
        return torch.cat([network.shares(batch) for batch in torch.split(images, 16)])
