"""pynetdicom's own thread is held before each C-STORE: it must not take the answer."""

import threading
import time

from adapters.dicom.send import Checkpoint


def test_whoever_holds_it_knows_that_the_other_thread_waits():
    checkpoint, busy, ended = Checkpoint(), threading.Event(), threading.Event()

    def go_round() -> None:
        while not ended.is_set():
            checkpoint.wait()
            busy.set()
            time.sleep(0.002)  # what it does each time round: it may take an answer
            busy.clear()

    thread = threading.Thread(target=go_round)
    thread.start()
    try:
        for _ in range(50):
            assert checkpoint.hold(30)
            assert not busy.is_set()
            checkpoint.set()
    finally:
        ended.set()
        checkpoint.set()
        thread.join()


def test_a_thread_that_has_ended_is_not_waited_for_without_end():
    assert not Checkpoint().hold(0.01)
