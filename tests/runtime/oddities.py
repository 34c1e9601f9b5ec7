"""Images that no chest model was made for, drawn by code: float32 (512, 512) in [0, 1], 1 is white."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

_AXIS = np.linspace(-1, 1, 512)
_X, _Y = np.meshgrid(_AXIS, _AXIS)


def noise() -> Image:
    """White noise."""
    return np.random.default_rng(0).random((512, 512), dtype=np.float32)


def ct_slice() -> Image:
    """An axial slice of a chest, as a lung window shows it: body, lungs, spine, heart, air around."""
    body = _ellipse(0, 0, 0.85, 0.6)
    slice_ = np.where(body, 0.55, 0.0)
    for side in (-1, 1):
        slice_[_ellipse(side * 0.38, -0.02, 0.27, 0.4)] = 0.12
    slice_[_ellipse(0, 0.42, 0.1, 0.1)] = 0.95
    slice_[_ellipse(-0.05, -0.1, 0.2, 0.2)] = 0.6
    return _grained(slice_)


def hand() -> Image:
    """A hand in front of nothing: palm, four fingers and a thumb, with bones."""
    film = np.where(_ellipse(0, 0.4, 0.38, 0.3), 0.5, 0.0)
    _lay(film, (0, 0.9), (0, 0.45), 0.2, 0.45)
    for x, tip in ((-0.3, -0.5), (-0.1, -0.75), (0.12, -0.72), (0.33, -0.5)):
        for radius, density in ((0.1, 0.4), (0.045, 0.85)):
            _lay(film, (0.7 * x, 0.35), (1.2 * x, tip), radius, density)
    for radius, density in ((0.11, 0.4), (0.05, 0.85)):
        _lay(film, (-0.25, 0.5), (-0.65, 0.0), radius, density)
    return _grained(film)


def _ellipse(x: float, y: float, width: float, height: float) -> npt.NDArray[np.bool_]:
    return np.asarray(((_X - x) / width) ** 2 + ((_Y - y) / height) ** 2 < 1)


def _lay(
    film: npt.NDArray[np.float64], start: tuple[float, float], end: tuple[float, float], radius: float, density: float
) -> None:
    """Lay a rounded rod into the film."""
    along = np.array(end) - start
    share = np.clip(((_X - start[0]) * along[0] + (_Y - start[1]) * along[1]) / (along @ along), 0, 1)
    away = np.hypot(_X - start[0] - share * along[0], _Y - start[1] - share * along[1])
    np.maximum(film, np.where(away < radius, density, 0), out=film)


def _grained(film: npt.NDArray[np.float64]) -> Image:
    grain = np.random.default_rng(1).normal(0, 0.02, film.shape)
    return np.clip(film + grain, 0, 1).astype(np.float32)
