"""What looking for text in pixels costs: one frame by its size, and a clip, of which equal regions are looked at once.

Run as ``python -m benchmarks.pixel_text [--frames N]``. A clip is a drawn ultrasound sector of 480 × 640 with a line of
text above it. Printed are the frames, how often the detector was asked about a whole frame and about a part of one,
again after blanking among them, and the seconds on one thread.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anonymize.pixels import (
    Detection,
    ImageDescription,
    Look,
    PixelElement,
    RapidOcrDetector,
    TextPolicy,
    clean_pixels,
)
from anonymize.pixels.rendering import Picture

_ROWS, _COLUMNS = 480, 640
_SIZES = (512, 1024, 2048)
_TEXT = "ORNEK^AYSE  4471902  12.04.1956"


class _Counting:
    """A detector that counts what it is asked, by whole frames and parts."""

    def __init__(self) -> None:
        self._detector = RapidOcrDetector(threads=1)
        self.wholes = self.parts = 0

    def find(self, picture: Picture) -> Sequence[Detection]:
        is_whole = picture.shape[:2] == (_ROWS, _COLUMNS)
        self.wholes += is_whole
        self.parts += not is_whole
        return self._detector.find(picture)


def _written(picture: Picture) -> Picture:
    drawn = Image.fromarray(picture)
    ImageDraw.Draw(drawn).text((8, 4), _TEXT, fill=255, font=ImageFont.load_default(18))
    return np.asarray(drawn)


def _sector(rng: np.random.Generator, rows: int = _ROWS, columns: int = _COLUMNS) -> Picture:
    y, x = np.mgrid[:rows, :columns]
    distance = np.hypot(x - columns / 2, y - rows * 0.1)
    inside = (distance < rows * 0.8) & (distance > rows * 0.12) & (np.abs(x - columns / 2) < (y - rows * 0.05) * 0.8)
    noise = rng.rayleigh(28, (rows, columns)) * np.exp(-distance / rows)
    return np.where(inside, np.clip((noise + np.roll(noise, 1, 0)) / 2, 0, 255), 0).astype(np.uint8)


def clips(frames: int) -> dict[str, np.ndarray]:
    """Clips by what moves in them, shape (frames, rows, columns)."""
    rng = np.random.default_rng(20261121)
    still = _written(_sector(rng))
    lower, window, whole = (np.repeat(still[None], frames, axis=0) for _ in range(3))
    for frame in range(frames):
        moved = _written(_sector(rng))
        lower[frame, _ROWS // 2 :] = moved[_ROWS // 2 :]
        window[frame, 200:280, 280:360] = moved[200:280, 280:360]
        whole[frame] = moved
    standing = np.repeat(still[None], frames, axis=0)
    return {"nothing": standing, "a window of 80 × 80": window, "the lower half": lower, "all of the sector": whole}


def _seconds(pixels: np.ndarray, detector: _Counting | None) -> float:
    frames, rows, columns = pixels.shape
    image = ImageDescription(
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        rows=rows,
        columns=columns,
        frames=frames,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        modality="US",
    )
    policy = TextPolicy(Look.ALWAYS if detector else Look.NEVER)
    started = time.perf_counter()
    outcome = clean_pixels(PixelElement(memoryview(pixels.tobytes())), image, policy, detector=detector)
    took = time.perf_counter() - started
    if outcome.reason is not None:
        raise SystemExit(f"not clean: {outcome.reason}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of looking for text in pixels.")
    parser.add_argument("--frames", type=int, default=40)
    frames = parser.parse_args().frames
    rng = np.random.default_rng(1)
    _seconds(_sector(rng)[None], _Counting())  # loads the models
    for size in _SIZES:
        frame = _written(_sector(rng, size, size))[None]
        seen, unseen = _seconds(frame, _Counting()), _seconds(frame, None)
        print(f"one frame of {size} × {size}: {seen:.2f} s looked at, {unseen * 1e3:.1f} ms not")
    print(f"\na clip of {frames} frames, in which moves:")
    for name, clip in clips(frames).items():
        detector = _Counting()
        took = _seconds(clip, detector)
        print(f"  {name:<20} {detector.wholes:>4} whole frames and {detector.parts:>4} parts looked at, {took:6.2f} s")


if __name__ == "__main__":
    main()
