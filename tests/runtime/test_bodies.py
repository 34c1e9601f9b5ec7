"""Shared memory that is used again: never while a peer may read it, never without bound, never by two at once."""

import contextlib
import os

import numpy as np
import pytest

from runtime import wire
from runtime.bodies import Bodies


def files() -> set[tuple[int, int]]:
    """The memfds that this process has open, by their inodes."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:tensors"):
                status = os.stat(f"/proc/self/fd/{name}")
                found.add((status.st_ino, status.st_size))
        except FileNotFoundError:  # the descriptor that listed them
            continue
    return found


@pytest.fixture
def bodies():
    before = files()
    made = Bodies()
    yield made
    made.close()
    assert files() == before, "nothing stays open"


def test_one_that_was_read_is_used_again_for_what_fits(bodies: Bodies):
    with bodies.lend(1000) as first:
        inode = os.fstat(first).st_ino
    for size in (1000, 10):
        with bodies.lend(size) as again:
            assert os.fstat(again).st_ino == inode
    with bodies.lend(1001) as larger:
        assert os.fstat(larger).st_size == 1001


def test_two_at_once_have_each_their_own(bodies: Bodies):
    with bodies.lend(10) as one, bodies.lend(10) as other:
        assert os.fstat(one).st_ino != os.fstat(other).st_ino


def test_one_that_a_peer_may_be_reading_yet_is_not_used_again(bodies: Bodies):
    read_by_a_peer = -1
    with contextlib.suppress(TimeoutError), bodies.lend(10) as body:
        read_by_a_peer = os.dup(body)  # so that its inode is not given to another
        raise TimeoutError
    with bodies.lend(10) as other:
        assert os.fstat(other).st_ino != os.fstat(read_by_a_peer).st_ino
    os.close(read_by_a_peer)


def test_few_are_kept_and_none_that_is_huge(bodies: Bodies):
    before = files()
    with bodies.lend(300 << 20):
        pass
    assert files() == before
    for _ in range(3):
        lent = [bodies.lend(10) for _ in range(40)]
        for one in lent:
            one.__enter__()
        for one in lent:
            one.__exit__(None, None, None)
    assert len(files() - before) == 32


def test_what_is_left_of_earlier_tensors_is_not_read(bodies: Bodies):
    large, small = {"x": np.ones(100, np.float32)}, {"x": np.zeros(3, np.float32)}
    for tensors in (large, small):
        headers = wire.tensor_headers(tensors)
        with bodies.lend(wire.size_of(headers)) as body:
            wire.write_tensors(body, headers, tensors)
            np.testing.assert_array_equal(wire.read_tensors(body, headers)["x"], tensors["x"])
