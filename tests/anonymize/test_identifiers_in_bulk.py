"""The patient's own identifiers in values of numbers: as they are written, and in words of the other byte order."""

import pytest

from anonymize.identifiers import Identifiers

NAME, NUMBER = 0x00100010, 0x00100020


def in_words_of_the_other_order(text: bytes) -> bytes:
    return b"".join(text[at + 1 : at + 2] + text[at : at + 1] for at in range(0, len(text), 2))


@pytest.mark.parametrize("before", [b"\1\2", b"\1\2\3"])
@pytest.mark.parametrize("value", [b"QWXZEL", b"QWXZELK", b"PX7718293", b"19611123"])
def test_an_identifier_is_found_in_either_byte_order_wherever_it_begins(value: bytes, before: bytes) -> None:
    search = Identifiers({NAME: [value]}).in_bulk()
    bulk = before + value + b"\4\5\6\7"
    bulk += b"\0" * (len(bulk) % 2)
    assert search.finds([bulk])
    found = search.finds([in_words_of_the_other_order(bulk)])
    whole_words = (len(value) - len(before) % 2) // 2 * 2
    assert found == (whole_words >= 6)


def test_a_short_number_is_not_looked_for_in_the_other_byte_order() -> None:
    search = Identifiers({NUMBER: [b"771829"]}).in_bulk()
    assert not search.finds([in_words_of_the_other_order(b"\1\2771829\3\4")])
