"""Texts made to take long, or to hide an identifier behind what looks like it."""

import time

import pytest

from anonymize.text import find

_LENGTH = 8_000
_UNITS = [
    "Dr ", "Dr. ", "Prof. Dr. ", "A. ", "J. ", "D ", "O'", "a'", "AYŞE ", "Ayşe ", "de la ", "van ", "Smith, ",
    "Hasta ", "hasta adı: ", "signed by ", "1", "1 ", "1.", "1-", "1/", "A1", "12.03.", "2024-", "1 ocak ", "twenty ",
    "0532 ", "+90 ", "(0532) ", "a@", "a@a.", "a.com/", "http://", "f:", "::", "TR33 ", "kayit kayit ", "protokol no ",
    "mrn ", "Mah. ", "Cad. No: 1 ", "123 Main ", "Ankara/", "a, NY ", "yaş ", "doksan ", "\n", " ", "İ", "e\u0301",
    "\u0301", "\u200b", "_",
]  # fmt: skip


@pytest.mark.parametrize("unit", _UNITS)
def test_time_grows_with_length_and_not_with_its_square(unit):
    """Eight times the text takes about eight times as long, and not sixty-four, however fast or busy the machine."""
    find("a")  # tables are read at first use
    short, long = (_least_seconds((unit * length)[:length]) for length in (_LENGTH // 8, _LENGTH))
    assert long < 32 * short


def _least_seconds(text: str) -> float:
    """This process's own time, the least of three, in which what else the machine does counts least."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        find(text)
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize(("text", "known"), [("1 1111", "1111"), ("oda 12 1212", "1212"), ("7-7777", "7777")])
def test_a_known_number_is_found_behind_digits_that_look_like_its_beginning(text, known):
    assert any(text[finding.start : finding.end].endswith(known) for finding in find(text, known=[known]))
