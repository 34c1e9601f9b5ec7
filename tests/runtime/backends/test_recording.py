"""One records and nobody works meanwhile; who works keeps no one from working."""

import threading

import pytest

from runtime.backends.recording import Turns
from tests.waiting import wait_until


def _in_a_thread(enter, entered: threading.Event, leave: threading.Event) -> threading.Thread:
    def work() -> None:
        with enter():
            entered.set()
            assert leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_many_work_at_once() -> None:
    turns, leave = Turns(), threading.Event()
    entered = [threading.Event() for _ in range(3)]
    threads = [_in_a_thread(turns.working, event, leave) for event in entered]
    assert all(event.wait(30) for event in entered)
    leave.set()
    for thread in threads:
        thread.join(30)


def test_one_records_when_all_work_is_done_and_work_that_comes_later_waits() -> None:
    turns = Turns()
    working, recording, later = threading.Event(), threading.Event(), threading.Event()
    work_done, recorded, all_done = threading.Event(), threading.Event(), threading.Event()
    threads = [_in_a_thread(turns.working, working, work_done)]
    assert working.wait(30)
    threads.append(_in_a_thread(turns.recording, recording, recorded))
    wait_until(lambda: turns._recording, "it to wait for its turn")
    threads.append(_in_a_thread(turns.working, later, all_done))
    assert not recording.is_set()
    work_done.set()
    assert recording.wait(30)
    assert not later.is_set()
    recorded.set()
    assert later.wait(30)
    all_done.set()
    for thread in threads:
        thread.join(30)


def test_two_record_one_after_the_other() -> None:
    turns, at_it = Turns(), []

    def record() -> None:
        for _ in range(200):
            with turns.recording():
                at_it.append(1)
                assert len(at_it) == 1
                at_it.pop()
            with turns.working():
                assert not at_it

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["working", "recording"])
def test_a_failure_ends_a_turn(kind: str) -> None:
    turns = Turns()
    with pytest.raises(ValueError), getattr(turns, kind)():
        raise ValueError
    with turns.recording():
        pass
    with turns.working():
        pass
