from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.pixels import ImageDescription, Look, PixelElement, PixelReason, TextPolicy, clean_pixels
from anonymize.pixels.words import clean_words
from tests.anonymize.pixels.pixel_files import EXPLICIT, decoded, grey, shipped

NOBODY_LOOKS = TextPolicy(Look.NEVER)
NATIVE = [file for file in shipped() if not file.image.encapsulated]


def ct(**changes: int) -> ImageDescription:
    stored = {"bits_allocated": 16, "bits_stored": 12, "high_bit": 11} | changes
    return ImageDescription(transfer_syntax_uid=EXPLICIT, rows=4, columns=4, modality="CT", **stored)


@pytest.mark.parametrize("file", NATIVE, ids=lambda file: file.path.name)
def test_no_native_file_that_pydicom_ships_changes_its_pixels(file) -> None:
    outcome = clean_pixels(file.pixels, file.image, NOBODY_LOOKS)
    if outcome.reason is PixelReason.WRONG_LENGTH:
        assert len(file.pixels.value) < file.image.frame_samples * file.image.frames * file.image.bits_allocated / 8
        return
    assert outcome.reason is None
    assert np.array_equal(decoded(file.path), decoded(file.path, outcome))


def test_an_overlay_in_unused_bits_is_gone() -> None:
    words = np.arange(16, dtype="<u2")
    overlay = words | 0x8000
    assert bytes(clean_words(overlay.tobytes(), ct())) == words.tobytes()


def test_low_unused_bits_are_gone_too() -> None:
    words = np.arange(16, dtype="<u2") << 4
    assert bytes(clean_words((words | 5).tobytes(), ct(high_bit=15))) == words.tobytes()


def test_signed_pixels_keep_their_sign() -> None:
    values = np.array([-2048, -1, 0, 2047] * 4, dtype="<i2")
    spoiled = (values.view("<u2") & 0x0FFF) | np.arange(16, dtype="<u2") << 12
    assert bytes(clean_words(spoiled.tobytes(), ct(pixel_representation=1))) == values.tobytes()


@pytest.mark.parametrize(("word", "cleaned"), [(0x0800, 0xF800), (0x17FF, 0x07FF), (0xF7FF, 0x07FF), (0xEFFF, 0xFFFF)])
def test_a_single_signed_word_with_other_high_bits_is_noticed(word: int, cleaned: int) -> None:
    words = np.array([word] + [0] * 15, dtype="<u2")
    clean = clean_words(words.tobytes(), ct(pixel_representation=1))
    assert np.frombuffer(clean, "<u2")[0] == cleaned


@pytest.mark.parametrize("signed", [0, 1])
def test_clean_words_are_given_back_as_they_are(signed: int) -> None:
    words = memoryview(np.arange(16, dtype="<u2").tobytes())
    assert clean_words(words, ct(pixel_representation=signed)) is words
    pixels = PixelElement(words)
    assert clean_pixels(pixels, ct(pixel_representation=signed), NOBODY_LOOKS).pieces[0] is words


@given(
    st.lists(st.integers(0, 0xFFFF), min_size=16, max_size=16),
    st.integers(1, 16), st.integers(0, 15), st.integers(0, 1), st.booleans(),
)  # fmt: skip
def test_pixels_mean_the_same_and_unused_bits_say_nothing(
    words: list[int], stored: int, above: int, signed: int, big_endian: bool
) -> None:
    high = max(stored - 1, 15 - above)
    image = replace(ct(bits_stored=stored, high_bit=high, pixel_representation=signed), big_endian=big_endian)
    order = ">" if big_endian else "<"
    clean = np.frombuffer(clean_words(np.array(words, dtype=f"{order}u2").tobytes(), image), dtype=f"{order}u2")
    mask, low = (1 << stored) - 1, high + 1 - stored
    for before, after in zip(words, clean.tolist(), strict=True):
        value = before >> low & mask
        negative = signed and value >> (stored - 1)
        assert after == value << low | (0xFFFF << (high + 1) & 0xFFFF if negative else 0)


def test_only_the_frames_that_change_are_copied() -> None:
    frames = np.zeros((8, 16), dtype="<u2")
    frames[5, 3] = 0xF001
    value = memoryview(frames.tobytes())
    outcome = clean_pixels(PixelElement(value), replace(ct(), frames=8), NOBODY_LOOKS)
    assert [len(piece) for piece in outcome.pieces] == [160, 32, 64]
    assert b"".join(outcome.pieces)[166:168] == b"\1\0"
    assert outcome.pieces[0].obj is value.obj


def test_bytes_after_the_last_frame_are_gone() -> None:
    value = memoryview(np.arange(16, dtype="<u2").tobytes() + b"ORNEK^AYSE")
    assert clean_pixels(PixelElement(value), ct(), NOBODY_LOOKS).length == 32


def test_the_padding_byte_and_the_last_bits_of_a_bitmap_are_zero() -> None:
    odd = PixelElement(memoryview(b"\x01" * 9 + b"A"))
    assert b"".join(clean_pixels(odd, grey(3, 3), NOBODY_LOOKS).pieces) == b"\x01" * 9 + b"\0"
    bits = PixelElement(memoryview(b"\xff\xff"))
    bitmap = grey(3, 3, bits_allocated=1, bits_stored=1, high_bit=0)
    assert b"".join(clean_pixels(bits, bitmap, NOBODY_LOOKS).pieces) == b"\xff\x01"


def test_fewer_bytes_than_described_are_a_reason() -> None:
    outcome = clean_pixels(PixelElement(memoryview(bytes(30))), ct(), NOBODY_LOOKS)
    assert outcome.reason is PixelReason.WRONG_LENGTH
