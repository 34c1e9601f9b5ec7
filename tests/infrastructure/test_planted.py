"""The search for planted identifiers finds them in every form, and nothing where there is nothing."""

import base64
import sqlite3

import pytest

from tests.planted import search_bytes, search_sqlite, search_tree

NAME = "ÖRNEK^AYŞE"


@pytest.mark.parametrize(
    "hidden",
    [
        NAME.encode(),
        NAME.lower().encode("iso-8859-9"),
        "Örnek Ayşe".encode("utf-16-le"),
        NAME.encode("iso-8859-9").hex().upper().encode(),
        b"?patient=%C3%96RNEK%5EAY%C5%9EE",
        rb"{\"name\": \"\u00d6RNEK^AY\u015eE\"}".replace(rb"\"", b'"'),
    ],
)
def test_every_form_is_found(hidden):
    assert search_bytes(b"before " + hidden + b" after", [NAME], "here")


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(3))
def test_base64_is_found_at_every_alignment(before, after):
    data = base64.b64encode(b"x" * before + NAME.encode() + b"y" * after)
    assert search_bytes(data, [NAME], "here")


def test_other_data_holds_nothing():
    assert search_bytes(bytes(range(256)) * 100 + "ÖRNEK^ALİ".encode(), [NAME], "here") == []


def test_names_and_contents_of_files_are_searched(tmp_path):
    (tmp_path / "12345678901").mkdir()
    (tmp_path / "a.bin").write_bytes(b"\0\xff" + NAME.encode())
    assert {s.identifier for s in search_tree(tmp_path, [NAME, "12345678901"])} == {NAME, "12345678901"}


def test_a_value_that_lies_across_pages_of_sqlite_is_found(tmp_path):
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    connection.execute("CREATE TABLE t (v BLOB)")
    for offset in range(4060, 4100):  # one of these is split by the end of a page
        connection.execute("INSERT INTO t VALUES (?)", (b"x" * offset + NAME.encode() + b"x" * 9000,))
    connection.commit()
    connection.close()
    found = search_sqlite(tmp_path / "a.sqlite", [NAME])
    assert "t.v" in {s.where for s in found}


def test_an_identifier_that_chance_would_find_is_refused():
    with pytest.raises(ValueError, match="chance"):
        search_bytes(b"", ["Ali"], "here")
