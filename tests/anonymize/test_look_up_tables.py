"""Sound tables stay byte for byte; what lies behind their entries, or is none of theirs, does not pass."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels.processing import _expand_segmented_lut

from anonymize import Action, Quarantine, QuarantineReason, deidentify
from anonymize.look_up_tables import Table, read_table
from anonymize.spelled import spells_text
from tests.anonymize.encoded import PATIENT, encoded, explicit, identified, inserted, item, parsed, received

DATA, RED, SEGMENTED_RED = 0x00283006, 0x00281201, 0x00281221
NAME = b"ORNEK AYSE 12.04.1956 DOGUMLU"[:28]


def words(*values: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


def sound(value: bytes) -> Table:
    return Table(value, is_sound=True)


RAMP = words(*range(0, 4096, 256))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tag", [DATA, RED, 0x00281204, 0x00281408])
def test_a_sound_table_stays_byte_for_byte(tag: int, order: str) -> None:
    table = words(*range(0, 4096, 256), order=order)
    assert read_table(tag, table, words(16, 0, 12, order=order), order) == sound(table)


@pytest.mark.parametrize("bits", [12, 16])
def test_what_lies_behind_the_entries_is_cut_off(bits: int) -> None:
    assert read_table(DATA, RAMP + NAME, words(16, 0, bits), "<") == sound(RAMP)


def test_zero_entries_are_65536() -> None:
    table = np.arange(65536, dtype="<u2").tobytes()
    assert read_table(DATA, table + NAME, words(0, 0, 16), "<") == sound(table)


def test_entries_of_more_bits_than_announced_are_not_sound() -> None:
    assert not read_table(DATA, RAMP, words(16, 0, 11), "<").is_sound
    assert not read_table(DATA, words(*[4096] * 16), words(16, 0, 12), "<").is_sound


def test_eight_bits_lie_two_in_a_word_or_each_in_one() -> None:
    packed = bytes(range(0, 240, 15))
    assert read_table(RED, packed, words(16, 0, 8), "<") == sound(packed)
    assert read_table(RED, packed + b"ABCDEFGH", words(16, 0, 8), "<") == sound(packed)
    apart = words(*packed)
    assert read_table(RED, apart + NAME, words(16, 0, 8), "<") == sound(apart)
    assert not read_table(RED, apart[:-2] + b"OR", words(16, 0, 8), "<").is_sound


@pytest.mark.parametrize(("order", "given_", "left"), [("<", b"\1\2\3X", b"\1\2\3\0"), (">", b"\2\1X\3", b"\2\1\0\3")])
def test_the_byte_that_fills_up_an_odd_table_says_nothing(order: str, given_: bytes, left: bytes) -> None:
    assert read_table(RED, given_, words(3, 0, 8, order=order), order) == sound(left)


def test_a_shorter_table_stays_as_devices_send_it() -> None:
    assert read_table(DATA, RAMP[:-2], words(16, 0, 12), "<") == sound(RAMP[:-2])


@pytest.mark.parametrize("descriptor", [None, b"", words(16, 0), words(16, 0, 7), words(16, 0, 17), words(16, 0, 8, 8)])
def test_a_table_that_is_not_described_is_not_sound(descriptor: bytes | None) -> None:
    assert not read_table(DATA, RAMP, descriptor, "<").is_sound


SEGMENTS = (0, 2, 5, 9, 1, 6, 100, 2, 2, 0, 0)  # two entries, six on a line to 100, both again: 16


def test_segments_stay_and_what_is_behind_them_goes() -> None:
    table = words(*SEGMENTS)
    assert len(_expand_segmented_lut(SEGMENTS, "H")) == 16, "the example is none"
    assert read_table(SEGMENTED_RED, table, words(16, 0, 16), "<") == sound(table)
    assert read_table(SEGMENTED_RED, table + NAME, words(16, 0, 16), "<") == sound(table)


def test_segments_of_eight_bits() -> None:
    table = bytes((0, 2, 5, 9, 1, 6, 100, 2, 2, 0, 0, 0, 0, 0))
    assert read_table(SEGMENTED_RED, table + NAME, words(16, 0, 8), "<") == Table(table, is_sound=True)
    swapped = np.frombuffer(table, "<u2").astype(">u2").tobytes()
    assert read_table(SEGMENTED_RED, swapped + NAME, words(16, 0, 8, order=">"), ">") == Table(swapped, is_sound=True)


@pytest.mark.parametrize(
    "segments",
    [
        (0, 2, 5, 9),  # too few
        (0, 20, 1, 2, 3),  # beyond the end
        (3, 16, 0),  # a kind that there is not
        (0, 0, 0, 16) + (1,) * 16,  # a segment of nothing
        (1, 0, 0x4F52, 1, 16, 9),
        (0, 17, *range(17)),  # more than announced
        (2, 1, 0, 0, 1, 16, 9),  # again, of nothing
        (0, 8, *range(8), 2, 1, 4, 0),  # from the middle of a segment
    ],
)
def test_segments_that_do_not_give_the_entries_are_not_sound(segments: tuple[int, ...]) -> None:
    assert not read_table(SEGMENTED_RED, words(*segments), words(16, 0, 16), "<").is_sound


@given(st.binary(max_size=200), st.binary(max_size=8), st.sampled_from([DATA, SEGMENTED_RED]), st.sampled_from("<>"))
def test_no_bytes_break_it_and_nothing_is_added(value: bytes, descriptor: bytes, tag: int, order: str) -> None:
    table = read_table(tag, value, descriptor, order)
    assert len(table.value) <= len(value)
    assert table.is_sound or table.value == value


def test_the_palettes_of_the_standard_and_of_devices_are_sound() -> None:
    seen = 0
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm")):
        ds = pydicom.dcmread(path, force=True)
        for tag in (RED, 0x00281202, 0x00281203, SEGMENTED_RED, 0x00281222, 0x00281223):
            if tag in ds:
                value, descriptor = ds[tag].value, words(*ds[(tag & ~0x3F0) | 0x100].value)
                assert read_table(tag, value, descriptor, "<") == sound(value), path.name
                assert not spells_text(value, 2, "<", is_table=True), path.name
                seen += 1
    assert seen >= 20


# --- text in numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [b"ORNEK AYSE DOGUM", b"4471902 12.04.1956", b"ornek ayse izmir", b"Ornek, Ayse 12.04.1956 Izm"]
)
@pytest.mark.parametrize(("unit", "order"), [(1, "<"), (2, "<"), (2, ">"), (4, "<"), (8, "<")])
def test_text_is_found_wherever_it_lies(text: bytes, unit: int, order: str) -> None:
    for before in range(8):
        noise = np.random.default_rng(before).integers(128, 255, 64, np.uint8).tobytes()
        value = noise[: 32 + before] + text + noise
        assert spells_text(value[: len(value) // 8 * 8], unit, order), before


def test_letters_with_a_zero_between_them_are_text_in_a_table() -> None:
    for codec, order in (("utf-16-le", "<"), ("utf-16-be", ">")):
        assert spells_text("ORNEK AYSE 1956".encode(codec), 2, order, is_table=True)


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(65536, dtype="<u2"),
        np.arange(65536, dtype=">u2"),
        np.arange(0, 65536, 16, dtype="<u2"),
        np.arange(256, dtype="<u2") * 257,
        np.arange(256, dtype="u1"),
        np.arange(255, -1, -1, dtype="u1"),
        np.r_[np.arange(90, dtype="u1"), np.arange(90, 0, -1, dtype="u1")],
        np.repeat(np.array([65, 70, 66], "u1"), 40)[:64],
        np.full(300, 0x4141, "<u2"),
        np.full(300, 781.0352, "<f4"),  # "ABCD"
        (np.linspace(0, 1, 4096) ** 2.2 * 65535).astype("<u2"),
        (19000 + np.random.default_rng(1).normal(0, 9, 100_000)).astype("<i2"),  # an offset and noise
        np.random.default_rng(2).normal(0, 120, 600_000).astype("<f4"),
        np.random.default_rng(3).uniform(-200, 200, 300_000).astype("<f8"),
        np.random.default_rng(4).integers(0, 100_000, 600_000).astype("<u4"),
        np.random.default_rng(5).integers(0, 256, 256).astype("u1"),
    ],
    ids=str,
)
def test_tables_samples_and_coordinates_are_no_text(numbers: np.ndarray) -> None:
    order = ">" if numbers.dtype.byteorder == ">" else "<"
    is_table = numbers.dtype.itemsize <= 2 and numbers.size <= 65536
    assert not spells_text(numbers.tobytes(), numbers.dtype.itemsize, order, is_table=is_table)


# --- in a data set --------------------------------------------------------------------------------------------------


def table_item(bits: int, data: bytes, entries: int = 16) -> bytes:
    return item(explicit(0x00283002, "US", words(entries, 0, bits)) + explicit(DATA, "OW", data))


def with_table(bits: int, data: bytes) -> bytes:
    return inserted(encoded(identified()), explicit(0x00283000, "SQ", table_item(bits, data)))


def test_a_name_behind_a_modality_table_goes_and_the_trail_says_so() -> None:
    outcome = deidentify(received(with_table(12, RAMP + NAME)), PATIENT)
    assert NAME[:6] not in outcome.instance.file
    assert bytes(parsed(outcome.instance.file).ModalityLUTSequence[0]["LUTData"].value) == RAMP
    assert [made.action for made in outcome.trail if made.path[-1] == DATA] == [Action.CUT]


def test_each_item_has_a_descriptor_of_its_own() -> None:
    both = explicit(0x00283010, "SQ", table_item(12, RAMP + NAME) + table_item(12, RAMP[:8] + NAME, 4))
    ds = parsed(deidentify(received(inserted(encoded(identified()), both)), PATIENT).instance.file)
    assert [bytes(each["LUTData"].value) for each in ds.VOILUTSequence] == [RAMP, RAMP[:8]]


@pytest.mark.parametrize(
    ("data", "bits", "reason"),
    [
        (RAMP, 10, QuarantineReason.UNSOUND_LOOK_UP_TABLE),
        (b"ORNEK AYSE 1956 DOGUMLU ANKARALI", 16, QuarantineReason.TEXT_IN_NUMBERS),
    ],
)
def test_a_doubtful_table_is_held_until_somebody_vouches(data: bytes, bits: int, reason: QuarantineReason) -> None:
    held = received(with_table(bits, data).replace(b"PID-4471902", b"PID-0000000"))
    with pytest.raises(Quarantine) as caught:
        deidentify(held, PATIENT)
    assert caught.value.reason is reason
    passed = deidentify(held, PATIENT, accepted=[reason]).instance.file
    assert bytes(parsed(passed).ModalityLUTSequence[0]["LUTData"].value) == data


def test_text_in_a_list_of_numbers_is_held() -> None:
    data = inserted(encoded(identified()), explicit(0x00286110, "US", NAME))
    with pytest.raises(Quarantine, match="text-in-numbers"):
        deidentify(received(data), PATIENT)
    sound_list = inserted(encoded(identified()), explicit(0x00286110, "US", words(*range(1, 60))))
    assert list(parsed(deidentify(received(sound_list), PATIENT).instance.file).MaskFrameNumbers) == [*range(1, 60)]
