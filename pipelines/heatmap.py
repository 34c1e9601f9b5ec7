"""Draws what speaks for a label, by the model's own account, over the image as the model saw it: `draw`, a PNG.

Pure, picklable, for worker processes. It takes pixels and numbers only, so a picture cannot name a patient or an
instance, and whose it is follows from where it is kept. That nobody has reviewed it, and that a model is meant for
research, is burnt into it, twice: a part that is cut out says so, too. It must never seem sharper than it is: the
number of fields that the model gave is written below.

A class activation map (Zhou et al., CVPR 2016) shows what raised a label's score, not where a disease is.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Final
from unicodedata import combining, normalize

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipelines.results import Finding, ModelIdentity
from runtime.package import Grayscale, NoPreprocessing
from runtime.preprocess import Sample, to_grey

Heat = npt.NDArray[np.float32]
_Bytes = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float64]

UNREVIEWED: Final = "AI, not reviewed"
RESEARCH: Final = "AI, not reviewed, research only, not for diagnosis"

LIMITS: Final = "It shows what raised the score, not where a disease is."

MAX_BYTES: Final = 2 * 1024 * 1024
"""No picture is larger: its size in pixels is fixed, whatever the model's input, and deflate hardly makes it longer."""

_SIDE: Final = 400  # pixels of the longer side of either image
_GAP: Final = 20
_WIDTH: Final = 2 * _SIDE + 3 * _GAP
_BAND: Final = 34  # the warning above
_HEAD: Final = 78  # label, probability, model
_CAPTION: Final = 26
_FOOT: Final = 70  # the scale and what it means
_HEIGHT: Final = _BAND + _HEAD + _CAPTION + _SIDE + _FOOT

_GROUND: Final = (16, 20, 24)
_INK: Final = (236, 240, 243)
_QUIET: Final = (160, 171, 180)
_WARNING: Final = (255, 205, 92)

_ANCHORS: Final = ((52, 14, 110), (196, 54, 110), (246, 138, 48), (250, 240, 120))
"""Of the colour scale, in sRGB: its lightness only rises, and its hues are told apart without red or green, too."""
_STRONGEST: Final = 0.62  # how far the scale covers the image where the heat is 1; it does not where it is 0


@dataclass(frozen=True, slots=True)
class Explained:
    """What is drawn: a prepared input (channels, rows, columns) and one label's heat (rows, columns) in [0, 1]."""

    tensor: Sample
    heat: Heat
    finding: Finding
    model: ModelIdentity


def marking(model: ModelIdentity) -> str:
    """The words that are burnt in."""
    return RESEARCH if model.research_only else UNREVIEWED


def series_name(model: ModelIdentity) -> str:
    """What a series of such pictures is called: the same words, at most 64 ASCII characters."""
    return f"AI heatmap{marking(model).removeprefix('AI')}"


def in_ascii(text: str) -> str:
    """One line of text in the letters that every font and character set has; the report beside it has the others."""
    letters = "".join(c for c in normalize("NFKD", text.replace("ı", "i")) if not combining(c))
    return " ".join("".join(c if " " <= c <= "~" else "?" if c.isprintable() else " " for c in letters).split())


def draw(explained: Explained, preprocessing: Grayscale | NoPreprocessing) -> bytes:
    """The picture as a PNG without any metadata: the image, and beside it the same under the heat; at most `MAX_BYTES`.

    The same input gives the same bytes with the same Pillow.
    """
    canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _GROUND)
    brush = ImageDraw.Draw(canvas)
    grey = to_grey(explained.tensor, preprocessing)
    columns, rows = _fitted(grey.shape[1], grey.shape[0])
    shown = _enlarged(grey, rows, columns)
    _write_head(brush, explained)
    under_heat = Image.fromarray(_blended(shown, _enlarged(explained.heat, rows, columns)))
    _mark(under_heat, marking(explained.model))
    plain = Image.fromarray(np.rint(shown * 255).astype(np.uint8))
    captions = ("Image as the model saw it", "What raised the score of this label")
    for number, (image, caption) in enumerate(zip((plain, under_heat), captions, strict=True)):
        left, top = _GAP + number * (_SIDE + _GAP), _BAND + _HEAD
        brush.text((left, top), caption, _QUIET, _font(14))
        centred = (left + (_SIDE - columns) // 2, top + _CAPTION + (_SIDE - rows) // 2)
        canvas.paste(image.convert("RGB"), centred)
    _write_scale(canvas, brush, explained.heat.shape)
    file = BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _fitted(columns: int, rows: int) -> tuple[int, int]:
    """Width and height within the square of `_SIDE`."""
    scale = _SIDE / max(columns, rows)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _enlarged(values: Heat, rows: int, columns: int) -> Heat:
    """Resampled without overshoot: nothing is stronger than what the model said."""
    field = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    resized: Heat = np.clip(np.asarray(field.resize((columns, rows), Image.Resampling.BILINEAR)), 0, 1)
    return resized


def _blended(grey: Heat, heat: Heat) -> _Bytes:
    """The colour of the heat over the grey, the stronger the heat the more."""
    cover = (heat * _STRONGEST)[..., np.newaxis]
    colour = _SCALE[np.rint(heat * 255).astype(np.uint8)]
    blended: _Bytes = np.rint(colour * cover + grey[..., np.newaxis] * 255 * (1 - cover)).astype(np.uint8)
    return blended


def _write_head(brush: ImageDraw.ImageDraw, explained: Explained) -> None:
    """Above the images: the warning, then label, probability and model."""
    finding, model = explained.finding, explained.model
    brush.rectangle((0, 0, _WIDTH, _BAND), _WARNING)
    brush.text((_GAP, _BAND // 2), marking(model), _GROUND, _font(17), anchor="lm")
    label = _cut(finding.label, _font(24), _SIDE)
    brush.text((_GAP, _BAND + 12), label, _INK, _font(24))
    reached = "reaches" if finding.present else "below"
    numbers = f"probability {_percent(finding.probability)}, {reached} the threshold {_percent(finding.threshold)}"
    brush.text((_WIDTH - _GAP, _BAND + 17), numbers, _INK, _font(17), anchor="ra")
    brush.text((_GAP, _BAND + 46), _cut(f"{model.name} {model.version}", _font(14), _SIDE), _QUIET, _font(14))


def _mark(image: Image.Image, words: str) -> None:
    """Burn the words into the lower edge of the image itself, outlined, so that they can be read on any."""
    font = _font(14)
    brush = ImageDraw.Draw(image)
    words = words.replace(" ", "  ")  # the outline takes room from every gap
    while brush.textlength(words, font) > image.width - 8 and font.size > 8:
        font = _font(int(font.size) - 1)
    brush.text((image.width / 2, image.height - 12), words, _WARNING, font, "mm", stroke_width=2, stroke_fill=_GROUND)


def _write_scale(canvas: Image.Image, brush: ImageDraw.ImageDraw, fields: tuple[int, ...]) -> None:
    """Below: the scale as it looks over middle grey, what its ends are, and how coarse the map is."""
    top = _HEIGHT - _FOOT + 14
    ramp = np.broadcast_to(np.linspace(0, 1, _SIDE, dtype=np.float32), (14, _SIDE))
    canvas.paste(Image.fromarray(_blended(np.full_like(ramp, 0.5), ramp)), (_GAP, top))
    brush.text((_GAP, top + 20), "nothing", _QUIET, _font(13))
    brush.text((_GAP + _SIDE, top + 20), "strongest place of any label", _QUIET, _font(13), anchor="ra")
    said = (
        f"The model gives {fields[0]} by {fields[1]} fields; between them it is interpolated.",
        LIMITS,
    )
    for line, text in enumerate(said):
        brush.text((2 * _GAP + _SIDE, top - 3 + 20 * line), text, _QUIET, _font(13))


def _percent(ratio: float) -> str:
    """Rounded down, as in the report: what lies below a threshold is never shown as reaching it."""
    return f"{int(ratio * 1000) / 10:.1f} %"


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As much of one line of text as fits."""
    text = in_ascii(text)
    if font.getlength(text) <= width:
        return text
    while font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that Pillow brings along: no file of the machine's."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


# OKLab (Ottosson 2020): a space in which equal distances look about equally large.
_TO_CONES: Final = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB: Final = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _scale() -> _Floats:
    """256 colours through the anchors, in steps of equal length in OKLab: sRGB (256, 3) in [0, 255]."""
    encoded = np.array(_ANCHORS) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    anchors = np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(anchors, axis=0), axis=1))])
    steps = np.linspace(0, way[-1], 256)
    points = np.stack([np.interp(steps, way, anchors[:, axis]) for axis in range(3)], axis=1)
    light = np.clip((points @ np.linalg.inv(_TO_OKLAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T, 0, 1)
    shown: _Floats = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    return shown


_SCALE: Final = _scale()
