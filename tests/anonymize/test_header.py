"""A header says who and what an instance is, or that it cannot be read; never a guess."""

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import Header, MalformedDataSet, UnreadableText, read_header
from anonymize.character_sets import decode
from tests.anonymize.encoded import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    INSTANCE,
    JPEG,
    SERIES,
    STUDY,
    encoded,
    explicit,
    identified,
    item,
)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG, "1.3.6.1.4.1.99999.1"])
def test_the_header_is_read_in_every_encoding(syntax):
    data = encoded(identified(), syntax)
    header = read_header(data, syntax)
    assert (header.sop_class_uid, header.sop_instance_uid) == (CT, INSTANCE)
    assert (header.study_instance_uid, header.series_instance_uid) == (STUDY, SERIES)
    assert (header.patient_id, header.patient_name) == ("PID-4471902", "ÖRNEK^AYŞE")
    assert (header.birth_date, header.sex, header.accession_number) == ("19560412", "F", "ACC-558123")
    assert (header.rows, header.columns, header.modality) == (4, 4, "CT")
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert header.unreadable == ()
    offset, length = header.pixel_span
    pixels = data[offset : offset + length]
    assert sorted(pixels) == list(range(32))


def test_an_unknown_transfer_syntax_is_tried_in_implicit_vr_too():
    header = read_header(encoded(identified(), IMPLICIT), "1.3.6.1.4.1.99999.1")
    assert header.sop_instance_uid == INSTANCE
    with pytest.raises(MalformedDataSet):
        read_header(b"neither of the two", "1.3.6.1.4.1.99999.1")


def test_a_deflated_header_points_into_the_inflated_data():
    data = encoded(identified())
    compressor = zlib.compressobj(wbits=-15)
    header = read_header(compressor.compress(data) + compressor.flush(), DEFLATED)
    offset, length = header.pixel_span
    assert header.deflated
    assert data[offset : offset + length] == bytes(range(32))


def test_missing_attributes_are_empty():
    header = read_header(explicit(0x00080060, "CS", b"CT"), EXPLICIT)
    assert header.modality == "CT"
    assert (header.patient_id, header.rows, header.pixel_span, header.image_type) == ("", None, None, ())


def test_the_representation_of_a_header_shows_no_identified_value():
    shown = repr(read_header(encoded(identified()), EXPLICIT))
    assert CT in shown
    for value in ("PID-4471902", "AYŞE", "19560412", STUDY):
        assert value not in shown


def test_values_in_sequences_are_not_taken_for_those_of_the_instance():
    nested = explicit(0x00081140, "SQ", item(explicit(0x00100020, "LO", b"OTHERS")))
    data = nested + explicit(0x00100020, "LO", b"OWN ")
    assert read_header(data, EXPLICIT).patient_id == "OWN"


def test_a_header_takes_no_memory_for_what_lies_in_functional_groups():
    frame = item(b"".join(explicit(0x00180010 + 2 * number, "LO", b"") for number in range(100)))
    data = encoded(identified()) + explicit(0x52009230, "SQ", frame * 300)
    tracemalloc.start()
    try:
        read_header(data, EXPLICIT)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def test_a_break_deep_in_a_sequence_is_noticed():
    nested = explicit(0x00540016, "SQ", item(explicit(0x00540300, "SQ", item(explicit(0x00080100, "SH", b"1", 9)))))
    with pytest.raises(MalformedDataSet):
        read_header(explicit(0x00100020, "LO", b"OWN ") + nested, EXPLICIT)


def text(character_set: bytes, name: bytes, patient_id: bytes = b"4711") -> Header:
    return read_header(
        (explicit(0x00080005, "CS", character_set) if character_set else b"")
        + explicit(0x00100010, "PN", name)
        + explicit(0x00100020, "LO", patient_id),
        EXPLICIT,
    )


@pytest.mark.parametrize(
    ("character_set", "raw", "name"),
    [
        (b"ISO_IR 148", "ÇAĞLAR^IŞIK".encode("iso8859_9"), "ÇAĞLAR^IŞIK"),
        (b"ISO_IR 100", "ÄNEAS^RÜDIGER".encode("latin1"), "ÄNEAS^RÜDIGER"),
        (b"ISO_IR 192", "ÇAĞLAR^IŞIK".encode(), "ÇAĞLAR^IŞIK"),
        (b"ISO IR 148", "ÇAĞLAR^IŞIK".encode("iso8859_9"), "ÇAĞLAR^IŞIK"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (
            rb"\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            rb"\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (rb"ISO 2022 IR 100\ISO 2022 IR 148", b"R\xdcDIGER^\x1b-MI\xdeIK", "RÜDIGER^IŞIK"),
    ],
)
def test_names_are_decoded_in_the_character_set_that_the_data_set_names(character_set, raw, name):
    header = text(character_set, raw)
    assert header.patient_name == name
    assert header.unreadable == ()


@pytest.mark.parametrize("character_set", [b"", b"ISO_IR 6", b"ISO_IR 999", b"\xff\xfe", b"UTF-99 "])
def test_a_name_that_cannot_be_decoded_keeps_its_bytes_apart_and_is_listed(character_set):
    header = text(character_set, "ÇAĞLAR^IŞIK".encode("iso8859_9"))
    assert header.patient_name == "\\xc7A\\xd0LAR^I\\xdeIK"
    assert header.unreadable == ("patient_name",)
    assert text(character_set, b"PLAIN^NAME").patient_name == "PLAIN^NAME"


def test_a_patient_id_that_cannot_be_decoded_is_never_guessed():
    with pytest.raises(UnreadableText) as caught:
        text(b"ISO_IR 192", b"A^B", b"\xff\xfe\xfd4")
    assert "\\xff" not in str(caught.value)
    assert text(b"ISO_IR 148", b"A^B", b"\xdd-1").patient_id == "İ-1"


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40),
    st.lists(st.sampled_from(["", "ISO_IR 100", "ISO 2022 IR 87", "ISO 2022 IR 149", "GBK", "x"]), max_size=3),
)
def test_decoding_any_bytes_gives_text_or_nothing(raw, character_sets):
    assert decode(raw, character_sets) is None or isinstance(decode(raw, character_sets), str)
