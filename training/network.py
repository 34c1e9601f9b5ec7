"""The classifier's network: a small residual network for single-channel images, trained from random weights.

Its first step standardises each image by its own mean and spread, inside the graph, so that the brightness and
contrast a site renders with cannot depend on code outside the weights file.
"""

from typing import Protocol, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.config import NetworkConfig


def as_images(inputs: Tensor) -> Tensor:
    """What a package gets, greys as uint16 (N, 1, H, W), as networks take it: float32 in [0, 1]."""
    return inputs.float() / 65535


class Standardise(nn.Module):
    """Shift and scale each image (N, 1, H, W) to mean 0 and standard deviation 1."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the standardised images, in the same shape."""
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        return centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-6).sqrt()


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a short cut (He et al., CVPR 2016); the short cut pools before it projects."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        shortcut: list[nn.Module] = [nn.AvgPool2d(stride)] if stride > 1 else []
        if inputs != outputs:
            shortcut += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        return torch.relu(self.body(features) + self.shortcut(features))


class ChestXrayNetwork(nn.Module):
    """Images (N, 1, H, W) in [0, 1] to logits (N, classes)."""

    description = "Residual network"
    quantised = ("Conv", "Add", "MaxPool")

    def __init__(self, config: NetworkConfig, classes: int) -> None:
        super().__init__()
        width = config.widths[0]
        layers: list[nn.Module] = [
            Standardise(),
            nn.Conv2d(1, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        for stage, (outputs, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(blocks):
                layers.append(ResidualBlock(width, outputs, 2 if block == 0 and stage > 0 else 1))
                width = outputs
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classes = classes
        self.width = width  # of the embedding
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return cast(Tensor, self.head(self.features(images)))

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, class activation maps and the features before the last layer.

        A map (Zhou et al., CVPR 2016) is the last feature map weighed as the last layer weighs its mean. Of the weights
        of a label the mean of all labels' is taken off, since what speaks for all alike changes no probability.
        """
        maps = self.features[:-2](images)
        embedding = maps.mean(dim=(2, 3))
        head = cast(nn.Linear, self.head[1])
        weights = (head.weight - head.weight.mean(dim=0)).unsqueeze(-1).unsqueeze(-1)
        return head(embedding), functional.conv2d(maps, weights), embedding


class Explained(Protocol):
    """A network that says what its logits come from, and which operators of its graph bear 8 bits."""

    description: str
    quantised: tuple[str, ...]

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, classes), what each place adds to them (N, classes, h, w), and an embedding (N, D)."""


class Calibrated(nn.Module):
    """A network as it is packaged: probabilities, what in the image speaks for them, and the features they come from.

    Logits are divided by a temperature before the softmax (Guo et al., ICML 2017). In the heatmap what speaks against
    a label is cut off, and the strongest place of any label is 1.
    """

    temperature: Tensor

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map greys, uint16 (N, 1, H, W), to probabilities (N, classes), whose sum is 1, heatmap (N, classes, h, w) in
        [0, 1], embedding (N, D).
        """
        logits, places, embedding = cast(Explained, self.network).explain(as_images(inputs))
        heat = torch.relu(places)
        heat = heat / heat.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        return torch.softmax(logits / self.temperature, dim=1), heat, embedding
