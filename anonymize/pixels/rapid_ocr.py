"""Finds text with RapidOCR's models, which lie in its package, on ONNX Runtime. Reaches no network, logs nothing.

Loaded at first use (0.5 s, 150 MB). The detector network finds small text only in small pictures, so that pictures are
cut into overlapping tiles; large ones are looked at scaled down as well, for large text. Uniform tiles are skipped.

What changes slowly is taken away first: in drawn chest films faint text over bone and heart was then found that had
been missed, and no anatomy was read as text any more. Dark text is found as well as bright. On 2 cores a look takes
0.1 s for 512x512 pixels, 0.7 s for 1024x1024, 3.2 s for 2048x2048 and 5.3 s for 3000x3000.
"""

import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFilter

from anonymize.pixels.detection import Detection
from anonymize.pixels.image import Region
from anonymize.pixels.rendering import Picture

TILE: Final = 640
"""Pixels of a tile's side. Text of 10 px in a 2048 px picture is found in tiles of this size, and not in larger."""

_OVERLAP: Final = 96
_STEP: Final = 32  # the network halves five times
_LEAST_CONTRAST: Final = 8  # of 255: no text can be seen in a tile flatter than this
_BLUR: Final = 8  # pixels: wider than the strokes of letters
_READ: Final = 0.5  # the score from which on a reading is one …
_READ_LARGE: Final = 0.9  # … and for letters higher than _LARGE pixels: what anatomy is read as scores less
_LARGE: Final = 96
_NOT_TEXT: Final = 0.8  # of a tile: what is wider and higher is anatomy; text that large is found scaled down
_TEXT_LIKE: Final = 0.65  # what the detector must score where nothing could be read …
_TEXT_HEIGHT: Final = 0.08  # … and how high it may be then, as a part of a tile: anatomy comes out larger


class RapidOcrDetector:
    """A `TextDetector`. `threads` are those of one inference; calls from several threads wait for each other."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._lock = threading.Lock()

    def find(self, picture: Picture) -> list[Detection]:
        """All text in a picture of at least one pixel."""
        colour = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
        with self._lock:
            return [found for scale, x, y, tile in _tiles(colour) for found in self._find_in(tile, scale, x, y)]

    def _find_in(self, tile: Picture, scale: float, x: int, y: int) -> Iterator[Detection]:
        rows, columns = tile.shape[:2]
        found = self._engine.text_det(tile)
        if not len(found):
            return
        crops = self._engine.crop_text_regions(tile, found.boxes)
        turned, _ = self._engine.cls_and_rotate(crops)
        read = self._engine.recognize_txt(turned)
        for box, certainty, text, score in zip(found.boxes, found.scores, read.txts, read.scores, strict=True):
            (left, top), (right, bottom) = np.floor(box.min(axis=0)), np.ceil(box.max(axis=0)) + 1
            edges = (round(float(edge) * scale) for edge in (left, top, right, bottom))
            region = Region.between(*edges).moved(x, y)
            if right - left > _NOT_TEXT * columns and bottom - top > _NOT_TEXT * rows:
                continue
            height = min(bottom - top, right - left)
            if score >= (_READ if height <= _LARGE else _READ_LARGE) and any(map(str.isalnum, text)):
                yield Detection(region, text, float(score))
            elif certainty >= _TEXT_LIKE and height <= _TEXT_HEIGHT * max(rows, columns):
                yield Detection(region, "", float(certainty))

    @cached_property
    def _engine(self) -> Any:
        import rapidocr  # half a second and 150 MB that most instances do without

        models = Path(rapidocr.__file__).parent / "models"
        engine = rapidocr.RapidOCR(
            params={
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": self._threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),  # a path given is never downloaded
                "Cls.model_path": str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
                "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
                "Det.limit_type": "max",
                "Det.limit_side_len": 4 * TILE,
            }
        )
        for load in ("_load_det_model", "_load_cls_model", "_load_rec_model"):
            getattr(engine, load)()
        return engine


def _flattened(tile: Picture) -> Picture:
    """Leave what differs from its surroundings, on grey, three times as strong."""
    around = np.asarray(Image.fromarray(tile).filter(ImageFilter.GaussianBlur(_BLUR)), dtype=np.int16)
    flat: Picture = np.clip(128 + 3 * (tile - around), 0, 255).astype(np.uint8)
    return flat


def _tiles(colour: Picture) -> Iterator[tuple[float, int, int, Picture]]:
    """Yield (scale, x, y, tile): a pixel (u, v) of the tile is (u * scale + x, v * scale + y) of the picture."""
    rows, columns = colour.shape[:2]
    for y in _starts(rows):
        for x in _starts(columns):
            tile = colour[y : y + TILE, x : x + TILE]
            if np.ptp(tile) >= _LEAST_CONTRAST:
                yield 1.0, x, y, _even(_flattened(tile))
    longest = max(rows, columns)
    if longest > 2 * TILE and np.ptp(colour) >= _LEAST_CONTRAST:
        scale = longest / (1.5 * TILE)
        size = (max(1, round(columns / scale)), max(1, round(rows / scale)))
        smaller = np.asarray(Image.fromarray(colour).resize(size, Image.Resampling.BOX))
        yield scale, 0, 0, _even(_flattened(smaller))


def _starts(length: int) -> list[int]:
    """Where tiles begin, evenly spread, that overlap by `_OVERLAP` at least."""
    if length <= TILE:
        return [0]
    count = -(-(length - _OVERLAP) // (TILE - _OVERLAP))
    return [round(number * (length - TILE) / (count - 1)) for number in range(count)]


def _even(tile: Picture) -> Picture:
    """Continue the edges to whole steps of the network, or it would be stretched to them."""
    rows, columns = (max(64, -(-size // _STEP) * _STEP) - size for size in tile.shape[:2])
    return np.ascontiguousarray(np.pad(tile, ((0, rows), (0, columns), (0, 0)), mode="edge"))
