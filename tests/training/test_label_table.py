"""The table of labels as spreadsheets write it, and what is wrong in it said by its line, and by no patient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataError
from training.label_table import read_table
from training.radiographs import check_parts, divide, fold, read_labels

KNOWN = ("Normal", "Pnömoni")
HEAD = "file,label,patient,source\n"


@pytest.fixture
def table(tmp_path):
    def write(content, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_is_read_however_a_spreadsheet_saved_it(table, separator, end, encoding):
    rows = [
        ["file", "label", "note", "patient", "source"],
        ["göğüs filmleri/İlk çekim.png", "Pnömoni", "", "hasta 7", "Şehir"],
        ["", "", "", "", ""],
        ["a.png", "Normal", "x", "8", "Şehir"],
    ]
    text = end.join(separator.join(row) for row in rows) + end
    first, second = read_table(table(text, encoding), KNOWN)
    assert first[1:] == ("göğüs filmleri/İlk çekim.png", "Pnömoni", "hasta 7", "Şehir")
    assert (second.line, second.file) == (4, "a.png")


def test_a_value_may_hold_the_separator_and_a_new_line_in_quotes(table):
    (row,) = read_table(table(HEAD + '"a,b.png",Normal,"p,1","two\nlines"\n'), KNOWN)
    assert row[1:] == ("a,b.png", "Normal", "p,1", "two lines")


def test_one_patient_spelt_in_two_ways_that_look_the_same_is_one_patient(table):
    rows = read_table(table(HEAD + "a.png,Normal,Ş1,s\nb.png,Normal, S\u0327\u00a01 ,s\n".replace("Ş1", "Ş 1")), KNOWN)
    assert len({row.patient for row in rows}) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must name the columns"),
        ("dosya;etiket;hasta;kaynak\n", "must name the columns.*file is not there"),
        ("file,label,patient,patient,source\n", "patient is not there"),
        (HEAD.encode("utf-16"), "not in UTF-8"),
        (HEAD.encode() + "a.png,Pn\u00f6moni,p,s\n".encode("iso8859-9"), "not in UTF-8"),
        (HEAD, "no rows"),
        (HEAD + "a.png,Normal,,s\nb.png,Normal,secret-1,s\nc.png,Normal, ,s\n", "lines 2, 4 have no patient"),
        (HEAD + "a.png,,secret-1,s\n", "line 2 has no label"),
        (HEAD + ",Normal,secret-1,s\n", "line 2 has no file"),
        (HEAD + "a.png,Normal,secret-1,\n", "line 2 has no source"),
        (HEAD + "a.png,Normal,secret-1\n", "line 2 has 3 values for 4 columns"),
        (HEAD + "a,b.png,Normal,secret-1,s\n", "line 2 has 5 values for 4 columns"),
        (HEAD + "a.png,normal,secret-1,s\n", "line 2 has the unknown label 'normal'; known are Normal, Pnömoni"),
        (HEAD + "a.png,Pnomoni,p,s\n" * 7, r"lines 2, 3, 4, 5, 6 and 2 more have the unknown label 'Pnomoni'"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(table, content, message):
    with pytest.raises(DataError, match=message) as refused:
        read_table(table(content), KNOWN)
    assert "secret" not in str(refused.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_it_is_a_table_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    for head in (b"", HEAD.encode()):
        path.write_bytes(head + content)
        try:
            rows = read_table(path, KNOWN)
        except DataError:
            continue
        assert all(row.label in KNOWN and row.patient and row.file for row in rows)


@pytest.mark.parametrize("again", ["a.png", "./a.png", "images/a.png"])
def test_a_file_that_is_named_twice_is_refused(table, tmp_path, again):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    table(HEAD + f"a.png,Normal,p,s\n{again},Pnömoni,q,s\n")
    with pytest.raises(DataError, match="lines 2 and 3 name the same file"):
        read_labels(tmp_path, KNOWN)


def test_a_label_of_which_a_part_would_have_none_is_refused_before_anything_is_learnt(table, tmp_path):
    rows = [f"{n}.png,{'Pnömoni' if n < 2 else 'Normal'},p{n},s" for n in range(40)]
    table(HEAD + "\n".join(rows))
    radiographs = read_labels(tmp_path, KNOWN)
    for divisions in ([divide(radiographs, 1, 0.15, 0.15, KNOWN)], fold(radiographs, 1, 5, KNOWN)):
        with pytest.raises(DataError, match="no image labelled 'Pnömoni': 2 patients have one"):
            check_parts(divisions, KNOWN)
    check_parts([divide(radiographs, 1, 0.4, 0.2, KNOWN)], ("Normal",))
