"""Draws CT volumes of a chest that nobody has: a body, two lungs, lesions in them, in Hounsfield units, with noise.

They carry the way volume → mask → millilitres through training, package and report; they teach nothing about disease.
Numpy alone; the same seed gives the same volume.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SHAPE: Final = (24, 64, 64)  # slices, rows, columns
_AIR, _LUNG, _TISSUE, _BONE = -1000.0, -820.0, 40.0, 500.0  # Hounsfield units
_LOWEST, _HIGHEST = -1024.0, 3071.0  # of 12 bits

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A volume, what is in it, and the distances between its voxels' centres; each (slices, rows, columns)."""

    hounsfield: Volume
    lung: Mask
    lesion: Mask  # within the lung's outline, which has it too
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Space:
    """The places of all voxels in millimetres, from the middle; and the randomness of one drawing."""

    z: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    random: np.random.Generator

    def ellipsoid(self, centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """1 at the centre, 0 on the surface, negative outside."""
        squared = sum(
            ((axis - at) / r) ** 2 for axis, at, r in zip((self.z, self.y, self.x), centre, radii, strict=True)
        )
        return np.asarray(1 - np.sqrt(squared))

    def drawn(self, low: float, high: float, count: int = 3) -> npt.NDArray[np.float64]:
        return self.random.uniform(low, high, count)


def draw_phantom(seed: int, shape: tuple[int, int, int] = SHAPE) -> Phantom:
    """Return the phantom of that seed, about 240 × 350 × 350 mm; some have no lesion, none has more than four."""
    random = np.random.default_rng(seed)
    spacing = random.uniform(0.95, 1.05, 3) * (240 / shape[0], 350 / shape[1], 350 / shape[2])
    axes = [(np.arange(count) - (count - 1) / 2) * step for count, step in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    space = _Space(z, y, x, random)

    body = space.ellipsoid(np.zeros(3), np.array([1000.0, 105.0, 155.0]) * space.drawn(0.93, 1.05)) > 0
    lung = np.zeros(shape, bool)
    for side in (-1, 1):
        centre = np.array([0.0, -5.0, side * 72.0]) + space.drawn(-6, 6)
        lung |= space.ellipsoid(centre, np.array([105.0, 68.0, 52.0]) * space.drawn(0.9, 1.1)) > 0
    spine = space.ellipsoid(np.array([0.0, 78.0, 0.0]), np.array([1000.0, 20.0, 18.0])) > 0

    lesion = np.zeros(shape, bool)
    inside = np.argwhere(lung)
    for _ in range(random.integers(0, 5)):
        place = np.array([axis[at] for axis, at in zip(axes, random.choice(inside), strict=True)])
        lesion |= _lump(space, place, random.uniform(11, 28))
    lesion &= lung

    hounsfield = np.select([lesion, lung, spine & body, body], [random.uniform(-60, 60), _LUNG, _BONE, _TISSUE], _AIR)
    hounsfield = hounsfield + _vessels(space) * (lung & ~lesion) + random.normal(0, random.uniform(15, 45), shape)
    clipped = np.clip(np.round(hounsfield), _LOWEST, _HIGHEST).astype(np.float32)
    return Phantom(clipped, lung, lesion, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def _lump(space: _Space, place: npt.NDArray[np.float64], radius: float) -> Mask:
    """A sphere, or three that overlap."""
    lump = space.ellipsoid(place, np.full(3, radius)) > 0
    if space.random.random() < 0.5:
        for _ in range(2):
            aside = place + space.drawn(-0.7, 0.7) * radius
            lump |= space.ellipsoid(aside, radius * space.drawn(0.5, 0.9)) > 0
    return lump


def _vessels(space: _Space) -> npt.NDArray[np.float64]:
    """Brighter threads in the lungs, thinner than any lesion."""
    phase = space.drawn(0, 2 * np.pi, 4)
    across = np.cos(space.x / 9 + np.sin(space.z / 30 + phase[0]) + phase[1])
    along = np.cos(space.y / 9 + np.sin(space.z / 25 + phase[2]) + phase[3])
    return np.asarray(350 * np.clip(across + along - 1.5, 0, None))
