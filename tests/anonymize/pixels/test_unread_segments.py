"""What no decoder reads of a codestream's tables and headers goes, or the codestream is refused; the image stays."""

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from anonymize.pixels import MalformedPixels
from anonymize.pixels.jpeg import strip_jpeg
from anonymize.pixels.jpeg2000 import strip_jpeg2000
from tests.anonymize.pixels.test_codestreams import frame_of

SECRET = b"ORNEKAYSE4471"
SHORT = b"ORNEKAYS"  # no letter twice, as in a table of codes
PIXELS = (np.add.outer(np.arange(48), 3 * np.arange(64)) % 251).astype(np.uint8)


def jpeg(**how: object) -> bytes:
    buffer = io.BytesIO()
    image = np.stack([PIXELS, PIXELS[::-1], 250 - PIXELS], -1) if how.pop("colour", False) else PIXELS
    Image.fromarray(image).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def jpeg2000(**how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG2000", no_jp2=True, **how)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def before(stream: bytes, marker: int, inserted: bytes) -> bytes:
    at = stream.index(bytes([0xFF, marker]))
    return stream[:at] + inserted + stream[at:]


def stripped(strip, stream: bytes) -> bytes:
    pieces = strip(memoryview(stream))
    return stream if pieces is None else b"".join(pieces)


def decoded(stream: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stream)))


def codes(table: int, symbols: bytes) -> bytes:
    return segment(0xC4, bytes([table, *[0] * 7, len(symbols), *[0] * 8]) + symbols)


HIDDEN_IN_JPEG = {
    "a quantization table of no component": (0xC0, segment(0xDB, b"\3" + SECRET.ljust(64, b"Q"))),
    "a fine quantization table": (0xC0, segment(0xDB, b"\x13" + SECRET.ljust(128, b"Q"))),
    "a quantization table that is defined again": (0xDB, segment(0xDB, b"\0" + SECRET.ljust(64, b"Q"))),
    "codes of no scan": (0xC0, codes(0x13, SHORT)),
    "codes that are defined again": (0xC4, codes(0x10, SHORT)),
    "behind a table": (0xC0, segment(0xDB, b"\3" + bytes(64) + SECRET)),
    "codes with a letter twice": (0xC0, codes(0x13, SECRET)),
    "conditioning where nothing is arithmetic": (0xC0, segment(0xCC, b"\0\1\x10\5")),
    "text as conditioning": (0xC0, segment(0xCC, SECRET)),
    "a frame of a hierarchy": (0xC0, segment(0xDE, SECRET)),
    "presets of JPEG-LS": (0xC0, segment(0xF8, b"\2\7\1" + SECRET)),
    "a scan of a component that is not there": (0xD9, segment(0xDA, b"\1\5\0\0\x3f\0") + SECRET),
    "a second scan of a component": (0xD9, segment(0xDA, b"\1\1\0\0\x3f\0") + SECRET),
    "restarts that are not announced": (0xD9, b"\xff\xd0" + SECRET),
}


@pytest.mark.parametrize(("marker", "hidden"), HIDDEN_IN_JPEG.values(), ids=HIDDEN_IN_JPEG)
def test_what_hides_in_the_tables_of_a_jpeg_goes_or_is_refused(marker: int, hidden: bytes) -> None:
    sound = jpeg()
    at = sound.rindex(b"\xff\xd9") if marker == 0xD9 else sound.index(bytes([0xFF, marker]))
    with suppress(MalformedPixels):
        out = stripped(strip_jpeg, sound[:at] + hidden + sound[at:])
        assert not any(text in out for text in (SECRET, SHORT, b"\0\1\x10\5"))
        assert np.array_equal(decoded(out), decoded(sound))


@pytest.mark.parametrize(
    "hidden",
    [name for name in HIDDEN_IN_JPEG if name.startswith(("a quantization", "a fine", "codes of no", "codes that"))],
)
def test_tables_that_are_not_used_are_no_reason_to_refuse(hidden: str) -> None:
    marker, inserted = HIDDEN_IN_JPEG[hidden]
    assert stripped(strip_jpeg, before(jpeg(), marker, inserted)) == stripped(strip_jpeg, jpeg())


@pytest.mark.parametrize(
    "how",
    [
        {"quality": 5},
        {"quality": 100, "optimize": True},
        {"progressive": True},
        {"progressive": True, "optimize": True, "colour": True},
        {"colour": True, "subsampling": 2},
        {"restart_marker_blocks": 3},
        {"restart_marker_rows": 1, "progressive": True},
    ],
)
def test_sound_jpegs_lose_no_table(how: dict[str, object]) -> None:
    sound = jpeg(**dict(how))
    out = stripped(strip_jpeg, sound)
    assert out.count(b"\xff\xdb") == sound.count(b"\xff\xdb")
    assert len(sound) - len(out) <= 18  # JFIF's density is written anew
    assert np.array_equal(decoded(out), decoded(sound))


def with_length(stream: bytes, more: int) -> bytes:
    """The first tile-part said to be longer."""
    at = stream.index(b"\xff\x90") + 6
    return stream[:at] + struct.pack(">I", struct.unpack(">I", stream[at : at + 4])[0] + more) + stream[at + 4 :]


HIDDEN_IN_JPEG_2000 = {
    "quantization of no component": (0x90, segment(0x5D, b"\7\x40" + SECRET), False),
    "quantization of more levels": (0x90, segment(0x5D, b"\0\x40" + SECRET * 3), False),
    "coding of no component": (0x90, segment(0x53, b"\7\0" + SECRET), False),
    "coding that is longer": (0x90, segment(0x53, b"\0\0\5\4\4\0\1" + SECRET), False),
    "a second coding": (0x90, segment(0x52, b"\0\0\0\1\0\5\4\4\0\1"), False),
    "registration": (0x90, segment(0x63, SECRET), True),
    "lengths of tile-parts": (0x90, segment(0x55, b"\0\x40" + SECRET[:12]), True),
    "lengths of packets": (0x90, segment(0x57, b"\0" + SECRET), True),
    "packed headers": (0x90, segment(0x60, b"\0" + SECRET), False),
    "capabilities": (0x90, segment(0x50, SECRET), False),
    "a profile": (0x90, segment(0x56, SECRET), False),
    "a region": (0x90, segment(0x5E, b"\0\0\0" + SECRET), False),
    "a progression": (0x90, segment(0x5F, SECRET), False),
    "a tile-part of no tile": (
        0xD9,
        b"\xff\x90\0\x0a\0\7" + struct.pack(">I", 14 + len(SECRET)) + b"\0\1\xff\x93" + SECRET,
        False,
    ),
}


@pytest.mark.parametrize(("marker", "hidden", "goes"), HIDDEN_IN_JPEG_2000.values(), ids=HIDDEN_IN_JPEG_2000)
def test_what_hides_in_the_headers_of_jpeg_2000_goes_or_is_refused(marker: int, hidden: bytes, goes: bool) -> None:
    sound = jpeg2000()
    at = sound.rindex(b"\xff\xd9") if marker == 0xD9 else sound.index(b"\xff\x90")
    if not goes:
        with pytest.raises(MalformedPixels):
            strip_jpeg2000(memoryview(sound[:at] + hidden + sound[at:]))
        return
    out = stripped(strip_jpeg2000, sound[:at] + hidden + sound[at:])
    assert SECRET[:12] not in out
    assert np.array_equal(decoded(out), PIXELS)


def test_lengths_of_packets_in_a_tile_part_become_a_comment_of_zeros() -> None:
    hidden = segment(0x58, b"\0" + SECRET)
    out = stripped(strip_jpeg2000, with_length(before(jpeg2000(), 0x93, hidden), len(hidden)))
    assert SECRET not in out
    assert np.array_equal(decoded(out), PIXELS)


def test_lengths_of_tile_parts_stay_where_they_are_true() -> None:
    sound = stripped(strip_jpeg2000, jpeg2000())
    at = sound.index(b"\xff\x90")
    length = sound[at + 6 : at + 10]
    for content in (b"\0\x40" + length, b"\0\x50\0" + length, b"\0\x60\0\0" + length):
        told = sound[:at] + segment(0x55, content) + sound[at:]
        assert stripped(strip_jpeg2000, told) == told


@pytest.mark.parametrize(
    "how",
    [
        {"irreversible": True},
        {"tile_size": (16, 16)},
        {"num_resolutions": 1},
        {"num_resolutions": 6, "precinct_size": (64, 64), "codeblock_size": (16, 16)},
        {"quality_layers": [40, 20, 0], "progression": "RPCL"},
        {"tile_size": (32, 32), "plt": True},
        {"offset": (3, 5), "tile_offset": (1, 1), "tile_size": (20, 20)},
    ],
)
def test_sound_jpeg_2000_stays(how: dict[str, object]) -> None:
    sound = jpeg2000(**how)
    assert np.array_equal(decoded(stripped(strip_jpeg2000, sound)), decoded(sound))


def test_a_presets_segment_of_coding_parameters_stays() -> None:
    stream = frame_of("MR_small_jpeg_ls_lossless.dcm")
    presets = segment(0xF8, b"\1" + struct.pack(">5H", 4095, 18, 67, 276, 64))
    assert presets in stripped(strip_jpeg, before(stream, 0xDA, presets))
