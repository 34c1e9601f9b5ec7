"""Messages between client and runtime: tensors come out as they went in, whichever way their bytes travel."""

import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime import wire

_TENSORS = st.dictionaries(
    st.text(max_size=10),
    arrays.arrays(
        st.sampled_from([np.uint8, np.int64, np.float16, np.float32]), arrays.array_shapes(min_side=0, max_side=5)
    ),
    max_size=4,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


def _through(pair: tuple[socket.socket, socket.socket], tensors: dict[str, np.ndarray]) -> wire.Body:
    headers = wire.tensor_headers(tensors)
    request = wire.request_header(wire.InferRequest(model="m", priority=0, timeout_seconds=1.0, tensors=headers))
    sent = wire.packed(headers, tensors)
    wire.send(pair[0], request, sent)
    wire.close(sent)
    header, arrived = wire.receive(pair[1])
    assert arrived is not None
    read = wire.request_in(header)
    assert isinstance(read, wire.InferRequest)
    found = wire.tensors_in(wire.received(arrived), read.tensors)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert not found[name].flags.writeable
        assert found[name].flags.aligned
    return arrived


@settings(deadline=None, max_examples=60)
@given(tensors=_TENSORS, most_inline=st.sampled_from([-1, 100, wire.MAX_INLINE_BYTES]))
def test_tensors_come_out_as_they_went_in(tensors: dict[str, np.ndarray], most_inline: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_INLINE_BYTES", most_inline)
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            wire.close(_through((one, other), tensors))


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_too_large_for_a_message_goes_in_a_memfd(pair: tuple[socket.socket, socket.socket], more: int) -> None:
    body = _through(pair, {"x": np.arange(wire.MAX_INLINE_BYTES + more).astype(np.uint8)})
    assert isinstance(body, int if more else bytes)
    wire.close(body)


def test_the_longest_header_and_the_largest_body_fit_into_one_message(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    room = wire.MAX_HEADER_BYTES - len(wire.reply_header(wire.ErrorReply(error="", message="")))
    longest = wire.reply_header(wire.ErrorReply(error="", message="x" * room))
    wire.send(pair[0], longest, bytes(wire.MAX_INLINE_BYTES))
    header, body = wire.receive(pair[1])
    assert (len(header), body) == (wire.MAX_HEADER_BYTES, bytes(wire.MAX_INLINE_BYTES))


def test_a_document_of_any_length_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    for size in (0, 10, wire.MAX_INLINE_BYTES + 1):
        document = os.urandom(size)
        body = wire.packed_document(document)
        wire.send(pair[0], wire.reply_header(wire.DocumentReply()), body)
        wire.close(body)
        _, arrived = wire.receive(pair[1])
        assert arrived is not None
        assert wire.document_in(arrived) == document
        wire.close(arrived)
