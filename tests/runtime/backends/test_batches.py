"""Batch sizes, and the memory in which batches are put together."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.backends.batches import Staging, filled, fitting, run_sizes
from runtime.inference import Array
from runtime.package import DType, TensorSpec

SIZES = run_sizes(8)
SPECS = (
    TensorSpec(name="image", dtype=DType.FLOAT32, shape=("batch", 3, 5)),
    TensorSpec(name="age", dtype=DType.INT64, shape=("batch",)),
)


def _allocate(spec: TensorSpec, samples: int) -> Array:
    return np.full((samples, *spec.sample_shape), 77, spec.dtype.numpy)


def _staging(threads: int = 2, specs: tuple[TensorSpec, ...] = SPECS) -> Staging:
    return Staging(specs, SIZES, _allocate, threads=threads)


def _part(samples: int, seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        "image": random.random((samples, 3, 5), dtype=np.float32),
        "age": random.integers(0, 99, samples, np.int64),
    }


def test_sizes_are_powers_of_two_and_the_largest() -> None:
    assert run_sizes(1) == (1,)
    assert run_sizes(8) == (1, 2, 4, 8)
    assert run_sizes(11) == (1, 2, 4, 8, 11)
    assert [fitting(run_sizes(11), samples) for samples in (1, 3, 8, 9, 11)] == [1, 4, 8, 11, 11]
    for most in range(1, 70):
        sizes = run_sizes(most)
        assert sizes[-1] == most
        assert sorted(set(sizes)) == list(sizes)
        assert all(fitting(sizes, samples) < 2 * samples for samples in range(1, most + 1))


def test_what_fills_a_batch_is_zero() -> None:
    assert filled(np.ones((2, 3), np.float32), 4).tolist() == [[1] * 3, [1] * 3, [0] * 3, [0] * 3]
    assert filled(np.ones((2, 3), np.float32)[::-1], 2).flags.c_contiguous


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=8).filter(lambda counts: sum(counts) <= 8), st.integers(1, 5))
def test_parts_are_joined_in_order_whatever_was_there_before(counts: list[int], threads: int) -> None:
    staging = _staging(threads)
    staging.join([_part(8, seed=99)])
    parts = [_part(count, seed) for seed, count in enumerate(counts)]
    for part in parts:
        part["image"].flags.writeable = False  # as memory of another process is
    joined = staging.join(parts)
    for name in ("image", "age"):
        assert np.array_equal(joined[name], np.concatenate([part[name] for part in parts]))
        assert joined[name].flags.c_contiguous
    staging.close()


def test_large_samples_are_joined_by_several_threads() -> None:
    spec = TensorSpec(name="image", dtype=DType.UINT8, shape=("batch", 3 << 20))
    staging = _staging(4, (spec,))
    parts = [{"image": np.full((count, 3 << 20), count, np.uint8)} for count in (1, 2, 3)]
    joined = staging.join(parts)["image"]
    assert joined[:, 0].tolist() == joined[:, -1].tolist() == [1, 2, 2, 3, 3, 3]
    staging.close()


def test_memory_is_used_again_and_known_again() -> None:
    staging = _staging()
    first = staging.join([_part(5)])
    assert staging.holds(first)
    assert staging.holds({name: array[:2] for name, array in first.items()})
    assert not staging.holds({name: array[2:] for name, array in first.items()})
    assert not staging.holds(_part(5))
    again = staging.join([_part(8, seed=1)])  # the size above five is eight
    assert all(np.shares_memory(first[name], again[name]) for name in again)
    staging.close()


def test_the_rest_of_a_batch_that_did_not_fit_can_be_joined_by_itself() -> None:
    staging, part = _staging(), _part(8)
    joined = staging.join([part])
    rest = {name: array[4:] for name, array in joined.items()}
    assert not staging.holds(rest)
    again = staging.join([rest])
    assert all(np.array_equal(again[name], part[name][4:]) for name in again)
    staging.close()


def test_no_batch_waits_for_a_thread_that_has_not_begun() -> None:
    spec = TensorSpec(name="image", dtype=DType.UINT8, shape=("batch", 3 << 20))
    staging, busy = _staging(2, (spec,)), threading.Event()
    staging._pool.submit(busy.wait, 30)  # the one helper is held up
    parts = [{"image": np.full((1, 3 << 20), value, np.uint8)} for value in (1, 2, 3)]
    assert staging.join(parts)["image"][:, -1].tolist() == [1, 2, 3]
    assert not busy.is_set()
    busy.set()
    staging.close()


def test_a_copy_that_fails_is_said() -> None:
    staging = _staging()
    with pytest.raises(ValueError):
        staging.join([{"image": np.zeros((1, 3, 5), np.float32), "age": np.zeros((1, 9), np.int64)}])
    staging.close()
