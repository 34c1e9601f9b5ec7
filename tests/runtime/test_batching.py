"""The batching queue: what runs together, in which order, what is refused, and who pays for a failure."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from runtime import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    InferenceResult,
    ModelPackage,
    OutOfMemory,
    Overloaded,
    RemoteUnavailable,
    RuntimeUnavailable,
)
from runtime.backend import Backend
from runtime.batcher import Batcher, LaneFailed
from runtime.inference import Array
from tests.runtime.gate import Check, GatedBackend
from tests.runtime.packages import SIDE, make_package
from tests.waiting import wait_until

_LATER = 60.0


class Queue:
    """A batcher over a gated backend."""

    def __init__(self, package: ModelPackage, fault: Check | None = None, limit: int = 64) -> None:
        self.backend = GatedBackend(fault)
        self.batcher = Batcher(package, lambda: (self.backend, package.batch.size), queue_limit=limit)

    def ask(
        self, value: float, *, samples: int = 1, priority: int = 10, seconds: float = _LATER
    ) -> Future[InferenceResult]:
        image = np.full((samples, 1, SIDE, SIDE), value, np.float32)
        deadline = time.monotonic() + seconds
        return self.batcher.submit({"image": image}, samples, priority=priority, deadline=deadline)

    def hold(self) -> Future[InferenceResult]:
        """Keep the backend busy with a request of value 0, so that what follows waits."""
        future = self.ask(0)
        assert self.backend.entered.acquire(timeout=30)
        return future


def _cause(future: Future[InferenceResult]) -> Exception:
    with pytest.raises(LaneFailed) as caught:
        future.result(30)
    return caught.value.cause


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny")


@contextlib.contextmanager
def _queue(package: ModelPackage, fault: Check | None = None, limit: int = 64) -> Iterator[Queue]:
    queue = Queue(package, fault, limit)
    try:
        yield queue
    finally:
        queue.backend.open(1000)
        queue.batcher.close(30)


def test_a_lone_request_runs_at_once(tmp_path: Path) -> None:
    package = make_package(tmp_path / "patient", batch={"size": 8, "wait_ms": 1000})
    with _queue(package) as queue:
        queue.backend.open()
        answer = queue.ask(1).result(30)
        assert answer.batch_size == 1
        assert answer.queue_seconds < 0.5


def test_requests_that_wait_run_together_and_each_gets_its_own_answer(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        futures = [queue.ask(value, samples=samples) for value, samples in ((1, 1), (2, 3), (3, 2))]
        queue.backend.open(2)
        answers = [future.result(30) for future in futures]
    assert [answer.batch_size for answer in answers] == [6, 6, 6]
    assert [answer.outputs["probabilities"].shape for answer in answers] == [(1, 3), (3, 3), (2, 3)]
    for value, answer in enumerate(answers, 1):
        assert (answer.outputs["probabilities"] == value * SIDE * SIDE).all()
    assert all(answer.weights_sha256 == package.weights_sha256 for answer in answers)


def test_a_batch_never_exceeds_its_size(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        futures = [queue.ask(1, samples=3) for _ in range(5)]
        queue.backend.open(10)
        assert [future.result(30).batch_size for future in futures] == [6, 6, 6, 6, 3]


def test_after_a_batch_the_next_waits_for_as_many_but_not_longer_than_the_package_says(tmp_path: Path) -> None:
    package = make_package(tmp_path / "patient", batch={"size": 8, "wait_ms": 300})
    with _queue(package) as queue:
        queue.hold()
        together = [queue.ask(value) for value in (1, 2, 3)]
        queue.backend.open(2)
        assert {future.result(30).batch_size for future in together} == {3}
        queue.backend.open(1)
        again = [queue.ask(value) for value in (1, 2, 3)]
        assert {future.result(30).batch_size for future in again} == {3}
        queue.backend.open(2)
        alone = queue.ask(1).result(30)
        assert alone.batch_size == 1
        assert 0.25 <= alone.queue_seconds < 5
        assert queue.ask(1).result(30).queue_seconds < 0.25  # nobody else came, so nobody is waited for now


def test_urgent_requests_run_before_routine_ones_and_equals_in_their_order(tmp_path: Path) -> None:
    package = make_package(tmp_path / "single", batch={"size": 1, "wait_ms": 0})
    with _queue(package) as queue:
        queue.hold()
        futures = [
            queue.ask(1),
            queue.ask(2),
            queue.ask(3, priority=0),
            queue.ask(4, priority=5),
            queue.ask(5, priority=0),
        ]
        queue.backend.open(6)
        for future in futures:
            future.result(30)
    assert queue.backend.batches == [[0], [3], [5], [4], [1], [2]]


def test_a_request_that_waited_too_long_is_not_run(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        late = queue.ask(1, seconds=0.01)
        patient = queue.ask(2)
        wait_until(lambda: queue.batcher.running_seconds > 0.02, "the deadline")
        queue.backend.open(2)
        with pytest.raises(DeadlineExceeded):
            late.result(30)
        assert patient.result(30).batch_size == 1
    assert queue.backend.batches == [[0], [2]]


def test_a_withdrawn_request_is_not_run(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        gone, stays = queue.ask(1), queue.ask(2)
        assert gone.cancel()
        queue.backend.open(2)
        assert stays.result(30).batch_size == 1
    assert queue.backend.batches == [[0], [2]]


def test_a_full_queue_pushes_back_and_takes_again_when_there_is_room(package: ModelPackage) -> None:
    with _queue(package, limit=4) as queue:
        queue.hold()
        waiting = [queue.ask(1, samples=2), queue.ask(2, samples=2)]
        with pytest.raises(Overloaded, match="4 samples"):
            queue.ask(3)
        waiting[0].cancel()
        replaced = queue.ask(3, samples=2)
        with pytest.raises(Overloaded):
            queue.ask(4)
        queue.backend.open(2)
        assert replaced.result(30).batch_size == 4
        assert waiting[1].result(30).batch_size == 4
        assert queue.batcher.waiting == 0


def test_what_is_too_late_makes_room_in_a_full_queue(package: ModelPackage) -> None:
    with _queue(package, limit=1) as queue:
        queue.hold()
        late = queue.ask(1, seconds=0.01)
        wait_until(lambda: queue.batcher.running_seconds > 0.02, "the deadline")
        fresh = queue.ask(2)
        with pytest.raises(DeadlineExceeded):
            late.result(0)
        queue.backend.open(2)
        assert fresh.result(30).batch_size == 1


def _refuses(value: float) -> Check:
    def check(image: Array) -> None:
        if (image[:, 0, 0, 0] == value).any():
            raise ValueError("the text of this error may quote a value")

    return check


def test_one_that_fails_does_not_take_its_neighbours_with_it(package: ModelPackage) -> None:
    with _queue(package, _refuses(2)) as queue:
        queue.hold()
        good, bad, other = queue.ask(1), queue.ask(2), queue.ask(3)
        queue.backend.open(10)
        assert good.result(30).outputs["probabilities"][0, 0] == SIDE * SIDE
        assert other.result(30).outputs["probabilities"][0, 0] == 3 * SIDE * SIDE
        with pytest.raises(BackendFailure, match="ValueError") as caught:
            bad.result(30)
        assert "quote a value" not in str(caught.value)
        assert queue.ask(1).result(30).batch_size == 1  # the thread lives


def test_an_answer_that_is_not_finite_fails_only_its_own_request(package: ModelPackage) -> None:
    def overflow(image: Array) -> None:
        image[image == 2] = np.nan

    with _queue(package, overflow) as queue:
        queue.hold()
        good, bad = queue.ask(1), queue.ask(2)
        queue.backend.open(2)
        assert good.result(30).batch_size == 2
        with pytest.raises(BackendFailure, match="not finite"):
            bad.result(30)


def test_a_lost_device_ends_the_lane_and_gives_everything_back(package: ModelPackage) -> None:
    def lose(_: Array) -> None:
        raise BackendLost("the device is gone")

    with _queue(package, lose) as queue:
        running = queue.hold()
        waiting = queue.ask(1)
        queue.backend.open(2)
        for future in (running, waiting):
            assert isinstance(_cause(future), BackendLost)
        with pytest.raises(LaneFailed):
            queue.ask(2)
        assert queue.backend.closed.wait(30)
    assert queue.backend.batches == [[0]]


def test_a_device_lost_among_retries_gives_every_request_of_the_batch_back(package: ModelPackage) -> None:
    runs = iter([None, ValueError(), BackendLost("gone")])

    def fault(_: Array) -> None:
        error = next(runs)
        if error is not None:
            raise error

    with _queue(package, fault) as queue:
        queue.hold()
        futures = [queue.ask(1), queue.ask(2), queue.ask(3)]
        queue.backend.open(10)
        assert all(isinstance(_cause(future), BackendLost) for future in futures)


def test_a_server_that_is_away_is_not_asked_once_for_each_request(package: ModelPackage) -> None:
    def away(_: Array) -> None:
        raise RemoteUnavailable("no answer within 30 s")

    with _queue(package, away) as queue:
        futures = [queue.hold(), *(queue.ask(value) for value in range(1, 20))]
        queue.backend.open(30)
        assert all(isinstance(_cause(future), RemoteUnavailable) for future in futures)
    assert queue.backend.batches == [[0]]


class _Small:
    """A device on which `most` samples fit at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tried: list[int] = []

    def __call__(self, image: Array) -> None:
        self.tried.append(len(image))
        if len(image) > self.most:
            raise OutOfMemory("too many")


def test_a_batch_that_does_not_fit_into_memory_is_run_in_halves_and_the_size_is_remembered(
    package: ModelPackage,
) -> None:
    device = _Small(most=3)
    with _queue(package, device) as queue:
        queue.backend.open(100)
        answer = queue.ask(5, samples=8).result(30)
        assert (answer.outputs["probabilities"] == 5 * SIDE * SIDE).all()
        assert answer.outputs["probabilities"].shape == (8, 3)
        assert device.tried == [8, 4, 2, 2, 2, 2]
        assert queue.batcher.most_samples == 2
        device.tried.clear()
        assert queue.ask(6, samples=5).result(30).outputs["probabilities"].shape == (5, 3)
        assert device.tried == [2, 2, 1]


def test_requests_that_were_joined_too_far_for_the_memory_each_get_their_own_answer(package: ModelPackage) -> None:
    device = _Small(most=2)
    with _queue(package, device) as queue:
        queue.hold()
        futures = [queue.ask(value, samples=value) for value in (1, 2, 3)]
        queue.backend.open(100)
        for value, future in enumerate(futures, 1):
            outputs = future.result(30).outputs["probabilities"]
            assert outputs.shape == (value, 3)
            assert (outputs == value * SIDE * SIDE).all()


def test_memory_too_small_for_one_sample_is_the_lanes_failure(package: ModelPackage) -> None:
    device = _Small(most=0)
    with _queue(package, device) as queue:
        queue.backend.open(100)
        assert isinstance(_cause(queue.ask(1, samples=8)), OutOfMemory)
    assert device.tried == [8, 4, 2, 1]


def test_requests_that_wait_for_a_backend_that_cannot_be_opened_are_given_back(package: ModelPackage) -> None:
    begin, told = threading.Event(), []

    def fail() -> tuple[Backend, int]:
        assert begin.wait(30)
        raise ValueError("the library does not say why")

    batcher = Batcher(package, fail, queue_limit=8, on_failure=told.append)
    image = np.zeros((1, 1, SIDE, SIDE), np.float32)
    future = batcher.submit({"image": image}, 1, priority=0, deadline=time.monotonic() + _LATER)
    begin.set()
    cause = _cause(future)
    assert isinstance(cause, BackendFailure)
    assert "ValueError" in str(cause)
    assert told == [cause]


def test_only_an_idle_lane_is_closed_to_make_room(package: ModelPackage) -> None:
    with _queue(package) as queue:
        running = queue.hold()
        assert not queue.batcher.close_if_idle()
        queue.backend.open()
        running.result(30)
        wait_until(queue.batcher.close_if_idle, "the lane to be idle")
        assert queue.batcher.join(30)
        assert queue.backend.closed.is_set()


def test_closing_runs_what_waits(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        waiting = queue.ask(1)
        queue.backend.open(2)
        queue.batcher.close(30)
        assert waiting.result(0).batch_size == 1
        with pytest.raises(RuntimeUnavailable):
            queue.ask(2)


def test_closing_does_not_wait_for_ever(package: ModelPackage) -> None:
    with _queue(package) as queue:
        queue.hold()
        waiting = queue.ask(1)
        queue.batcher.close(0.05)
        with pytest.raises(RuntimeUnavailable):
            waiting.result(0)
