"""Several receiver processes on one socket: limits that count all of them, ends that lose nothing, disks that fill."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.storage import EventKind
from tests.receiver.instances import ct, encoded
from tests.receiver.raw_peer import ABORT, ASSOCIATE_RJ, CT, EXPLICIT, RawPeer, associate_request
from tests.receiver.receivers import Receivers
from tests.waiting import wait_until

MakeReceivers = Callable[..., Receivers]


def associate_with(receivers: Receivers, process: subprocess.Popen[str], stack: ExitStack) -> RawPeer:
    """An association that this very process accepts: the others are stopped meanwhile."""
    others = [other for other in receivers.processes if other is not process]
    for other in others:
        os.kill(other.pid, signal.SIGSTOP)
        if other.poll() is None:
            wait_until(lambda other=other: _state(other) == "T", "the other receiver to be stopped")
    try:
        peer = stack.enter_context(RawPeer(receivers.port))
        peer.associate()
    finally:
        for other in others:
            os.kill(other.pid, signal.SIGCONT)
    return peer


def _state(process: subprocess.Popen[str]) -> str:
    """The process's state as in proc(5): R, S, T …"""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def answer_to_request(port: int) -> tuple[int, tuple[int, ...]]:
    with RawPeer(port) as peer:
        peer.send(associate_request())
        kind, body = peer.read_pdu()
        if kind != ASSOCIATE_RJ:
            peer.release()
        return kind, tuple(body[1:4])


def test_the_association_limit_counts_all_processes(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers(maximum_associations=3)
    first, second = receivers.start(), receivers.start()
    with ExitStack() as stack:
        peers = [associate_with(receivers, process, stack) for process in (first, first, second)]
        assert answer_to_request(receivers.port) == (ASSOCIATE_RJ, (2, 3, 2))
        peers[0].release()
        peers[0].socket.close()
        wait_until(lambda: answer_to_request(receivers.port)[0] != ASSOCIATE_RJ, "a free slot after a release")
        again = associate_with(receivers, first, stack)
        assert answer_to_request(receivers.port) == (ASSOCIATE_RJ, (2, 3, 2))
        second.kill()
        second.wait()
        assert answer_to_request(receivers.port)[0] != ASSOCIATE_RJ  # a killed process holds no slot
        again.release()
    rejected = [event for event in receivers.events() if event.event is EventKind.ASSOCIATION_REJECTED]
    assert rejected  # the second receiver may have been killed before it noted its own
    assert "as many associations" in rejected[0].detail


def test_a_stop_lets_associations_finish_and_takes_no_new_ones(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers(drain_seconds=15.0)
    process = receivers.start()
    data_set = ct(size=8)
    with RawPeer(receivers.port) as peer, RawPeer(receivers.port, seconds=1.0) as late:
        peer.associate()
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: _takes_no_connection(process), "the receiver to stop accepting")
        assert peer.store(encoded(data_set, EXPLICIT), data_set.SOPInstanceUID).status == 0
        assert process.poll() is None
        late.socket.close()
        peer.release()
    assert process.wait(10) == 0
    assert data_set.SOPInstanceUID in receivers.instances()


def _takes_no_connection(process: subprocess.Popen[str]) -> bool:
    """Whether no thread of the process waits for connections: its main thread has left the selector (epoll)."""
    descriptors = Path(f"/proc/{process.pid}/fd")
    return not any("eventpoll" in os.readlink(link) for link in descriptors.iterdir())


def test_an_association_that_outlasts_the_drain_is_aborted(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers(drain_seconds=0.3)
    process = receivers.start()
    with RawPeer(receivers.port) as peer:
        peer.associate()
        assert process.stdin is not None
        process.stdin.close()
        assert peer.read_pdu()[0] == ABORT
    assert process.wait(10) == 0
    assert receivers.events()[-1].detail == "the receiver stops"


def test_a_receiver_that_was_killed_comes_back_under_its_id(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers()
    first = receivers.start(receiver_id="receiver-1")
    with RawPeer(receivers.port) as peer:
        peer.associate()
        one = ct(size=8)
        assert peer.store(encoded(one, EXPLICIT), one.SOPInstanceUID).status == 0
        first.kill()
        first.wait()
    receivers.start(receiver_id="receiver-1")
    with RawPeer(receivers.port) as peer:
        peer.associate()
        two = ct(size=8)
        assert peer.store(encoded(two, EXPLICIT), two.SOPInstanceUID).status == 0
        peer.release()
    assert {one.SOPInstanceUID, two.SOPInstanceUID} <= receivers.instances().keys()
    store = receivers.store()
    assert len(store.batches("receiver-1")) == 2


def test_instances_are_refused_while_too_little_is_free_and_the_operator_is_told(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers(minimum_free_bytes=1 << 60)
    receivers.start()
    data_set = ct(size=8)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        response = peer.store(encoded(data_set, EXPLICIT), data_set.SOPInstanceUID)
        assert (response.status, response.comment) == (0xA700, "no room left")
        peer.release()
    events = [event.event for event in receivers.events()]
    assert events == [EventKind.ASSOCIATION_OPENED, EventKind.INSTANCE_REFUSED, EventKind.ASSOCIATION_RELEASED]
    assert "store_unavailable" in receivers.log_path.read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 4 MB, for which one needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "kopru-test", folder], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_what_does_not_fit_and_loses_nothing_that_did(
    make_receivers: MakeReceivers, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "store").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "store").symlink_to(small_disk / "store")
    receivers = make_receivers(root=tmp_path / "root")
    process = receivers.start()
    acknowledged, refused = {}, 0
    with RawPeer(receivers.port) as peer:
        peer.associate()
        for number in range(12):
            data_set = ct(size=512, number=number)
            raw = encoded(data_set, EXPLICIT)
            response = peer.store(raw, data_set.SOPInstanceUID)
            if response.status == 0:
                acknowledged[str(data_set.SOPInstanceUID)] = raw
            else:
                assert response.status == 0xA700
                refused += 1
        assert refused >= 3
        assert len(acknowledged) >= 4
        stored = receivers.instances()
        assert stored == acknowledged
        # Room again: the same association goes on.
        store = receivers.store()
        (victim,) = [ref for ref, r, _ in receivers.opened() if r.sop_instance_uid == next(iter(acknowledged))]
        store.delete(victim)
        small = ct(size=8)
        assert peer.store(encoded(small, EXPLICIT), small.SOPInstanceUID).status == 0
        peer.release()
    assert process.poll() is None


def test_a_store_that_vanished_refuses_and_one_that_is_back_takes_again(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers()
    receivers.start()
    data_set = ct(size=8)
    raw = encoded(data_set, EXPLICIT)
    with RawPeer(receivers.port) as peer:
        peer.associate([(1, CT, (EXPLICIT,))])
        (receivers.root / "store").rename(receivers.root / "away")
        response = peer.store(raw, data_set.SOPInstanceUID)
        assert (response.status, "not available" in response.comment) == (0xA700, True)
        (receivers.root / "away").rename(receivers.root / "store")
        assert peer.store(raw, data_set.SOPInstanceUID).status == 0
        peer.release()
    wait_until(lambda: len(receivers.events()) == 3, "the events, that of the refusal too")
    (refused,) = [event for event in receivers.events() if event.event is EventKind.INSTANCE_REFUSED]
    assert (refused.status, refused.sop_instance_uid) == (0xA700, data_set.SOPInstanceUID)


def test_a_key_store_that_vanished_refuses_too(make_receivers: MakeReceivers) -> None:
    receivers = make_receivers()
    receivers.start()
    data_set = ct(size=8)
    raw = encoded(data_set, EXPLICIT)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        for mirror in ("keys-a", "keys-b"):
            (receivers.root / mirror).rename(receivers.root / f"{mirror}-away")
        assert peer.store(raw, data_set.SOPInstanceUID).status == 0xA700
        for mirror in ("keys-a", "keys-b"):
            (receivers.root / f"{mirror}-away").rename(receivers.root / mirror)
        assert peer.store(raw, data_set.SOPInstanceUID).status == 0
        peer.release()
