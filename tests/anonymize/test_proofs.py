"""Text of numbers is what PS3.5 6.2 allows, value by value, and is judged in a time that a sender cannot stretch."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.proofs import sound_text

ONE = {
    "DS": re.compile(rb" *[+-]?\d{0,10}(\.\d{0,20})?([eE][+-]?\d{1,3})? *"),
    "IS": re.compile(rb" *[+-]?\d{0,10} *"),
}
PIECES = (b" ", b"  ", b"\\", b"+", b"-", b".", b"7", b"1234567890", b"e", b"E12", b"\n", b"x")


@given(vr=st.sampled_from(sorted(ONE)), pieces=st.lists(st.sampled_from(PIECES), max_size=10))
def test_several_numbers_are_sound_where_each_of_them_is(vr: str, pieces: list[bytes]) -> None:
    value = b"".join(pieces)[:16]  # longer decimals are rounded, too
    sound = all(ONE[vr].fullmatch(part) for part in value.split(b"\\"))
    assert sound_text(vr, value, ()) == (value if sound else None)


@pytest.mark.parametrize("vr", sorted(ONE))
@pytest.mark.parametrize("piece", [b"   \\", b" ", b"1 \\", b"\\"])
def test_blanks_do_not_make_a_value_of_numbers_long_to_refuse(vr: str, piece: bytes) -> None:
    for value in (piece * 12 + b"x", (piece * 60_000)[:60_000] + b"x"):  # the first tells in seconds, not in ages
        assert sound_text(vr, value, ()) is None
        assert any(_seconds(vr, value) < 1 for _ in range(3))  # in one of them garbage may be collected


def _seconds(vr: str, value: bytes) -> float:
    started = time.process_time()
    sound_text(vr, value, ())
    return time.process_time() - started
