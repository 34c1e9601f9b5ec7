"""Connections and their memory are used again: never while a peer may read it, never without bound, never by two."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime import wire
from runtime.links import Link, Links, packed


def files() -> set[int]:
    """The inodes of the memfds that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:tensors"):
                found.add(os.stat(f"/proc/self/fd/{name}").st_ino)
        except FileNotFoundError:  # the descriptor that listed them
            continue
    return found


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
        bound.bind(str(tmp_path / "socket"))
        bound.listen(100)
        yield bound


@pytest.fixture
def links(listener: socket.socket) -> Iterator[Links]:
    before = files()
    made = Links(Path(listener.getsockname()))
    yield made
    made.close()
    assert files() == before, "nothing stays open"


def _take(links: Links) -> Link:
    return links.take(time.monotonic() + 30)


def _filled(link: Link, size: int) -> wire.Memory:
    tensors = {"x": np.ones(size, np.uint8)}
    body = link.body(wire.tensor_headers(tensors), tensors)
    assert isinstance(body, wire.Memory)
    return body


def _inode(body: wire.Memory) -> int:
    return os.fstat(body.fd).st_ino


def test_a_link_fills_the_same_memory_again_for_what_fits(links: Links):
    link = _take(links)
    first = _inode(_filled(link, 30_000))
    links.give_back(link)
    again = _take(links)
    assert _inode(_filled(again, 20_000)) == first
    larger = _filled(again, 30_001)
    assert larger.size == 30_001
    assert _inode(larger) != first
    again.close()


def test_memory_that_is_closed_is_no_longer_mapped():
    memory = wire.Memory(1 << 20)
    memory.close()
    assert "/memfd:tensors" not in Path("/proc/self/maps").read_text()


def test_two_at_once_have_each_their_own(links: Links):
    one, other = _take(links), _take(links)
    assert _inode(_filled(one, 20_000)) != _inode(_filled(other, 20_000))
    one.close()
    other.close()


def test_one_whose_peer_has_said_something_unasked_or_has_gone_is_not_used(links: Links, listener: socket.socket):
    for say in (lambda peer: peer.send(b"{}"), lambda peer: peer.close()):
        link = _take(links)
        with listener.accept()[0] as peer:
            links.give_back(link)
            say(peer)
            another = _take(links)
            assert another is not link
            listener.accept()[0].close()
            another.close()


def test_some_are_kept_and_none_whose_memory_is_huge(links: Links, listener: socket.socket):
    before = files()
    huge = _take(links)
    _filled(huge, 300 << 20)
    links.give_back(huge)
    assert files() == before
    listener.listen(300)
    for _ in range(2):
        taken = [_take(links) for _ in range(140)]
        for link in taken:
            _filled(link, 20_000)
        for link in taken:
            links.give_back(link)
    assert len(files() - before) == 128


def test_none_is_kept_whose_peer_keeps_huge_memory_of_anothers(links: Links, listener: socket.socket):
    tensors = {"x": np.ones(300 << 20, np.uint8)}
    body = packed(wire.tensor_headers(tensors), tensors)
    link = _take(links)
    with listener.accept()[0] as peer:
        peer.send(b"{}")
        link.ask(b"{}", body, time.monotonic() + 30)
        wire.close(body)
        links.give_back(link)
        another = _take(links)
        assert another is not link
        another.close()


def test_what_is_left_of_earlier_tensors_is_not_read(links: Links):
    link = _take(links)
    for tensors in ({"x": np.ones(10_000, np.float32)}, {"x": np.zeros(5_000, np.float32)}):
        headers = wire.tensor_headers(tensors)
        body = link.body(headers, tensors)
        assert isinstance(body, wire.Memory)
        np.testing.assert_array_equal(wire.tensors_in(wire.received(body.fd), headers)["x"], tensors["x"])
    link.close()


def test_a_child_process_leaves_the_links_of_its_parent_alone(links: Links):
    link = _take(links)
    links.give_back(link)
    child = os.fork()
    if child == 0:
        os._exit(0 if _take(links) is not link else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert _take(links) is link
    link.close()
