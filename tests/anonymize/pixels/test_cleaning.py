"""Blanking, with a detector that takes what is brighter than the corner for text: fast, and made to fail at will."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

from anonymize.pixels import (
    BlankedText,
    Detection,
    ImageDescription,
    Look,
    PixelElement,
    PixelOutcome,
    PixelReason,
    Region,
    TextPolicy,
    clean_pixels,
    read_script,
)
from anonymize.pixels.rendering import Picture
from tests.anonymize.pixels.pixel_files import FOLDER, decoded, grey, raw_elements, shipped

ALWAYS = TextPolicy(Look.ALWAYS, margin=0)
BOX = Region(6, 2, 10, 4)


class Bright:
    """Finds the rectangle around what is brighter than the corner; `asked` has the shapes that it was shown."""

    def __init__(self, reads: str = "ORNEK AYSE") -> None:
        self.reads = reads
        self.asked: list[tuple[int, int]] = []

    def find(self, picture: Picture) -> Sequence[Detection]:
        self.asked.append(picture.shape[:2])
        flat = picture if picture.ndim == 2 else picture.min(axis=2)
        rows, columns = np.nonzero(flat > min(255, int(flat[0, 0]) + 60))
        if not rows.size:
            return []
        box = Region.between(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [Detection(box, self.reads, 0.99)]


def marked(array: np.ndarray, value: object, box: Region = BOX) -> np.ndarray:
    array[..., box.y : box.bottom, box.x : box.right] = value
    return array


def cleaned(array: np.ndarray, image: ImageDescription, detector: object = None, **settings: object) -> PixelOutcome:
    value = memoryview(array.tobytes() + bytes(array.nbytes & 1))
    return clean_pixels(PixelElement(value), image, ALWAYS, detector=detector or Bright(), **settings)


def array_of(outcome: PixelOutcome, like: np.ndarray) -> np.ndarray:
    assert outcome.reason is None
    return np.frombuffer(b"".join(outcome.pieces)[: like.nbytes], like.dtype).reshape(like.shape)


@pytest.mark.parametrize(
    ("changes", "dtype", "text", "surface", "black"),
    [
        ({}, "u1", 255, 100, 0),
        ({"photometric_interpretation": "MONOCHROME1"}, "u1", 0, 100, 255),
        ({"bits_allocated": 16, "bits_stored": 12, "high_bit": 11}, "<u2", 4095, 900, 0),
        ({"bits_allocated": 16, "bits_stored": 12, "high_bit": 11, "big_endian": True}, ">u2", 4095, 900, 0),
        (
            {
                "bits_allocated": 16, "bits_stored": 12, "high_bit": 11, "pixel_representation": 1,
            }, "<i2", 2047, -1000, -1000,
        ),
        (
            {
                "bits_allocated": 16, "bits_stored": 12, "high_bit": 11,
                "photometric_interpretation": "MONOCHROME1",
            }, "<u2", 0, 900, 4095,
        ),
    ],
    ids=["8 bit", "MONOCHROME1", "12 bit", "big endian", "signed", "12 bit MONOCHROME1"],
)  # fmt: skip
def test_grey_text_becomes_black(changes: dict, dtype: str, text: int, surface: int, black: int) -> None:
    array = np.full((20, 30), surface, dtype=dtype)
    expected = marked(array.copy(), black)
    outcome = cleaned(marked(array, text), grey(20, 30, **changes))
    assert np.array_equal(array_of(outcome, expected), expected)
    assert {found.region for found in outcome.regions} == {BOX}
    assert (0x00280301, "CS", b"NO") in outcome.changed


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("photometric", "white", "black"), [("RGB", 255, (0, 0, 0)), ("YBR_FULL", 0, (0, 128, 128))])
def test_colour_text_becomes_black_in_both_planar_configurations(planar, photometric, white, black) -> None:
    colour = np.full((20, 30, 3), 90, dtype="u1")
    if photometric == "YBR_FULL":
        colour[:] = (90, 128, 128)
        colour[BOX.y : BOX.bottom, BOX.x : BOX.right] = (255, 128, 128)
    else:
        colour[BOX.y : BOX.bottom, BOX.x : BOX.right] = white
    stored = np.moveaxis(colour, 2, 0).copy() if planar else colour
    image = grey(20, 30, samples_per_pixel=3, photometric_interpretation=photometric, planar_configuration=planar)
    result = array_of(cleaned(stored, image), stored)
    result = np.moveaxis(result, 0, 2) if planar else result
    assert (result[BOX.y : BOX.bottom, BOX.x : BOX.right] == black).all()
    assert (result[0] == colour[0]).all()


def test_subsampled_colour_is_blanked_in_whole_pairs() -> None:
    pairs = np.tile(np.array([90, 90, 128, 128], "u1"), (20, 15, 1))
    pairs[2:6, 3:8, :2] = 255
    pairs[2:6, 3:8, 2:] = 200
    image = grey(20, 30, samples_per_pixel=3, photometric_interpretation="YBR_FULL_422")
    result = array_of(cleaned(pairs, image), pairs)
    assert (result[2:6, 3:8] == (0, 0, 128, 128)).all()
    assert (result[2:6, 2] == (90, 90, 128, 128)).all()


def test_palette_text_becomes_the_darkest_entry_in_use() -> None:
    table = np.zeros(256, "<u2")
    table[[3, 7, 9]] = (0x2000, 0xFFFF, 0x0500)
    palette = {tag: np.array([256, 0, 16], "<u2").tobytes() for tag in (0x00281101, 0x00281102, 0x00281103)}
    palette |= {tag: table.tobytes() for tag in (0x00281201, 0x00281202, 0x00281203)}
    array = np.full((20, 30), 3, "u1")
    array[10:] = 9
    image = grey(20, 30, photometric_interpretation="PALETTE COLOR", palette=palette)
    result = array_of(cleaned(marked(array.copy(), 7), image), array)
    assert np.array_equal(result, marked(array, 9))


def test_one_bit_frames_that_share_a_byte_are_blanked_apart() -> None:
    frames = np.zeros((3, 9, 11), "u1")
    frames[1, 2:5, 3:8] = 1
    frames[0, 0, 0] = frames[2, 8, 10] = 0
    packed = np.packbits(frames.reshape(-1), bitorder="little")
    image = grey(9, 11, 3, bits_allocated=1, bits_stored=1, high_bit=0)
    outcome = cleaned(packed, image)
    assert outcome.reason is None
    assert not any(b"".join(outcome.pieces))
    assert {found.frame for found in outcome.regions} == {1}


def test_float_pixels_are_blanked_with_their_least_value() -> None:
    array = np.full((20, 30), 1.5, "<f4")
    array[19, 28], array[19, 29] = -3.0, np.nan
    outcome = cleaned(
        marked(array.copy(), 9.0), grey(20, 30, bits_allocated=32, bits_stored=32, high_bit=31, float_bytes=4)
    )
    assert outcome.vr == "OF"
    assert (array_of(outcome, array)[2:6, 6:16] == -3.0).all()


def rle(array: np.ndarray) -> PixelElement:
    options = {"rows": array.shape[1], "columns": array.shape[2], "samples_per_pixel": 3, "number_of_frames": 1}
    options |= {"bits_allocated": 8, "bits_stored": 8, "pixel_representation": 0, "planar_configuration": 0}
    frames = [RLELosslessEncoder.encode(frame, photometric_interpretation="RGB", **options) for frame in array]
    return PixelElement(memoryview(encapsulate(frames) + b"\xfe\xff\xdd\xe0\0\0\0\0"), "OB")


def rle_image(frames: int) -> ImageDescription:
    image = grey(20, 30, frames, samples_per_pixel=3, photometric_interpretation="RGB")
    return replace(image, transfer_syntax_uid="1.2.840.10008.1.2.5")


def test_compressed_pixels_become_native_where_text_is_blanked() -> None:
    array = np.full((3, 20, 30, 3), 90, "u1")
    array[1, 2:6, 6:16] = 255
    outcome = clean_pixels(rle(array), rle_image(3), ALWAYS, detector=Bright())
    array[1, 2:6, 6:16] = 0
    assert np.array_equal(array_of(outcome, array), array)
    assert outcome.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert outcome.vr == "OB"
    assert (0x00280006, "US", b"\0\0") in outcome.changed


def test_compressed_pixels_without_text_stay_as_they_came() -> None:
    pixels = rle(np.full((2, 20, 30, 3), 90, "u1"))
    outcome = clean_pixels(pixels, rle_image(2), ALWAYS, detector=Bright())
    assert outcome.pieces[0] is pixels.value
    assert outcome.transfer_syntax_uid == "1.2.840.10008.1.2.5"


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm",
             "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_rle_16bit.dcm"],
)  # fmt: skip
def test_beside_the_blanked_regions_every_decoded_pixel_stays(name: str) -> None:
    file = next(file for file in shipped() if file.path.name == name)
    outcome = clean_pixels(file.pixels, file.image, TextPolicy(Look.NEVER), script=read_script("{true.} (3,4,20,5)"))
    before, after = decoded(file.path).copy(), decoded(file.path, outcome)
    if file.image.photometric_interpretation.startswith("YBR_FULL"):
        assert (0x00280004, "CS", b"RGB ") in outcome.changed
    frames = after if file.image.frames > 1 else after[None]
    blanked = frames[:, 4:9, 3:23]
    assert (blanked == (before.min() if file.image.pixel_representation else 0)).all()
    (before if file.image.frames > 1 else before[None])[:, 4:9, 3:23] = blanked
    assert np.array_equal(before, after)


def test_frames_that_stay_are_views_of_what_came_in() -> None:
    array = np.full((5, 20, 30), 90, "u1")
    marked(array[2:3], 255)
    value = memoryview(array.tobytes())
    outcome = clean_pixels(PixelElement(value), grey(20, 30, 5), ALWAYS, detector=Bright())
    assert [piece.obj is value.obj for piece in outcome.pieces if isinstance(piece, memoryview)] == [True, True]
    assert {found.frame for found in outcome.regions} == {2}


def test_every_frame_is_looked_at_and_what_stands_still_once() -> None:
    array = np.full((6, 400, 400), 90, "u1")
    marked(array, 255)
    for frame in range(1, 6):
        array[frame, 300 + frame, 300] = 10
    array[5, 320:330, 320:360] = 255
    detector = Bright()
    outcome = cleaned(array, grey(400, 400, 6), detector)
    assert (array_of(outcome, array) < 250).all()
    wholes = [asked for asked in detector.asked if asked == (400, 400)]
    assert len(wholes) == 1


def test_text_that_appears_in_a_later_frame_is_found_where_nothing_moved_before() -> None:
    array = np.full((3, 400, 400), 90, "u1")
    array[2, 10:20, 380:400] = 255
    outcome = cleaned(array, grey(400, 400, 3))
    assert (array_of(outcome, array) < 250).all()


def test_markers_stay_and_need_no_change() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    value = memoryview(array.tobytes())
    outcome = clean_pixels(PixelElement(value), grey(20, 30), ALWAYS, detector=Bright("PORTABLE"))
    assert outcome.pieces[0] is value
    assert not outcome.regions


class Cut(Bright):
    """Reads the left half as a marker."""

    def find(self, picture: Picture) -> Sequence[Detection]:
        whole = super().find(picture)
        return [Detection(replace(one.region, width=one.region.width // 2), "LAT", 0.99) for one in whole] + [
            Detection(one.region.moved(one.region.width // 2, 0), "IFE", 0.99) for one in whole
        ]


def test_a_marker_that_is_the_beginning_of_a_word_goes_with_it() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    outcome = cleaned(array, grey(20, 30), Cut())
    assert (array_of(outcome, array) < 250).all()


class Stubborn(Bright):
    """Reads text wherever it looks."""

    def find(self, picture: Picture) -> Sequence[Detection]:
        return [Detection(Region(1, 1, 5, 5), self.reads, 0.9)]


def test_text_that_is_still_read_after_blanking_is_a_reason() -> None:
    outcome = cleaned(np.full((20, 30), 90, "u1"), grey(20, 30), Stubborn())
    assert outcome.reason is PixelReason.TEXT_REMAINS
    assert not outcome.pieces


def test_what_only_looks_like_text_is_blanked_and_no_reason() -> None:
    outcome = cleaned(np.full((20, 30), 90, "u1"), grey(20, 30), Stubborn(reads=""))
    assert outcome.reason is None
    assert outcome.regions


def test_policy_without_a_detector_is_a_reason() -> None:
    outcome = clean_pixels(PixelElement(memoryview(bytes(600))), grey(20, 30), ALWAYS)
    assert outcome.reason is PixelReason.NO_DETECTOR


@pytest.mark.parametrize("look", Look)
def test_declared_text_that_nobody_blanks_is_a_reason(look: Look) -> None:
    image = replace(grey(20, 30), burned_in_annotation="YES")
    outcome = clean_pixels(PixelElement(memoryview(bytes(600))), image, TextPolicy(look), detector=Bright())
    assert outcome.reason is PixelReason.TEXT_DECLARED


def test_declared_text_that_a_script_blanks_is_settled() -> None:
    image = replace(grey(20, 30), burned_in_annotation="YES")
    pixels = PixelElement(memoryview(b"\x5a" * 600))
    outcome = clean_pixels(pixels, image, TextPolicy(Look.NEVER), script=read_script("{true.} (0,-5,30,5)"))
    assert outcome.reason is None
    assert b"".join(outcome.pieces) == b"\x5a" * 450 + bytes(150)


def test_undecodable_frames_are_a_reason_only_where_someone_must_look() -> None:
    values, pixels, uid, _ = raw_elements(FOLDER / "JPEG-lossy.dcm")  # 12 bit: no decoder here reads it
    image = ImageDescription.read(values, uid)
    assert clean_pixels(pixels, image, TextPolicy(Look.NEVER)).reason is None
    assert clean_pixels(pixels, image, ALWAYS, detector=Bright()).reason is PixelReason.UNDECODABLE


def test_unknown_colours_are_a_reason_where_someone_must_look() -> None:
    image = grey(20, 30, samples_per_pixel=3, photometric_interpretation="HSV")
    outcome = clean_pixels(PixelElement(memoryview(bytes(1800))), image, ALWAYS, detector=Bright())
    assert outcome.reason is PixelReason.UNRENDERABLE


def test_margins_stop_at_ultrasound_regions() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    policy = TextPolicy(Look.ALWAYS, margin=3)
    for regions, blanked in (((), BOX.grown(2)), ((Region(0, 7, 30, 13),), BOX)):
        image = replace(grey(20, 30), ultrasound_regions=regions)
        outcome = clean_pixels(PixelElement(memoryview(array.tobytes())), image, policy, detector=Bright())
        assert outcome.regions[0].region.meets(Region(0, 7, 30, 13)) is not bool(regions)
        assert blanked.meets(outcome.regions[0].region)


def test_nothing_that_was_read_is_shown() -> None:
    outcome = cleaned(marked(np.full((20, 30), 90, "u1"), 255), grey(20, 30), Bright("ORNEK AYSE"))
    assert "ORNEK" not in repr(outcome)
    assert "ORNEK" not in repr(Detection(BOX, "ORNEK AYSE", 1.0))


# --- text that is declared --------------------------------------------------------------------------------------------


def declared(array: np.ndarray, detector: object, *, frames: int = 1, **settings: object) -> PixelOutcome:
    image = replace(grey(*array.shape[-2:], frames), burned_in_annotation="YES")
    return cleaned(array, image, detector, **settings)


def test_a_name_and_a_date_that_were_blanked_settle_the_declaration_and_are_told() -> None:
    outcome = declared(marked(np.full((20, 30), 90, "u1"), 255), Bright("ORNEK 12.04.1956"))
    assert outcome.reason is None
    assert outcome.text == BlankedText(declared=True, regions=1, frames=1, percent=round(100 * 10 * 4 / 600, 1))


@pytest.mark.parametrize("read", ["12:30", "5.2 cm", "4-7 MHz", "......"])
def test_something_small_that_was_blanked_does_not_settle_it(read: str) -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    assert declared(array, Bright(read)).reason is PixelReason.TEXT_DECLARED
    assert cleaned(array, grey(20, 30), Bright(read)).reason is None  # nothing was declared
    vouched = declared(array, Bright(read), accepted=[PixelReason.TEXT_DECLARED])
    assert vouched.reason is None
    assert (array_of(vouched, array) < 250).all()


def test_a_marker_does_not_settle_it() -> None:
    assert declared(marked(np.full((20, 30), 90, "u1"), 255), Bright("PORTABLE")).reason is PixelReason.TEXT_DECLARED


def test_a_text_that_cannot_be_read_counts_by_its_length() -> None:
    long, short = Region(2, 2, 26, 3), Region(2, 2, 10, 3)
    for box, reason in ((long, None), (short, PixelReason.TEXT_DECLARED)):
        array = marked(np.full((20, 30), 90, "u1"), 255, box)
        assert declared(array, Bright("")).reason is reason


class InTriplicate(Bright):
    """Finds each text three times, as in three renderings."""

    def find(self, picture: Picture) -> Sequence[Detection]:
        return [replace(one, score=one.score - part / 10) for one in super().find(picture) for part in range(3)]


def test_a_text_counts_once_however_often_it_is_found() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    assert declared(array, InTriplicate("12:30")).reason is PixelReason.TEXT_DECLARED


def test_a_name_in_one_of_many_frames_does_not_settle_the_others() -> None:
    array = np.full((4, 200, 200), 90, "u1")
    array[2] = marked(array[2], 255)
    assert declared(array, Bright(), frames=4).reason is PixelReason.TEXT_DECLARED
    assert cleaned(array, grey(200, 200, 4)).reason is None


class Blinking(Bright):
    """Sees nothing in its third look at a whole frame."""

    def find(self, picture: Picture) -> Sequence[Detection]:
        found = super().find(picture)
        return [] if len([shape for shape in self.asked if shape == picture.shape[:2]]) == 3 else found


def test_what_stands_in_most_frames_is_blanked_in_those_where_the_reader_fails() -> None:
    array = marked(np.random.default_rng(1).integers(60, 90, (5, 200, 200), np.uint8), 255)
    detector = Blinking()
    outcome = declared(array, detector, frames=5)
    assert detector.asked.count((200, 200)) == 5, "each frame is another"
    assert outcome.reason is None
    assert (array_of(outcome, array) < 250).all()
    assert outcome.text.frames == 5


def test_what_is_left_and_cannot_be_read_is_a_reason_where_text_was_declared() -> None:
    assert declared(np.full((20, 30), 90, "u1"), Stubborn(reads="")).reason is PixelReason.TEXT_REMAINS
