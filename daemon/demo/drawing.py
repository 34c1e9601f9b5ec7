"""Draws a chest, frontal and lateral, as an X-ray would show it: numpy alone, no real image, the same for a seed.

A drawing adds up how much each organ on the way attenuates and lightens the sum as a film does. It is meant to look
like a chest radiograph to a person and to a program, not to be one: never measure a model with it.

Coordinates run from -1 to 1, x to the image's right (the patient's left), y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float64]

SIZE: Final = 1024  # pixels a side
HIGHEST: Final = 4095  # the largest stored value, of 12 bits
_EDGE: Final = 0.008  # half the width of a sharp edge
_CONTRAST: Final = 3.4  # the film's steepness
_MIDDLE: Final = 0.62  # the attenuation that comes out mid-grey


@dataclass(frozen=True, slots=True)
class _Plane:
    """The coordinates of every pixel, and the randomness of one drawing."""

    x: Field
    y: Field
    random: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> "_Plane":
        axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
        x, y = np.meshgrid(axis, axis)
        return cls(x, y, np.random.default_rng(seed))

    def along_y(self, points: Sequence[tuple[float, float]]) -> Field:
        """Interpolate (y, value) pairs smoothly, a value for each row."""
        heights, values = zip(*points, strict=True)
        column = np.interp(self.y[:, 0], heights, values)
        return np.repeat(_smooth(column, 60)[:, None], SIZE, axis=1)

    def along_x(self, points: Sequence[tuple[float, float]]) -> Field:
        """Interpolate (x, value) pairs smoothly, a value for each column."""
        places, values = zip(*points, strict=True)
        row = np.interp(self.x[0], places, values)
        return np.repeat(_smooth(row, 45)[None, :], SIZE, axis=0)

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0) -> Field:
        """Signed depth inside an ellipse: positive within, in units of its smaller radius. `tilt` in radians."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / radii[0]
        v = (-dx * np.sin(tilt) + dy * np.cos(tilt)) / radii[1]
        return np.asarray((1 - np.hypot(u, v)) * min(radii))


def draw_frontal(seed: int) -> npt.NDArray[np.uint16]:
    """Return a postero-anterior view, (1024, 1024) uint16 from 0 to 4095, high is white."""
    plane = _Plane.of(seed)
    lungs = _frontal_lungs(plane)
    body = _frontal_body(plane)
    attenuation = body - 0.52 * lungs
    attenuation += _mediastinum(plane) + _frontal_bones(plane) * np.clip(3 * body, 0, 1)
    attenuation += (0.20 * _vessels(plane) + 0.012 * _grain(plane, 5) + 0.02 * _grain(plane, 40)) * lungs
    return _exposed(plane, attenuation)


def draw_lateral(seed: int) -> npt.NDArray[np.uint16]:
    """Return a left lateral view, the patient facing the image's left; shape and values as of `draw_frontal`."""
    plane = _Plane.of(seed + 1)
    x, y = plane.x, plane.y
    front = plane.along_y([(-1, -0.30), (-0.75, -0.36), (-0.3, -0.66), (0.3, -0.72), (1, -0.66)])
    back = plane.along_y([(-1, 0.45), (-0.7, 0.62), (0, 0.70), (0.5, 0.62), (1, 0.58)])
    body = _step(x - front) * _step(back - x)
    dome = plane.along_x([(-1, 0.62), (-0.6, 0.5), (-0.2, 0.4), (0.2, 0.5), (0.5, 0.78), (1, 0.9)])
    lungs = _step(x - front - 0.10, 0.03) * _step(back - x - 0.10, 0.03) * _step(dome - y)
    lungs *= _step(
        y
        - plane.along_x([(-1, 0.2), (-0.6, -0.25), (-0.25, -0.6), (0, -0.76), (0.2, -0.78), (0.4, -0.68), (0.7, -0.2)]),
        0.03,
    )
    attenuation = body * (0.80 + 0.10 * y) - 0.50 * lungs
    attenuation += 0.26 * _step(plane.ellipse((-0.30, 0.22), (0.26, 0.34), 0.5), 0.03)
    attenuation += 0.10 * _step(plane.ellipse((-0.02, -0.30), (0.13, 0.16)), 0.04)
    spine = plane.along_y([(-1, 0.20), (-0.4, 0.46), (0.2, 0.48), (1, 0.30)])
    vertebrae = 0.75 + 0.25 * np.tanh(6 * np.cos(2 * np.pi * y / 0.155))
    attenuation += 0.22 * _step(0.085 - np.abs(x - spine), 0.015) * vertebrae * body
    attenuation += 0.12 * _step(0.02 - np.abs(x - front - 0.07)) * _step(y + 0.5, 0.05) * _step(0.25 - y, 0.05)
    for number in range(9):
        course = -0.75 + 0.17 * number + 0.30 * (0.5 - x) + 0.10 * np.sin(3 * x)
        attenuation += 0.07 * _bone((y - course) / 0.024) * _step(x - front - 0.05) * _step(back - x - 0.04)
    attenuation += 0.10 * _vessels(plane) * lungs + 0.01 * _grain(plane, 5) * lungs
    return _exposed(plane, attenuation)


def _frontal_body(plane: _Plane) -> Field:
    """Soft tissue: neck, shoulders, trunk; thicker below the diaphragm, thinner towards the skin."""
    half = plane.along_y(
        [(-1, 0.30), (-0.93, 0.36), (-0.84, 0.72), (-0.72, 0.95), (-0.3, 0.93), (0.4, 0.90), (1, 0.92)]
    )
    depth = np.clip((half - np.abs(plane.x)) / half, 0, 1)
    thickness = np.sqrt(1 - (1 - depth) ** 2.5)
    belly = plane.along_y([(-1, 0.62), (-0.5, 0.80), (0.4, 0.86), (0.7, 0.98), (1, 1.0)])
    return np.asarray(_step(half - np.abs(plane.x), 0.01) * thickness * belly)


def _frontal_lungs(plane: _Plane) -> Field:
    x, y = plane.x, plane.y
    outer = plane.along_y(
        [(-0.86, 0.20), (-0.76, 0.36), (-0.6, 0.50), (-0.3, 0.64), (0, 0.71), (0.4, 0.75), (0.7, 0.75), (1, 0.74)]
    )
    right_inner = plane.along_y([(-0.85, 0.22), (-0.6, 0.14), (-0.2, 0.14), (0.1, 0.17), (0.3, 0.22), (0.7, 0.18)])
    left_inner = plane.along_y([(-0.85, 0.22), (-0.6, 0.15), (-0.35, 0.20), (-0.1, 0.18), (0.1, 0.27), (0.5, 0.50)])
    inner = np.where(x < 0, right_inner, left_inner)
    right_dome = [(-0.8, 0.80), (-0.72, 0.66), (-0.55, 0.50), (-0.35, 0.44), (-0.15, 0.47), (0, 0.52)]
    left_dome = [(0.15, 0.53), (0.35, 0.49), (0.55, 0.55), (0.72, 0.70), (0.8, 0.84)]
    dome = plane.along_x([*right_dome, *left_dome])
    apex = -0.80 + 1.2 * (np.abs(x) - 0.27) ** 2
    side = np.abs(x)
    return np.asarray(_step(outer - side, 0.014) * _step(side - inner, 0.02) * _step(dome - y) * _step(y - apex, 0.02))


def _mediastinum(plane: _Plane) -> Field:
    """Heart, great vessels, hila; the trachea's air and the stomach's bubble taken away."""
    x, y = plane.x, plane.y
    left_heart = 0.27 * _step(plane.ellipse((0.15, 0.30), (0.40, 0.25), 0.55), 0.03)
    total = np.maximum(left_heart, 0.20 * _step(plane.ellipse((-0.06, 0.26), (0.19, 0.26)), 0.04))
    total += 0.16 * _step(plane.ellipse((0.12, -0.30), (0.11, 0.12)), 0.025)
    total += 0.14 * _step(0.16 - np.abs(x), 0.05) * _step(y + 0.9, 0.1) * _step(0.5 - y, 0.1)
    for centre in ((-0.20, -0.04), (0.21, -0.08)):
        total += 0.13 * np.exp(-(((x - centre[0]) / 0.07) ** 2) - ((y - centre[1]) / 0.11) ** 2)
    windpipe = _step(0.042 - np.abs(x + 0.015), 0.012) * _step(-0.22 - y, 0.02)
    for direction in (-1, 1):
        course = direction * (0.02 + 0.55 * (y + 0.24))
        bronchus = _step(0.026 - np.abs(x - course), 0.012) * _step(y + 0.24, 0.02) * _step(-0.03 - y, 0.03)
        windpipe = np.maximum(windpipe, bronchus)
    bubble = _step(plane.ellipse((0.42, 0.68), (0.15, 0.08), -0.1), 0.03)
    return np.asarray(total - 0.16 * windpipe - 0.22 * bubble)


def _frontal_bones(plane: _Plane) -> Field:
    x, y = plane.x, plane.y
    side = np.abs(x)
    vertebrae = 0.82 + 0.18 * np.tanh(5 * np.cos(2 * np.pi * y / 0.135))
    total = 0.13 * _step(0.095 - side, 0.015) * vertebrae
    total += 0.06 * np.exp(-((side / 0.012) ** 2)) * (0.5 + 0.5 * np.cos(2 * np.pi * y / 0.135)) ** 4
    for number in range(10):
        total += _rib(plane, number)
    collar = -0.66 - 0.12 * side - 0.035 * np.sin(7.5 * side)
    total += 0.15 * _bone((y - collar) / 0.026) * _step(side - 0.07, 0.02) * _step(0.78 - side, 0.03)
    blade = _step(plane.along_y([(-0.7, 0.58), (-0.5, 0.62), (-0.1, 0.74), (0.1, 0.8)]) - side, 0.02)
    reach = _step(y + 0.66, 0.05) * _step(0.05 - y, 0.04)
    total += 0.07 * (1 - blade) * reach * _step(0.88 - side, 0.03)
    for direction in (-1, 1):
        total += 0.16 * _step(plane.ellipse((direction * 0.93, -0.60), (0.13, 0.12), direction * 0.9), 0.02)
    return np.asarray(total)


def _rib(plane: _Plane, number: int) -> Field:
    """Draw one pair of ribs, a ring seen aslant: the upper half behind, the lower in front up to the cartilage."""
    x, y = plane.x, plane.y
    centre = -0.70 + 0.125 * number + plane.random.normal(0, 0.003)
    radius = float(np.interp(centre, [-0.7, -0.4, 0, 0.5], [0.40, 0.60, 0.74, 0.79]))
    height = 0.10 + 0.016 * number
    side = np.abs(x)
    squared = (x / radius) ** 2 + ((y - centre) / height) ** 2
    slope = 2 * np.hypot(x / radius**2, (y - centre) / height**2) + 1e-6
    across = (squared - 1) / slope / 0.027
    behind = _step(centre - y, 0.01) * _step(side - 0.08, 0.02)
    ahead = _step(y - centre, 0.02) * _step(side - 0.34 - 0.02 * number, 0.05)
    return np.asarray(_bone(across) * (0.13 * behind + 0.10 * ahead))


def _bone(across: Field) -> Field:
    """Return the profile of a hollow bone, `across` from -1 to 1: a faint middle, a denser shell on both sides."""
    inside = np.clip(1 - across**2, 0, None)
    return np.asarray(0.6 * np.sqrt(inside) + 0.7 * inside * across**2)


def _vessels(plane: _Plane) -> Field:
    """Draw branching lines out of both hila, thinner at each fork, out of focus at the ends."""
    canvas = np.zeros((SIZE, SIZE))
    for side, start in ((-1, (-0.17, -0.04)), (1, (0.18, -0.06))):
        for angle in np.linspace(-1.35, 1.35, 9):
            heading = angle + plane.random.normal(0, 0.08)
            _grow(plane, canvas, start, heading if side > 0 else np.pi - heading, 0.016, 4)
    return _smooth(_smooth(canvas, 3).T, 3).T


def _grow(plane: _Plane, canvas: Field, start: tuple[float, float], heading: float, width: float, forks: int) -> None:
    length = plane.random.uniform(0.11, 0.19)
    bend = plane.random.normal(0, 0.25)
    steps = np.linspace(0, 1, 40)
    headings = heading + bend * steps
    xs = start[0] + np.cumsum(np.cos(headings)) * length / len(steps)
    ys = start[1] + np.cumsum(np.sin(headings)) * length / len(steps)
    for x, y, step in zip(xs, ys, steps, strict=True):
        _dab(canvas, x, y, width * (1 - 0.3 * step))
    if forks:
        for turn in (-0.38, 0.34):
            toward = float(headings[-1]) + turn + plane.random.normal(0, 0.12)
            _grow(plane, canvas, (float(xs[-1]), float(ys[-1])), toward, width * 0.66, forks - 1)


def _dab(canvas: Field, x: float, y: float, width: float) -> None:
    """Lay down a round spot of radius `width`, as thick as it is wide."""
    column, row = (x + 1) / 2 * SIZE, (y + 1) / 2 * SIZE
    reach = max(1.0, width / 2 * SIZE)
    rows = slice(max(0, int(row - reach)), max(0, int(row + reach) + 2))
    columns = slice(max(0, int(column - reach)), max(0, int(column + reach) + 2))
    patch = canvas[rows, columns]
    if patch.size:
        down, across = np.mgrid[rows, columns][:, : patch.shape[0], : patch.shape[1]]
        inside = np.clip(1 - ((down - row) ** 2 + (across - column) ** 2) / reach**2, 0, None)
        np.maximum(patch, np.sqrt(inside) * width / 0.016, out=patch)


def _exposed(plane: _Plane, attenuation: Field) -> npt.NDArray[np.uint16]:
    """Blur, add quantum noise (more where less light arrived, blurred by the detector), and give the film its curve."""
    softened = _smooth(_smooth(attenuation, 3).T, 3).T
    noisy = softened + _grain(plane, 6) * (0.012 + 0.016 * np.clip(softened, 0, 1.2))
    grey = 1 / (1 + np.exp(-_CONTRAST * (noisy - _MIDDLE)))
    lowest, highest = (1 / (1 + np.exp(-_CONTRAST * (edge - _MIDDLE))) for edge in (0.03, 1.45))
    scaled = np.clip((grey - lowest) / (highest - lowest), 0, 1)
    film: npt.NDArray[np.uint16] = np.rint(40 + scaled * (HIGHEST - 95)).astype(np.uint16)
    return film


def _grain(plane: _Plane, pixels: int) -> Field:
    """Return smooth random texture with features of about `pixels`, standard deviation 1."""
    texture = _smooth(_smooth(plane.random.normal(0, 1, (SIZE, SIZE)), pixels).T, pixels).T
    return np.asarray(texture / texture.std())


def _step(depth: Field, half_width: float = _EDGE) -> Field:
    """Return 0 outside, 1 inside, with a soft edge where `depth` is 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(depth / half_width))


def _smooth(values: Field, pixels: int) -> Field:
    """Average over `pixels` along the first axis, twice, with the ends held."""
    for _ in range(2):
        padding = [(pixels, pixels)] + [(0, 0)] * (values.ndim - 1)
        total = np.cumsum(np.pad(values, padding, mode="edge"), axis=0)
        low = pixels - pixels // 2
        values = (total[low + pixels : low + pixels + len(values)] - total[low : low + len(values)]) / pixels
    return values
