"""The circuit breaker and the counters: arithmetic without clocks."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.breaker import FIRST_SECONDS, LONGEST_SECONDS, Breaker
from runtime.counters import LATENCY_SECONDS, Counters


def test_a_new_breaker_lets_everything_through() -> None:
    breaker = Breaker()
    assert not breaker.failing
    assert breaker.seconds_left(0.0) == 0.0


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.floats(0, 1e6))
def test_each_failure_in_a_row_doubles_the_time_up_to_a_limit(failures: int, drawn: float, now: float) -> None:
    breaker = Breaker(lambda: drawn)
    for _ in range(failures):
        breaker.failed(now)
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** (failures - 1))
    assert longest / 2 - 1e-6 <= breaker.seconds_left(now) <= longest + 1e-6
    assert breaker.failing
    assert breaker.seconds_left(now + longest) == 0.0
    assert breaker.failing  # until something succeeds


def test_a_success_begins_anew() -> None:
    breaker = Breaker(lambda: 0.999)
    for _ in range(5):
        breaker.failed(100.0)
    breaker.succeeded()
    assert not breaker.failing
    assert breaker.seconds_left(100.0) == 0.0
    breaker.failed(100.0)
    assert breaker.seconds_left(100.0) <= FIRST_SECONDS


def test_each_latency_is_counted_in_the_first_bucket_that_holds_it() -> None:
    counters = Counters()
    for seconds in (0.0, LATENCY_SECONDS[0], LATENCY_SECONDS[0] + 1e-9, LATENCY_SECONDS[-1], LATENCY_SECONDS[-1] + 1):
        counters.answered(seconds)
    assert counters.latency == (2, 1, *([0] * (len(LATENCY_SECONDS) - 3)), 1, 1)


def test_throughput_is_that_of_the_last_minute() -> None:
    counters = Counters()
    for second in range(200):
        counters.ran(30, 0.1, second)
        counters.ran(30, 0.1, second + 0.5)
    assert counters.samples == 12_000
    assert counters.batches == 400
    assert counters.samples_per_second(199.9) == 60
    assert counters.samples_per_second(229.0) == 30
    assert counters.samples_per_second(500.0) == 0
