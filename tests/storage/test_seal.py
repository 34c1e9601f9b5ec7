"""The STREAM seal: what was sealed opens, and nothing else does."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters.storage.seal as seal
from adapters.keys import Tampered, open_value, seal_value
from adapters.storage import ObjectDamaged
from adapters.storage.seal import PREFIX_BYTES, TAG_BYTES, Opener, Sealer, open_all, seal_all

KEY = bytes(range(32))
PREFIX = bytes(range(PREFIX_BYTES))
CHUNK = 16  # so that small examples have many chunks


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seal, "CHUNK_BYTES", CHUNK)
        yield


def sealed(data: bytes, *, key: bytes = KEY, prefix: bytes = PREFIX, header: bytes = b"header") -> list[bytes]:
    return list(seal_all(Sealer(key, prefix, header), [data]))


def opened(data: bytes, *, key: bytes = KEY, prefix: bytes = PREFIX, header: bytes = b"header") -> bytes:
    return b"".join(open_all(Opener(key, prefix, header), data))


payloads = st.binary(max_size=5 * CHUNK)


@given(st.lists(st.binary(max_size=3 * CHUNK), max_size=6))
def test_what_was_sealed_opens_however_it_was_cut_into_buffers(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    stream = list(seal_all(Sealer(KEY, PREFIX, b"header"), pieces))
    assert opened(b"".join(stream)) == whole
    assert stream == sealed(whole)
    assert all(len(chunk) == CHUNK + TAG_BYTES for chunk in stream[:-1])


@given(payloads, st.data())
def test_a_cut_is_found_wherever_it_is(payload: bytes, data: st.DataObject) -> None:
    whole = b"".join(sealed(payload))
    kept = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ObjectDamaged):
        opened(whole[:kept])


@given(payloads, st.data())
def test_a_flipped_bit_is_found_wherever_it_is(payload: bytes, data: st.DataObject) -> None:
    whole = bytearray(b"".join(sealed(payload)))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ObjectDamaged):
        opened(bytes(whole))


@given(st.binary(min_size=2 * CHUNK + 1, max_size=6 * CHUNK), st.data())
def test_chunks_in_another_order_are_found(payload: bytes, data: st.DataObject) -> None:
    chunks = sealed(payload)
    order = data.draw(st.permutations(range(len(chunks))).filter(lambda p: p != sorted(p)))
    with pytest.raises(ObjectDamaged):
        opened(b"".join(chunks[number] for number in order))


@given(st.binary(min_size=2 * CHUNK + 1, max_size=6 * CHUNK), st.data())
def test_a_chunk_left_out_or_repeated_is_found(payload: bytes, data: st.DataObject) -> None:
    chunks = sealed(payload)
    number = data.draw(st.integers(0, len(chunks) - 1))
    times = data.draw(st.sampled_from((0, 2)))
    with pytest.raises(ObjectDamaged):
        opened(b"".join(chunks[:number] + [chunks[number]] * times + chunks[number + 1 :]))


@given(payloads, st.binary(min_size=1, max_size=40))
def test_bytes_after_the_end_are_found(payload: bytes, more: bytes) -> None:
    with pytest.raises(ObjectDamaged):
        opened(b"".join(sealed(payload)) + more)


@given(st.binary(min_size=CHUNK + 1, max_size=4 * CHUNK), st.data())
def test_a_chunk_of_another_stream_is_found(payload: bytes, data: st.DataObject) -> None:
    chunks = sealed(payload)
    foreign = data.draw(
        st.sampled_from(
            [
                sealed(payload, key=bytes(32)),
                sealed(payload, prefix=bytes(PREFIX_BYTES)),
                sealed(payload, header=b"other"),
            ]
        )
    )
    number = data.draw(st.integers(0, len(chunks) - 1))
    with pytest.raises(ObjectDamaged):
        opened(b"".join([*chunks[:number], foreign[number], *chunks[number + 1 :]]))


def test_a_stream_that_has_ended_takes_no_more() -> None:
    sealer = Sealer(KEY, PREFIX, b"")
    sealer.seal(b"a", last=True)
    with pytest.raises(ValueError, match="ended"):
        sealer.seal(b"b", last=True)


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_a_small_value_opens_in_its_place_only(value: bytes, context: bytes) -> None:
    box = seal_value(KEY, context, value)
    assert open_value(KEY, context, box) == value
    for key, place in ((KEY, context + b"x"), (bytes(32), context)):
        with pytest.raises(Tampered):
            open_value(key, place, box)


@given(st.binary(max_size=100), st.data())
def test_a_changed_small_value_does_not_open(value: bytes, data: st.DataObject) -> None:
    box = bytearray(seal_value(KEY, b"row", value))
    box[data.draw(st.integers(0, len(box) - 1))] ^= 0x10
    with pytest.raises(Tampered):
        open_value(KEY, b"row", bytes(box))
    with pytest.raises(Tampered):
        open_value(KEY, b"row", bytes(box[: data.draw(st.integers(0, len(box) - 1))]))


def test_sealing_twice_never_gives_the_same_bytes() -> None:
    assert seal_value(KEY, b"", b"value") != seal_value(KEY, b"", b"value")


def test_chunks_of_full_size_open_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "CHUNK_BYTES", 1 << 20)
    payload = os.urandom((2 << 20) + 5)
    assert opened(b"".join(sealed(payload))) == payload
