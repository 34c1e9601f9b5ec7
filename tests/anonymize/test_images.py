"""What becomes of a data set's image, its icon and its overlays, with a detector that takes what is bright for text."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anonymize import Action, Deidentified, Option, Policy, Quarantine, QuarantineReason, Rule, deidentify
from anonymize.image_cleaning import PixelCleaning
from anonymize.pixels import Detection, Look, Region, TextPolicy
from tests.anonymize.encoded import BIG_ENDIAN, EXPLICIT, IMPLICIT, PATIENT, encoded, identified, parsed, received
from tests.anonymize.pixels.test_cleaning import Bright, marked

FACES = Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES
PIXELS = Policy(frozenset({Option.CLEAN_PIXEL_DATA}))


def pictured(array: np.ndarray, **changes: object) -> Dataset:
    """An 8-bit image."""
    ds = identified()
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = array.tobytes()
    ds["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def looked_at(ds: Dataset, policy: Policy = PIXELS, reads: str = "GIZLI 12.04.1956") -> Deidentified:
    return deidentify(
        received(encoded(ds)), PATIENT, policy, PixelCleaning(TextPolicy(Look.ALWAYS, margin=0), Bright(reads))
    )


def test_how_much_of_a_declared_text_was_blanked_is_told_in_the_record() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    outcome = looked_at(pictured(array, BurnedInAnnotation="YES"))
    ds = parsed(outcome.instance.file)
    assert ds.DeidentificationMethod[-1] == "Declared text blanked: 1 regions, 1 frames, 6.7 %"
    assert len(ds.DeidentificationMethod) == 3
    assert ds.BurnedInAnnotation == "NO"
    assert outcome.text.declared
    undeclared = looked_at(pictured(array))
    assert len(parsed(undeclared.instance.file).DeidentificationMethod) == 2
    assert undeclared.text == outcome.text._replace(declared=False)


def test_a_declared_text_of_which_a_little_was_found_is_held() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    with pytest.raises(Quarantine) as caught:
        looked_at(pictured(array, BurnedInAnnotation="YES"), reads="12:30")
    assert caught.value.reason is QuarantineReason.BURNED_IN_ANNOTATION


# --- overlays ---------------------------------------------------------------------------------------------------------

GRAPHICS = Policy(frozenset({Option.CLEAN_GRAPHICS}))
IMAGE = np.full((20, 30), 90, "u1")
TEXT_BOX = (slice(2, 6), slice(6, 16))


def drawing(text: bool = True) -> np.ndarray:
    """Bits of an arrow, with text or without, shape (40, 60)."""
    bits = np.zeros((40, 60), np.uint8)
    bits[20:22, 10:50] = bits[15:28, 48] = 1
    if text:
        bits[TEXT_BOX] = 1
    return bits


class InTheCorner:
    """Takes what is bright in the upper third for text."""

    def __init__(self, reads: str = "ORNEK AYSE") -> None:
        self._bright = Bright(reads)

    def find(self, picture: np.ndarray) -> list[Detection]:
        dark = np.zeros(picture.shape, np.uint8)
        dark[:13] = picture[:13]
        return list(self._bright.find(dark))


def overlaid(bits: np.ndarray, group: int = 0x6000, **changes: object) -> Dataset:
    """An image with an overlay; `changes` by hexadecimal element number, None to leave one out."""
    ds = pictured(IMAGE)
    frames = [] if bits.ndim == 2 else [("0015", "IS", str(len(bits)))]
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    described = [
        ("0010", "US", bits.shape[-2]),
        ("0011", "US", bits.shape[-1]),
        *frames,
        ("0022", "LO", "Lesion, Gizli Kisi"),
        ("0040", "CS", "G"),
        ("0050", "SS", [1, 1]),
        ("0100", "US", 1),
        ("0102", "US", 0),
        ("1500", "LO", "ÖRNEK AYŞE"),
        ("3000", "OW", packed + bytes(len(packed) & 1)),
        ("4000", "LT", "Bilinmeyen Birisi"),
    ]
    for number, vr, value in described:
        chosen = changes.get(f"x{number}", value)
        if chosen is not None:
            ds.add_new(group << 16 | int(number, 16), vr, chosen)
    return ds


def with_graphics(
    ds: Dataset, detector: object = None, policy: Policy = GRAPHICS, syntax: str = EXPLICIT
) -> tuple[Dataset, dict[int, tuple[Action, str]]]:
    """The output, and what the trail says of groups 60xx, by element number."""
    cleaning = PixelCleaning(TextPolicy(margin=0), detector or InTheCorner())
    outcome = deidentify(received(encoded(ds, syntax), syntax), PATIENT, policy, cleaning)
    said = {made.path[0] & 0xFFFF: (made.action, made.reason) for made in outcome.trail if made.path[0] >> 24 == 0x60}
    return parsed(outcome.instance.file), said


def bits_of(ds: Dataset, like: np.ndarray, group: int = 0x6000) -> np.ndarray:
    packed = np.frombuffer(ds[group, 0x3000].value, np.uint8)
    if not ds.original_encoding[1]:
        packed = packed.view(">u2").astype("<u2").view(np.uint8)
    return np.unpackbits(packed, bitorder="little")[: like.size].reshape(like.shape)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_an_overlay_keeps_its_drawing_and_loses_its_text(syntax: str) -> None:
    ds = overlaid(drawing(), 0x6002)
    if syntax == BIG_ENDIAN:
        swapped = np.frombuffer(ds[0x6002, 0x3000].value, "<u2").astype(">u2").tobytes()
        ds[0x6002, 0x3000].value = swapped
    ds, said = with_graphics(ds, syntax=syntax)
    assert np.array_equal(bits_of(ds, drawing(), 0x6002), drawing(text=False))
    assert [ds[0x6002, number].value for number in (0x10, 0x11, 0x40, 0x100, 0x102)] == [40, 60, "G", 1, 0]
    assert list(ds[0x6002, 0x50].value) == [1, 1]
    assert said[0x3000] == (Action.CLEAN_PIXELS, "option clean-graphics")
    assert said[0x0010] == (Action.KEEP, "option clean-graphics")
    assert said[0x0022][0] is said[0x1500][0] is said[0x4000][0] is Action.CLEAN_TEXT
    texts = " ".join(str(ds[0x6002, number].value) for number in (0x22, 0x1500, 0x4000) if (0x6002, number) in ds)
    assert "esion" in texts
    assert not any(name in texts for name in ("Gizli", "Kisi", "AYŞE", "Birisi"))


def test_an_overlay_without_text_stays_bit_for_bit_and_loses_what_is_behind_it() -> None:
    ds, said = with_graphics(overlaid(drawing(text=False)))
    assert np.array_equal(bits_of(ds, drawing()), drawing(text=False))
    assert said[0x3000][0] is Action.KEEP
    packed = np.packbits(drawing(text=False).reshape(-1), bitorder="little").tobytes()
    ds, said = with_graphics(overlaid(drawing(text=False), x3000=packed + b"GIZLI KISI"))
    assert bytes(ds[0x6000, 0x3000].value) == packed
    assert said[0x3000][0] is Action.CLEAN_PIXELS


def test_bits_behind_the_last_in_its_byte_go() -> None:
    bits = np.zeros((13, 11), np.uint8)
    packed = bytearray(np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    packed[-1] |= 0x80
    ds, _ = with_graphics(overlaid(bits, x3000=bytes(packed)))
    assert not any(ds[0x6000, 0x3000].value)


def test_every_frame_of_an_overlay_is_looked_at() -> None:
    bits = np.stack([drawing(text=False), drawing(), drawing(text=False)])
    ds, _ = with_graphics(overlaid(bits))
    assert np.array_equal(bits_of(ds, bits), np.stack([drawing(text=False)] * 3))


def test_each_overlay_is_judged_for_itself() -> None:
    ds = overlaid(drawing())
    for element in overlaid(drawing(text=False), 0x6004, x0102=12):
        if element.tag.group == 0x6004:
            ds.add(element)
    ds, _ = with_graphics(ds)
    assert (0x6000, 0x3000) in ds
    assert not [element for element in ds if element.tag.group == 0x6004]


NO_PLANES = {
    "bits of the pixels": {"x0100": 16, "x0102": 12, "x3000": None},
    "no data": {"x3000": None},
    "data too short": {"x3000": bytes(298)},
    "two bits": {"x0100": 2},
    "no rows": {"x0010": 0},
    "no columns": {"x0011": None},
    "no type": {"x0040": None},
    "a type of its own": {"x0040": "GIZLI"},
    "many frames": {"x0015": "9"},
    "frames that are no number": {"x0015": "-1"},
}  # fmt: skip


@pytest.mark.parametrize("changes", NO_PLANES.values(), ids=NO_PLANES)
def test_what_is_no_plane_is_removed_and_the_trail_says_so(changes: dict[str, object]) -> None:
    ds = overlaid(drawing(text=False), **changes)
    for number, value in changes.items():
        if number == "x0015":
            ds.add_new(0x60000015, "IS", value)
    ds, said = with_graphics(ds)
    assert not [element for element in ds if element.tag.group == 0x6000]
    assert set(said.values()) == {(Action.REMOVE, "graphics clean-graphics")}


class EverywhereAndAgain(Bright):
    def find(self, picture: np.ndarray) -> list[Detection]:
        return [Detection(Region(1, 1, 5, 5), self.reads, 0.9)]


@pytest.mark.parametrize("reads", ["ORNEK AYSE", ""])
def test_an_overlay_in_which_text_is_left_is_removed_and_the_image_stays(reads: str) -> None:
    ds, said = with_graphics(overlaid(drawing()), EverywhereAndAgain(reads))
    assert (0x6000, 0x3000) not in ds
    assert said[0x3000] == (Action.REMOVE, "graphics clean-graphics")
    assert ds.PixelData == IMAGE.tobytes()


def test_an_overlay_whose_bytes_spell_a_text_is_removed_wherever_it_begins() -> None:
    letters = b"\0\0ORNEK AYSE IZMIR 1956" + bytes(9)
    for shift in range(8):
        bits = np.roll(np.unpackbits(np.frombuffer(letters, np.uint8), bitorder="little"), shift).reshape(16, 16)
        ds, _ = with_graphics(overlaid(bits), Nothing())
        assert (0x6000, 0x3000) not in ds, shift


class Nothing:
    def find(self, picture: np.ndarray) -> list[Detection]:
        return []


def test_overlays_are_removed_without_the_option_or_without_a_detector() -> None:
    for policy, detector in ((PIXELS, Nothing()), (GRAPHICS, None)):
        outcome = deidentify(
            received(encoded(overlaid(drawing(text=False)))), PATIENT, policy, PixelCleaning(detector=detector)
        )
        assert not [element for element in parsed(outcome.instance.file) if element.tag.group == 0x6000]


def test_overlays_of_items_curves_and_high_groups_are_removed_with_the_option() -> None:
    ds = overlaid(drawing(text=False), 0x6020)
    ds.add_new(0x50000005, "US", 1)
    item = Dataset()
    item.update({element.tag: element for element in overlaid(drawing(text=False)) if element.tag.group == 0x6000})
    ds.DerivationCodeSequence = [item]
    ds, _ = with_graphics(ds, Nothing())
    assert not [element for element in ds.iterall() if element.tag.group >> 8 in (0x50, 0x60)]


# --- icons, documents -------------------------------------------------------------------------------------------------

LETTERS = b"GIZLI KISI 1956."


@pytest.mark.parametrize("option", [None, *(option for option in Option if option is not FACES)])
@pytest.mark.parametrize("depth", [0, 1])
def test_icons_are_removed_whatever_the_options(option: Option | None, depth: int) -> None:
    icon, ds = pictured(np.frombuffer(LETTERS, np.uint8).reshape(4, 4)), pictured(IMAGE)
    if depth:
        holder = Dataset()
        holder.IconImageSequence = [icon]
        ds.ReferencedImageSequence = [holder]
    else:
        ds.IconImageSequence = [icon]
    outcome = looked_at(ds, Policy(frozenset({option} if option else ())))
    assert LETTERS not in outcome.instance.file
    icons = [made for made in outcome.trail if 0x00880200 in made.path]
    assert [(made.action, made.rule) for made in icons] == [(Action.REMOVE, Rule.TABLE)]


@pytest.mark.parametrize("content", [b"%PDF-1.7 " + LETTERS, b"<ClinicalDocument>" + LETTERS, b"solid " + LETTERS])
def test_an_encapsulated_document_is_a_dummy_whatever_the_options(content: bytes) -> None:
    ds = pictured(IMAGE)
    ds.EncapsulatedDocument = content + bytes(len(content) & 1)
    every = Policy(frozenset(Option) - {FACES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES})
    for policy in (Policy(), every):
        outcome = looked_at(ds, policy)
        assert LETTERS not in outcome.instance.file
        assert [made.action for made in outcome.trail if made.path == (0x00420011,)] == [Action.DUMMY]
