"""The fast search for identifiers in bulk bytes finds whatever the plain one finds, and says nothing else."""

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anonymize.bulk_search import SHORTEST, BulkSearch

MEGABYTE = 1 << 20
TOKENS = (b"KAYAHAN", b"4711004", b"19560412")


def found_plainly(tokens: list[bytes], pieces: list[bytes]) -> bool:
    """As slow as it is simple: what the fast search is held against."""
    data = b"".join(pieces).lower()
    return any(data.find(token.lower()) >= 0 for token in tokens)


def found_whole(tokens: list[bytes], pieces: list[bytes]) -> bool:
    """The same, of short numbers only those that are no part of a longer one: what must never be missed."""
    data = b"".join(pieces).lower()
    return any(
        re.search(rb"(?<!\d)%b(?!\d)" % token if _is_met_by_chance(token) else re.escape(token.lower()), data)
        for token in tokens
    )


def _is_met_by_chance(token: bytes) -> bool:
    return token.isdigit() and (len(token) < 8 or len(set(token)) < 3)


# Few different bytes, so that tokens nearly occur again and again.
letters = st.sampled_from([b"a", b"A", b"b", b"1", b"\0", b"\xc7"])
texts = st.lists(letters, max_size=40).map(b"".join)
tokens_ = st.lists(st.lists(letters, min_size=SHORTEST, max_size=12).map(b"".join), max_size=3)


@given(tokens_, st.lists(texts, max_size=6))
@example([b"aaaaaa"], [b"aaa", b"", b"aaa"])
@example([b"aaaaaa", b"bbbbbbbbbbbb"], [b"b", b"bbbbbbbbbb", b"b"])
def test_it_finds_in_pieces_what_the_plain_search_finds_in_the_whole(tokens, pieces):
    found = BulkSearch(tokens).finds(pieces)
    assert found_whole(tokens, pieces) <= found <= found_plainly(tokens, pieces)
    if len(pieces) <= 1:
        assert found == found_whole(tokens, pieces)


@given(tokens_.filter(bool), st.integers(0, 3), st.lists(texts, max_size=3), st.integers())
def test_the_fast_way_finds_what_the_plain_search_finds(tokens, times, more, seed):
    rng = random.Random(seed)
    filling = bytes(rng.choices(b"\0\0\0\0aA1\xc7", k=6000))
    data = b"".join([filling[:2500], *more, tokens[0][:-1], filling[:times], *tokens[:times], filling])
    assert BulkSearch(tokens).finds([data]) == found_whole(tokens, [data])


@pytest.mark.parametrize("token", [b"KAYAHAN", b"kayahan", b"KaYaHaN", b"4711004", b"19560412"])
def test_a_token_is_found_wherever_it_lies(token):
    noise = random.Random(1).randbytes(2 * MEGABYTE + 200_000).translate(None, b"0123456789")
    search = BulkSearch(TOKENS)
    assert not search.finds([noise])
    assert len(noise) > 2 * MEGABYTE
    places = [*range(60), *range(MEGABYTE - 20, MEGABYTE + 20), *range(len(noise) - 30, len(noise) - len(token) + 1)]
    for place in places:
        data = noise[:place] + token + noise[place + len(token) :]
        assert search.finds([data]), place
        assert search.finds([memoryview(data)[: place + 3], data[place + 3 :]]), place


def test_a_shortened_token_is_not_found():
    noise = random.Random(2).randbytes(50_000)
    assert not BulkSearch(TOKENS).finds([noise[:20_000] + b"KAYAHA" + noise[20_000:] + b"4711OO4"])


def test_bytes_that_are_nearly_a_token_throughout_are_searched_in_full():
    search = BulkSearch([b"000001"])
    assert not search.finds([b"0" * 3 * MEGABYTE])
    assert search.finds([b"0" * 3 * MEGABYTE + b"/000001"])


def test_a_short_number_is_found_as_a_whole_one_only_and_a_long_one_anywhere():
    noise = random.Random(3).randbytes(20_000).translate(None, b"0123456789")
    search = BulkSearch([b"535775", b"19560412"])
    for held in (b"1535775", b"5357751", b"535775535775", b"555357755"):
        assert not search.finds([noise + held + noise]), held
        assert search.finds([noise + held + b"/535775" + noise]), held
    for held in (b"535775", b"A535775B", b"1195604122"):
        assert search.finds([noise + held + noise]), held
    steps = BulkSearch([b"00000001"])
    assert not steps.finds([noise + b"0" * 9 + b"1" + noise])
    assert steps.finds([noise + b"00000001" + noise])


def test_a_short_token_is_refused():
    with pytest.raises(ValueError, match="6 bytes"):
        BulkSearch([b"KAYA1"])


def test_without_tokens_nothing_is_found():
    assert not BulkSearch([]).finds([b"KAYAHAN" * 1000])
