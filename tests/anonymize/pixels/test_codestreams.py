import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from anonymize.pixels import (
    ExtendedOffsets,
    ImageDescription,
    Look,
    MalformedPixels,
    PixelElement,
    PixelReason,
    TextPolicy,
    clean_pixels,
)
from anonymize.pixels.detection import Detection
from anonymize.pixels.fragments import read_fragments
from anonymize.pixels.jpeg import strip_jpeg
from anonymize.pixels.jpeg2000 import strip_jpeg2000
from anonymize.pixels.rle import strip_rle
from tests.anonymize.pixels.pixel_files import FOLDER, decoded, raw_elements, shipped

NOBODY_LOOKS = TextPolicy(Look.NEVER)
SECRET = b"ORNEK^AYSE 4471902"
DAMAGED = "JPEG2000-embedded-sequence-delimiter.dcm"  # by the delimiter of fragments where its width should be
COMPRESSED = [file for file in shipped() if file.image.encapsulated and file.path.name != DAMAGED]


def frame_of(name: str) -> bytes:
    pixels = raw_elements(FOLDER / name)[1]
    return bytes(read_fragments(pixels.value, 1).frame(0))


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def stripped(stream: bytes) -> bytes:
    pieces = strip_jpeg(memoryview(stream))
    return stream if pieces is None else b"".join(pieces)


def stripped_2000(stream: bytes) -> bytes:
    pieces = strip_jpeg2000(memoryview(stream))
    return stream if pieces is None else b"".join(pieces)


@pytest.mark.parametrize("file", COMPRESSED, ids=lambda file: file.path.name)
def test_no_file_that_pydicom_ships_decodes_to_other_pixels(file) -> None:
    outcome = clean_pixels(file.pixels, file.image, NOBODY_LOOKS)
    assert outcome.reason is None
    assert outcome.length % 2 == 0
    try:
        before = decoded(file.path)
    except Exception:  # noqa: BLE001 decoders raise anything
        pytest.skip("no decoder here reads it as it came")
    assert np.array_equal(before, decoded(file.path, outcome))


@pytest.mark.parametrize("file", COMPRESSED, ids=lambda file: file.path.name)
def test_what_was_stripped_is_passed_on_untouched_the_next_time(file) -> None:
    once = memoryview(b"".join(clean_pixels(file.pixels, file.image, NOBODY_LOOKS).pieces))
    twice = clean_pixels(PixelElement(once), file.image, NOBODY_LOOKS)
    assert len(twice.pieces) == 1
    assert twice.pieces[0] is once


def test_a_codestream_of_another_size_than_described_is_a_reason() -> None:
    file = next(file for file in shipped() if file.path.name == DAMAGED)
    assert clean_pixels(file.pixels, file.image, NOBODY_LOOKS).reason is PixelReason.MALFORMED_CODESTREAM
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"):
        file = next(file for file in COMPRESSED if file.path.name == name)
        for other in (
            replace(file.image, rows=file.image.rows - 1),
            replace(file.image, columns=file.image.columns + 1),
            replace(file.image, rows=file.image.columns, columns=file.image.rows + 1),
        ):
            outcome = clean_pixels(file.pixels, other, NOBODY_LOOKS)
            assert outcome.reason is PixelReason.MALFORMED_CODESTREAM


def test_a_frame_that_no_decoder_can_count_is_never_decoded() -> None:
    stream = bytearray(frame_of("MR_small_jpeg_ls_lossless.dcm"))
    at = stream.index(b"\xff\xf7") + 5
    stream[at : at + 4] = b"\xff" * 4
    pixels = encapsulate([bytes(stream)], has_bot=False) + bytes.fromhex("feffdde000000000")
    image = ImageDescription(
        transfer_syntax_uid="1.2.840.10008.1.2.4.80",
        rows=65535,
        columns=65535,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
    )
    outcome = clean_pixels(PixelElement(memoryview(pixels)), image, TextPolicy(Look.ALWAYS), detector=_Nothing())
    assert outcome.reason is PixelReason.UNDECODABLE


class _Nothing:
    """Sees no text."""

    def find(self, _picture: object) -> list[Detection]:
        return []


def test_there_were_files_of_every_family() -> None:
    families = {file.image.transfer_syntax_uid for file in COMPRESSED}
    assert {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 81, 90, 91)} <= families
    assert "1.2.840.10008.1.2.5" in families


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm"])
@pytest.mark.parametrize("marker", [0xFE, 0xE0, 0xE1, 0xE2, 0xE8, 0xED, 0xEE, 0xEF])
def test_comments_and_application_segments_go(name: str, marker: int) -> None:
    stream = frame_of(name).rstrip(b"\0")
    planted = stream[:2] + segment(marker, SECRET) + stream[2:]
    assert SECRET not in stripped(planted)
    assert stripped(planted) == stripped(stream)


def test_comments_between_scans_and_tables_go() -> None:
    stream = frame_of("SC_rgb_jpeg_dcmtk.dcm")
    at = stream.index(b"\xff\xda")
    assert SECRET not in stripped(stream[:at] + segment(0xFE, SECRET) + stream[at:])


def test_a_jfif_thumbnail_goes_and_the_colour_that_jfif_means_stays() -> None:
    stream = frame_of("SC_rgb_jpeg_dcmtk.dcm")
    jfif = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\3" + SECRET)
    clean = stripped(stream[:2] + jfif + stream[2:])
    assert SECRET not in clean
    assert clean[2:20] == b"\xff\xe0\0\x10JFIF\0\1\2\0\0\1\0\1\0\0"


def test_adobes_and_hps_colour_transforms_stay_alone() -> None:
    stream = frame_of("MR_small_jpeg_ls_lossless.dcm")
    planted = segment(0xEE, b"Adobe\1\2\3\4\5\6\1" + SECRET) + segment(0xE8, b"mrfx\2" + SECRET)
    clean = stripped(stream[:2] + planted + stream[2:])
    assert clean[2:].startswith(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1\xff\xe8\0\7mrfx\2\xff\xf7")


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_bytes_after_the_end_of_a_jpeg_go(name: str) -> None:
    stream = stripped(frame_of(name))
    assert stripped(stream.rstrip(b"\0") + SECRET) == stream.rstrip(b"\0")


@pytest.mark.parametrize(
    ("marker", "content"),
    [(0xDD, b"\0\0" + SECRET), (0xC0, b"\x08\0\x08\0\x08\1\1\x11\0" + SECRET), (0x02, SECRET), (0xF0, SECRET)],
    ids=["restart interval", "frame", "reserved", "extension"],
)
def test_segments_with_room_for_more_than_they_say_are_refused(marker: int, content: bytes) -> None:
    stream = frame_of("SC_rgb_jpeg_dcmtk.dcm")
    with pytest.raises(MalformedPixels):
        stripped(stream[:2] + segment(marker, content) + stream[2:])


def test_a_jpeg_without_end_is_refused() -> None:
    stream = frame_of("SC_rgb_jpeg_dcmtk.dcm")
    with pytest.raises(MalformedPixels):
        stripped(stream[: stream.rindex(b"\xff\xd9")] + SECRET)


def test_comments_of_jpeg_2000_go_from_the_header_and_are_zeroed_in_tile_parts() -> None:
    stream = frame_of("MR_small_jp2klossless.dcm")
    at = stream.index(b"\xff\x90")
    comment = segment(0x64, b"\0\1" + SECRET)
    assert SECRET not in stripped_2000(stream[:at] + comment + stream[at:])
    length = int.from_bytes(stream[at + 6 : at + 10], "big")
    longer = (length + len(comment)).to_bytes(4, "big") if length else bytes(4)
    planted = stream[:at] + stream[at : at + 6] + longer + stream[at + 10 : at + 12] + comment + stream[at + 12 :]
    clean = stripped_2000(planted)
    assert SECRET not in clean
    assert bytes(len(SECRET) + 2) in clean
    assert len(clean) == len(stripped_2000(stream)) + len(comment)


def test_bytes_after_the_end_of_jpeg_2000_go() -> None:
    stream = frame_of("MR_small_jp2klossless.dcm").rstrip(b"\0")
    assert SECRET not in stripped_2000(stream + SECRET)


def test_boxes_of_a_jp2_file_that_say_nothing_about_decoding_go() -> None:
    stream = frame_of("GDCMJ2K_TextGBR.dcm")
    xml = (len(SECRET) + 8).to_bytes(4, "big") + b"xml " + SECRET
    assert SECRET not in stripped_2000(stream[:12] + xml + stream[12:])


@given(st.data())
def test_a_damaged_codestream_is_refused_or_stripped_and_nothing_else(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["SC_rgb_jpeg_dcmtk.dcm", "MR_small_jp2klossless.dcm", "GDCMJ2K_TextGBR.dcm"]))
    stream = bytearray(frame_of(name)[: data.draw(st.integers(0, 4000))])
    for _ in range(data.draw(st.integers(0, 4))):
        if stream:
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    strip = stripped if name.startswith("SC") else stripped_2000
    with contextlib.suppress(MalformedPixels):
        assert len(strip(bytes(stream))) <= len(stream)


def jpeg_frames(count: int, comment: bytes = SECRET) -> list[bytes]:
    stream = frame_of("SC_rgb_jpeg_gdcm.dcm").rstrip(b"\0")
    return [stream[:2] + segment(0xFE, comment * (number + 1)) + stream[2:] for number in range(count)]


def image(frames: int, uid: str = "1.2.840.10008.1.2.4.70") -> ImageDescription:
    return ImageDescription(
        transfer_syntax_uid=uid, rows=100, columns=100, frames=frames, samples_per_pixel=3,
        photometric_interpretation="RGB", bits_allocated=8, bits_stored=8, high_bit=7,
    )  # fmt: skip


@pytest.mark.parametrize("fragments", [1, 3])
def test_offset_tables_are_put_right(fragments: int) -> None:
    value = encapsulate(jpeg_frames(4), fragments_per_frame=fragments) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    outcome = clean_pixels(PixelElement(memoryview(value)), image(4), NOBODY_LOOKS)
    clean = memoryview(b"".join(outcome.pieces))
    assert SECRET not in bytes(clean)
    again = read_fragments(clean, 4)
    offsets = [int.from_bytes(again.table[at : at + 4], "little") for at in range(0, 16, 4)]
    start = 16 + len(again.table)
    assert [bytes(clean[start + offset : start + offset + 2]) for offset in offsets] == [b"\xff\xd8"] * 4


def test_extended_offset_tables_are_put_right() -> None:
    value = encapsulate(jpeg_frames(3), has_bot=False) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    extended = ExtendedOffsets(SECRET, SECRET)
    outcome = clean_pixels(PixelElement(memoryview(value), "OB", extended), image(3), NOBODY_LOOKS)
    tables = {changed.tag: np.frombuffer(changed.value, "<u8").tolist() for changed in outcome.changed}
    clean = b"".join(outcome.pieces)
    for offset, length in zip(tables[0x7FE00001], tables[0x7FE00002], strict=True):
        assert clean[16 + offset :][:2] == b"\xff\xd8"
        assert clean[16 + offset :][:length].rstrip(b"\0").endswith(b"\xff\xd9")


def test_an_offset_table_that_hides_something_is_made_anew() -> None:
    frames = [stripped(frame) for frame in jpeg_frames(2)]
    value = encapsulate(frames, has_bot=False) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    hidden = value[:4] + len(SECRET).to_bytes(4, "little") + SECRET + value[8:]
    outcome = clean_pixels(PixelElement(memoryview(hidden)), image(2), NOBODY_LOOKS)
    assert SECRET not in b"".join(outcome.pieces)


def test_frames_that_stay_are_passed_on_as_views() -> None:
    clean = [stripped(frame) for frame in jpeg_frames(50)]
    dirty = [*clean[:49], jpeg_frames(1)[0]]
    value = memoryview(encapsulate(dirty) + b"\xfe\xff\xdd\xe0\0\0\0\0")
    pieces = clean_pixels(PixelElement(value), image(50), NOBODY_LOOKS).pieces
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < 51 * 9 + 4 * 50 + 16
    assert all(piece.obj is value.obj for piece in pieces if isinstance(piece, memoryview))


@pytest.mark.parametrize("number", [100, 101, 102, 103, 104, 105, 106, 107, 108, 110, 112])
def test_video_and_what_else_is_not_known_is_a_reason(number: int) -> None:
    value = memoryview(encapsulate([b"\0\0\1\xb2" + SECRET]) + b"\xfe\xff\xdd\xe0\0\0\0\0")
    outcome = clean_pixels(PixelElement(value), image(1, f"1.2.840.10008.1.2.4.{number}"), NOBODY_LOOKS)
    assert outcome.reason is PixelReason.UNKNOWN_CODESTREAM
    assert not outcome.pieces


@pytest.mark.parametrize("frames", [2, 4])
def test_another_number_of_frames_than_described_is_a_reason(frames: int) -> None:
    value = memoryview(encapsulate(jpeg_frames(3), has_bot=False) + b"\xfe\xff\xdd\xe0\0\0\0\0")
    outcome = clean_pixels(PixelElement(value), image(frames), NOBODY_LOOKS)
    assert outcome.reason is PixelReason.MALFORMED_FRAGMENTS


RLE = "1.2.840.10008.1.2.5"
RUNS = b"\x03abcd\xfdz" + b"\x80" + b"\x07ijklmnop"  # a literal of 4, a run of 4, nothing, a literal of 8: 4 x 4


def rle_image() -> ImageDescription:
    return ImageDescription(
        transfer_syntax_uid=RLE, rows=4, columns=4, bits_allocated=8, bits_stored=8, high_bit=7, frames=1
    )


def rle_frame(*offsets: int, behind: bytes = b"", between: bytes = b"") -> bytes:
    header = b"".join(number.to_bytes(4, "little") for number in (len(offsets), *offsets)).ljust(64, b"\0")
    return header + between + RUNS + behind


def cleaned_rle(frame: bytes) -> bytes:
    value = memoryview(encapsulate([frame]) + b"\xfe\xff\xdd\xe0\0\0\0\0")
    outcome = clean_pixels(PixelElement(value), rle_image(), NOBODY_LOOKS)
    assert outcome.reason in (None, PixelReason.MALFORMED_CODESTREAM)
    return b"".join(outcome.pieces)


@pytest.mark.parametrize(
    "frame",
    [
        rle_frame(64, behind=b"\x11" + SECRET),
        rle_frame(64, behind=b"\0\0" + SECRET),
        rle_frame(64 + len(SECRET), between=SECRET),
    ],
    ids=["runs beyond the image", "behind the runs", "before the runs"],
)
def test_what_lies_beside_the_runs_of_an_rle_frame_goes(frame: bytes) -> None:
    out = cleaned_rle(frame)
    assert SECRET not in out
    assert RUNS in out


@pytest.mark.parametrize(
    "frame",
    [
        rle_frame(64, 65),
        rle_frame(64)[:40],
        rle_frame(64)[:-3],
        (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + SECRET.ljust(56, b"\0") + RUNS,
        rle_frame(64).replace(b"\x07ijkl", b"\x08ijkl"),
    ],
    ids=["too many segments", "cut header", "cut runs", "unused offsets", "run over the edge"],
)
def test_an_rle_frame_that_is_not_of_the_image_is_a_reason(frame: bytes) -> None:
    assert cleaned_rle(frame) == b""


def test_a_sound_rle_frame_is_passed_on_as_it_is() -> None:
    assert strip_rle(memoryview(rle_frame(64)), 1, 16) is None
