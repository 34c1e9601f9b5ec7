"""Answers that are kept and runs that are shared: only for identical requests, never for failures, within bounds."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import BackendFailure, DeadlineExceeded, InferenceResult, LocalRuntime, ModelPackage, Overloaded, lanes
from runtime.cache import AnswerCache, key_of
from tests.runtime.gate import GatedBackend
from tests.runtime.packages import classifier, images, make_package
from tests.waiting import wait_until

_KEPT = 1 << 20


def _result(value: float = 1.0, size: int = 3) -> InferenceResult:
    outputs = {"probabilities": np.full((1, size), value, np.float32)}
    return InferenceResult(outputs, "tiny", "1.0.0", "ab", batch_size=1, queue_seconds=0.0, run_seconds=0.0)


class _Asked:
    """What a cache asked for, to be answered by the test."""

    def __init__(self) -> None:
        self.futures: list[Future[InferenceResult]] = []

    def __call__(self) -> Future[InferenceResult]:
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny")


def _ask(
    cache: AnswerCache, ask: Callable[[], Future[Any]], key: bytes = b"a", priority: int = 10
) -> Future[InferenceResult]:
    return cache.answer(key, ask, priority=priority)


def test_an_identical_request_is_answered_without_a_run_and_says_so() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    first = _ask(cache, asked)
    asked.futures[0].set_result(_result(7))
    second = _ask(cache, asked)
    assert len(asked.futures) == 1
    assert not first.result(0).cached
    assert second.result(0).cached
    assert (second.result(0).outputs["probabilities"] == 7).all()
    use = cache.use()
    assert (use.entries, use.hits, use.misses) == (1, 1, 1)


def test_what_is_kept_cannot_be_changed_by_those_who_get_it() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    first = _ask(cache, asked)
    asked.futures[0].set_result(_result(7))
    first.result(0).outputs["probabilities"][:] = 0
    kept = _ask(cache, asked).result(0).outputs["probabilities"]
    assert (kept == 7).all()
    with pytest.raises(ValueError, match="read-only"):
        kept[:] = 0


def test_a_failure_is_not_kept() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    first = _ask(cache, asked)
    asked.futures[0].set_exception(BackendFailure("it failed"))
    with pytest.raises(BackendFailure):
        first.result(0)
    second = _ask(cache, asked)
    asked.futures[1].set_result(_result())
    assert not second.result(0).cached


def test_a_request_that_was_not_accepted_leaves_nothing_behind() -> None:
    cache = AnswerCache(_KEPT)

    def refuse() -> Future[InferenceResult]:
        raise Overloaded("full")

    with pytest.raises(Overloaded):
        _ask(cache, refuse)
    asked = _Asked()
    _ask(cache, asked)
    assert len(asked.futures) == 1


def test_identical_requests_at_the_same_moment_share_a_run() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    futures = [_ask(cache, asked) for _ in range(5)]
    assert len(asked.futures) == 1
    asked.futures[0].set_result(_result(3))
    assert [future.result(0).cached for future in futures] == [False, True, True, True, True]
    assert all((future.result(0).outputs["probabilities"] == 3).all() for future in futures)
    assert cache.use().joined == 4


def test_what_is_more_urgent_does_not_wait_for_anothers_run() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    _ask(cache, asked, priority=10)
    _ask(cache, asked, priority=5)
    assert len(asked.futures) == 2
    _ask(cache, asked, priority=10)
    assert len(asked.futures) == 2


def test_the_run_goes_on_while_anybody_waits_for_it() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    first, second = _ask(cache, asked), _ask(cache, asked)
    assert first.cancel()
    assert not asked.futures[0].cancelled()
    asked.futures[0].set_result(_result(3))
    assert (second.result(0).outputs["probabilities"] == 3).all()


def test_a_run_that_nobody_waits_for_is_withdrawn() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    for future in (_ask(cache, asked), _ask(cache, asked)):
        future.cancel()
    assert asked.futures[0].cancelled()
    _ask(cache, asked)
    assert len(asked.futures) == 2


def test_the_failure_of_a_shared_run_is_the_first_ones_and_the_others_are_asked_again() -> None:
    cache, asked = AnswerCache(_KEPT), _Asked()
    first, second = _ask(cache, asked), _ask(cache, asked)
    asked.futures[0].set_exception(DeadlineExceeded("too late"))
    with pytest.raises(DeadlineExceeded):
        first.result(0)
    asked.futures[1].set_result(_result(4))
    assert (second.result(0).outputs["probabilities"] == 4).all()


def test_the_answers_used_last_are_kept_within_the_limit() -> None:
    cache, asked = AnswerCache(3 * 2000), _Asked()
    for name in (b"a", b"b", b"c"):
        _ask(cache, asked, name)
        asked.futures[-1].set_result(_result(size=200))  # 800 bytes, and what keeping costs
    _ask(cache, asked, b"a")
    _ask(cache, asked, b"d")
    asked.futures[-1].set_result(_result(size=200))
    assert cache.use().used_bytes <= 6000
    runs = len(asked.futures)
    assert _ask(cache, asked, b"a").done()
    assert len(asked.futures) == runs
    _ask(cache, asked, b"b")  # the one that was not used for longest
    assert len(asked.futures) == runs + 1


def test_an_answer_larger_than_the_whole_cache_is_not_kept() -> None:
    cache, asked = AnswerCache(2000), _Asked()
    _ask(cache, asked)
    asked.futures[0].set_result(_result(size=1000))
    assert cache.use().entries == 0


def test_a_key_tells_everything_apart_that_can_change_an_answer(tmp_path: Path, package: ModelPackage) -> None:
    later = make_package(tmp_path / "later", version="2.0.0")
    retrained = make_package(tmp_path / "retrained", classifier(seed=5))
    renamed = make_package(tmp_path / "renamed", name="other")
    image = images(2)
    changed = image.copy()
    changed[1, 0, 7, 7] = np.nextafter(changed[1, 0, 7, 7], np.float32(2))
    keys = [
        key_of(package, {"image": image}),
        *(key_of(other, {"image": image}) for other in (later, retrained, renamed)),
        key_of(package, {"image": changed}),
        key_of(package, {"image": image[:1]}),
        key_of(package, {"image": image.reshape(1, 2, 8, 8)}),
        key_of(package, {"image": image.view(np.int32)}),
        key_of(package, {"picture": image}),
        key_of(package, {"image": image[:1], "picture": image[1:]}),
        key_of(package, {"image": image[1:], "picture": image[:1]}),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(package, {"image": image.copy()}) == keys[0]


def test_a_runtime_keeps_answers_only_if_it_may(package: ModelPackage) -> None:
    for cache_bytes, expected in ((0, [False, False]), (_KEPT, [False, True])):
        with LocalRuntime([package], threads=1, cache_bytes=cache_bytes) as runtime:
            answers = [runtime.infer("tiny", {"image": images(2)}, timeout_seconds=30) for _ in range(2)]
        assert [answer.cached for answer in answers] == expected
        assert np.array_equal(answers[0].outputs["probabilities"], answers[1].outputs["probabilities"])


def test_many_threads_that_ask_a_few_things_each_get_their_own_answer(package: ModelPackage) -> None:
    pictures = images(5)
    with LocalRuntime([package], threads=1) as plain:
        expected = plain.infer("tiny", {"image": pictures}, timeout_seconds=30).outputs["probabilities"]
    with LocalRuntime([package], threads=1, cache_bytes=3 * 1100) as runtime, ThreadPoolExecutor(8) as pool:

        def work(seed: int) -> None:
            for number in np.random.default_rng(seed).integers(0, 5, 100):
                answer = runtime.infer("tiny", {"image": pictures[number : number + 1]}, timeout_seconds=30)
                assert np.allclose(answer.outputs["probabilities"][0], expected[number], atol=1e-5)

        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result(60)


def test_requests_that_share_a_run_cost_the_model_one(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = GatedBackend()
    monkeypatch.setattr(lanes, "open_backend", lambda *_, **__: backend)
    monkeypatch.setattr(lanes, "warm_up", lambda *_: package.batch.size)
    entered = threading.Barrier(4)
    with LocalRuntime([package], cache_bytes=_KEPT) as runtime, ThreadPoolExecutor(4) as pool:

        def ask() -> InferenceResult:
            entered.wait(30)
            return runtime.infer("tiny", {"image": images(1)}, timeout_seconds=30)

        futures = [pool.submit(ask) for _ in range(4)]
        wait_until(lambda: runtime.usage().cache.joined == 3, "the others to join the first")
        backend.open()
        answers = [future.result(30) for future in futures]
    assert sorted(answer.cached for answer in answers) == [False, True, True, True]
    assert len(backend.batches) == 1
