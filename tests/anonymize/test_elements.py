"""The walker accounts for every byte of a data set, or says where it breaks; nothing else escapes it."""

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.elements import MAX_DEPTH, Encoding, Kind, inflate, walk, walk_unknown
from anonymize.errors import MalformedDataSet
from tests.anonymize.encoded import (
    BIG_ENDIAN,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    encoded,
    explicit,
    identified,
    implicit,
    inserted,
    item,
)

LITTLE = Encoding.EXPLICIT_LITTLE
PIXELS = 0x7FE00010
SEQUENCE = 0x00081140  # any standard sequence
NAME = 0x00100010


def kinds(data: bytes, encoding: Encoding = LITTLE) -> list[tuple[Kind, int, int]]:
    return [(e.kind, e.tag, e.depth) for e in walk(data, encoding)]


def refusal(data: bytes, encoding: Encoding = LITTLE) -> MalformedDataSet:
    with pytest.raises(MalformedDataSet) as caught:
        list(walk(data, encoding))
    return caught.value


@pytest.mark.parametrize(
    ("syntax", "encoding"),
    [("1.2.840.10008.1.2.1", LITTLE), (IMPLICIT, Encoding.IMPLICIT_LITTLE), (BIG_ENDIAN, Encoding.EXPLICIT_BIG)],
)
def test_the_same_elements_are_found_in_every_encoding(syntax, encoding):
    ds = identified()
    data = encoded(ds, syntax)
    elements = list(walk(data, encoding))
    assert [e.tag for e in elements] == [e.tag for e in ds]
    name = next(e for e in elements if e.tag == NAME)
    assert data[name.value : name.value + name.length].decode() == "ÖRNEK^AYŞE"
    assert elements[0].start == 0
    assert elements[-1].value + elements[-1].length == len(data)


@pytest.mark.parametrize("sequence_length", [None, UNDEFINED])
@pytest.mark.parametrize("item_length", [None, UNDEFINED])
def test_sequences_and_items_are_found_whether_their_lengths_are_defined_or_not(sequence_length, item_length):
    content = explicit(NAME, "PN", b"A^BC")
    one = item(content + (ITEM_END if item_length else b""), item_length)
    value = one * 2 + (SEQUENCE_END if sequence_length else b"")
    assert kinds(explicit(SEQUENCE, "SQ", value, sequence_length)) == [
        (Kind.SEQUENCE, SEQUENCE, 0),
        *[(Kind.ITEM, 0xFFFEE000, 1), (Kind.VALUE, NAME, 1), (Kind.ITEM_END, 0xFFFEE000, 1)] * 2,
        (Kind.SEQUENCE_END, SEQUENCE, 0),
    ]


def test_a_sequence_encoded_as_un_of_undefined_length_is_read_as_implicit_vr():
    unknown = explicit(0x00091001, "UN", item(implicit(NAME, b"A^BC")) + SEQUENCE_END, UNDEFINED)
    steps = list(walk(unknown + explicit(NAME, "PN", b"A^BC"), LITTLE))
    assert [s.kind.name for s in steps] == ["SEQUENCE", "ITEM", "VALUE", "ITEM_END", "SEQUENCE_END", "VALUE"]
    assert steps[2].encoding is Encoding.IMPLICIT_LITTLE
    assert steps[5].encoding is LITTLE


def test_a_un_of_known_length_can_be_opened_when_it_is_known_to_be_a_sequence():
    data = explicit(SEQUENCE, "UN", item(implicit(NAME, b"A^BC")))
    (element,) = walk(data, LITTLE)
    names = [step.kind.name for step in walk_unknown(data, element)]
    assert names == ["SEQUENCE", "ITEM", "VALUE", "ITEM_END", "SEQUENCE_END"]


def test_encapsulated_pixel_data_is_one_element_with_its_fragments():
    value = item(b"") + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END
    (pixels,) = walk(explicit(PIXELS, "OB", value, UNDEFINED), LITTLE)
    assert (pixels.kind, pixels.value, pixels.length) == (Kind.FRAGMENTS, 12, len(value))


@pytest.mark.parametrize("undefined", [False, True])
def test_a_thousand_nested_sequences_are_refused_not_recursed_into(undefined):
    data = b""
    for _ in range(1000):
        data = (
            explicit(SEQUENCE, "SQ", item(data + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
            if undefined
            else explicit(SEQUENCE, "SQ", item(data))
        )
    assert "nested deeper" in refusal(data).reason


def test_sequences_nested_to_the_limit_are_walked():
    data = b""
    for _ in range(MAX_DEPTH):
        data = explicit(SEQUENCE, "SQ", item(data))
    assert max(depth for _, _, depth in kinds(data)) == MAX_DEPTH


@pytest.mark.parametrize(
    "broken",
    [
        explicit(NAME, "PN", b"A^BC", 6),
        explicit(0x00280010, "OB", b"", 0xFFFFFFFE),
        implicit(0x00280010, b"", 0xFFFFFFFE),
        explicit(NAME, "PN", b"A^BC") + b"\x20\x00",
        explicit(NAME, "XX", b"A^BC"),
        explicit(0x00420011, "UT", b"", UNDEFINED),
        explicit(SEQUENCE, "SQ", b"", 40),
        explicit(SEQUENCE, "SQ", item(b"", 40)),
        explicit(SEQUENCE, "SQ", item(b"") + ITEM_END),
        explicit(SEQUENCE, "SQ", item(ITEM_END)),
        explicit(SEQUENCE, "SQ", SEQUENCE_END),
        explicit(SEQUENCE, "SQ", item(b"")[:6]),
        explicit(SEQUENCE, "SQ", item(b""), UNDEFINED),
        explicit(SEQUENCE, "SQ", item(b"", UNDEFINED) + SEQUENCE_END, UNDEFINED),
        explicit(SEQUENCE, "SQ", item(b"") + implicit(0xFFFEE0DD, b"ab"), UNDEFINED),
        explicit(SEQUENCE, "SQ", explicit(NAME, "PN", b"A^BC")),
        explicit(PIXELS, "OB", item(b"ab"), UNDEFINED),
        explicit(PIXELS, "OB", item(b"ab", 200) + SEQUENCE_END, UNDEFINED),
        explicit(PIXELS, "OB", explicit(NAME, "PN", b"A^BC") + SEQUENCE_END, UNDEFINED),
        explicit(PIXELS, "OW", b"ab")[:9],
        explicit(NAME, "PN", b"A^BC") * 2,
        explicit(0x00000010, "US", b"ab"),
        explicit(0x00010010, "US", b"ab"),
        ITEM_END,
        SEQUENCE_END,
        item(b""),
        b"%PDF-1.7 and no data set at all",
        bytes(128) + b"DICM" + explicit(0x00020010, "UI", b"1.2."),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_place(broken):
    encoding = Encoding.IMPLICIT_LITTLE if broken[4:8] == b"\xfe\xff\xff\xff" else LITTLE
    error = refusal(broken, encoding)
    assert 0 <= error.offset <= len(broken)
    assert "A^BC" not in str(error)


def test_zero_bytes_after_the_last_element_are_tolerated_and_others_not():
    data = explicit(NAME, "PN", b"A^BC")
    for padding in (1, 7, 8, 200):
        assert kinds(data + bytes(padding)) == kinds(data)
        refusal(data + bytes(padding) + b"\1")


def test_elements_out_of_order_are_walked():
    data = explicit(0x00200010, "SH", b"1 ") + explicit(NAME, "PN", b"A^BC")
    assert [tag for _, tag, _ in kinds(data)] == [0x00200010, NAME]


def test_a_cut_at_any_byte_is_noticed_unless_it_falls_between_two_elements():
    nested = explicit(SEQUENCE, "SQ", item(explicit(NAME, "PN", b"A^BC")) + SEQUENCE_END, UNDEFINED)
    data = encoded(identified()) + b""
    data = nested + data[data.index(b"\x08\x00\x16\x00") :]
    whole = {e.start for e in walk(data, LITTLE) if e.depth == 0 and e.kind in (Kind.VALUE, Kind.SEQUENCE)}
    for cut in range(len(data)):
        if cut in whole:
            list(walk(data[:cut], LITTLE))
        else:
            refusal(data[:cut])


def test_a_deflated_stream_is_inflated_with_padding_or_the_trailer_of_gzip():
    data = encoded(identified())
    compressor = zlib.compressobj(wbits=-15)
    stream = compressor.compress(data) + compressor.flush()
    trailer = struct.pack("<II", zlib.crc32(data), len(data))
    for tail in (b"", b"\0", trailer):
        assert inflate(stream + tail) == data
    for broken in (stream[:-4], stream + b"tail", b"\xff" * 40, stream + trailer[::-1]):
        with pytest.raises(MalformedDataSet):
            inflate(broken)


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Afterwards holds how much memory was taken at most."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def test_a_deflate_bomb_is_refused_before_it_fills_the_memory():
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64)) + compressor.flush()
    with peak_bytes() as peak, pytest.raises(MalformedDataSet, match="grows beyond"):
        inflate(bomb, max_bytes=1 << 20)
    assert peak[0] < 4 << 20


def offsets(data: bytes, encoding: Encoding) -> list[int]:
    """Where the walk found elements, and where it stopped."""
    found: list[int] = []
    try:
        for element in walk(data, encoding):
            found += [element.start, element.value]
    except MalformedDataSet as error:
        found.append(error.offset)
    return found


@pytest.mark.parametrize("encoding", list(Encoding))
@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_walked_or_refused(encoding, data):
    assert all(0 <= offset <= len(data) for offset in offsets(data, encoding))


@st.composite
def mutated(draw) -> bytes:
    """A valid data set with sequences, UN and fragments, then bytes of it overwritten, cut out or doubled."""
    unknown = explicit(0x00091001, "UN", item(implicit(NAME, b"A^BC")) + SEQUENCE_END, UNDEFINED)
    nested = explicit(0x00540016, "SQ", item(explicit(0x00540300, "SQ", item(explicit(NAME, "PN", b"A^BC")))))
    data = bytearray(inserted(encoded(identified()), nested + explicit(0x00550010, "LO", b"ACME") + unknown))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        size = draw(st.integers(0, 12))
        data[at : at + size] = draw(st.sampled_from([b"", bytes(data[at : at + size]) * 2]) | st.binary(max_size=12))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(data=mutated(), encoding=st.sampled_from(Encoding))
def test_damaged_data_sets_are_walked_or_refused(data, encoding):
    assert all(0 <= offset <= len(data) for offset in offsets(data, encoding))


def test_walking_a_large_pixel_data_element_copies_nothing():
    data = explicit(NAME, "PN", b"A^BC") + explicit(PIXELS, "OW", bytes(64 << 20))
    with peak_bytes() as peak:
        assert len(list(walk(data, LITTLE))) == 2
    assert peak[0] < 1 << 20
