"""The gate of a network of texture, its limits set by cross-validation over the training and the validation part.

How unusual an image looks can only be asked of images that nothing was fitted to. The validation part alone has too
few of them to tell how often a limit refuses a radiograph; so all that the gate knows is fitted anew without each fold
of patients, and those are judged. The test part is never looked at.

The mean thumbnail hardly tells an upright chest from one on its side. So the template is what tells the thumbnails of
radiographs best from the same ones inverted, turned and upside down: Fisher's linear discriminant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from runtime.gate import Embeddings, Gate, fit_gate
from runtime.gate import Images as Traits
from runtime.traits import Numbers, likeness, measure
from training.export import Greys
from training.inputs import Part
from training.network import as_images
from training.packaging import LEVELS
from training.radiographs import LABELS, fold
from training.texture import TextureNetwork, features_of

_FOLDS: Final = 5
_BEYOND: Final = 1
"""How many images, when judged by what was fitted without them, may lie beyond the limit of likeness, and of distance.

One more lies beyond those of the traits: 3 of 763. If so, at most 2 of 135 further ones (2 %) lie beyond with a
probability of 95 %, whatever their distribution: the ranks of future values among past ones are all equally likely.
"""
_TAIL: Final = 0.0  # the traits are held to what was seen
_RIDGE: Final = 0.3  # of the mean variance of a pixel of thumbnails, added to each one's


@dataclass(frozen=True, slots=True)
class _Known:
    """What a gate is fitted to: inputs (N, 1, size, size), the network's features of them, classes (N,)."""

    inputs: Greys
    features: torch.Tensor
    classes: npt.NDArray[np.int64]

    def only(self, chosen: npt.NDArray[np.bool_]) -> "_Known":
        return _Known(self.inputs[chosen], self.features[torch.from_numpy(chosen)], self.classes[chosen])


def fit_texture_gate(
    network: TextureNetwork, train: Part, validation: Part, seed: int, labels: Sequence[str] = LABELS
) -> Gate:
    """Make the gate of `network`, whose embedding was fitted to `train`. `network` is given back as it was."""
    radiographs = train.radiographs + validation.radiographs
    inputs = np.concatenate([train.inputs, validation.inputs])
    features = features_of(network, as_images(torch.from_numpy(inputs)))
    known = _Known(inputs, features, np.concatenate([train.targets, validation.targets]))
    likenesses, distances = np.empty(len(radiographs)), np.empty(len(radiographs))
    fitted = {name: value.clone() for name, value in network.projection.state_dict().items()}
    for division in fold(radiographs, seed, _FOLDS, labels):
        held = np.isin([one.file for one in radiographs], [one.file for one in division.test])
        inside, outside = known.only(~held), known.only(held)
        network.fit_embedding(inside.features)
        _, embeddings = _fit(network, inside)
        likenesses[held] = likeness(measure(outside.inputs, *LEVELS)[1], upright_template(inside.inputs))
        distances[held] = embeddings.distances(_embed(network, outside))
    network.projection.load_state_dict(fitted)
    images, _ = _fit(network, known)
    _, embeddings = _fit(network, known.only(np.arange(len(radiographs)) < len(train.radiographs)))
    least, most = float(np.sort(likenesses)[_BEYOND]), float(np.sort(distances)[-1 - _BEYOND])
    return Gate(
        replace(images, template=upright_template(inputs), least_likeness=least), replace(embeddings, limit=most)
    )


def upright_template(inputs: Greys) -> Numbers:
    """What tells thumbnails of `inputs`, (N, 1, size, size), from spoilt ones: (rows, columns)."""
    thumbnails = measure(inputs, *LEVELS)[1]
    turned = [np.rot90(thumbnails, turns, (1, 2)) for turns in (1, 2, 3)]
    kinds = [_same_contrast(kind) for kind in (thumbnails, *turned, thumbnails[:, ::-1], 1 - thumbnails)]
    means = [kind.mean(axis=0) for kind in kinds]
    spreads = [(kind - mean).T @ (kind - mean) / len(kind) for kind, mean in zip(kinds, means, strict=True)]
    within = (spreads[0] + np.mean(spreads[1:], axis=0)) / 2
    ridge = _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    template = np.linalg.solve(within + ridge, means[0] - np.mean(means[1:], axis=0))
    return np.asarray(template.reshape(thumbnails.shape[1:]))


def _fit(network: TextureNetwork, known: _Known) -> tuple[Traits, Embeddings]:
    """Both parts of a gate. What they say of likeness and distance is of the very images that they were fitted to."""
    found = _embed(network, known)
    gate = fit_gate(
        known.inputs, levels=LEVELS, embeddings=found, classes=known.classes, held_embeddings=found, tail=_TAIL
    )
    assert gate.images is not None
    assert gate.embeddings is not None
    return gate.images, gate.embeddings


def _embed(network: TextureNetwork, known: _Known) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(network.projection(known.features).numpy(), np.float32)


def _same_contrast(thumbnails: Numbers) -> Numbers:
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9))
