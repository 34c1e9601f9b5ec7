"""When a study is complete: the order of the rules, and that an instance still on its way keeps it open."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.intake.closing import Closing, Facts, decide
from daemon.settings import SourceDefaults

RULES = SourceDefaults(settle_seconds=10, timeout_seconds=120, force_seconds=3600, force_instances=500)


def facts(**changes) -> Facts:
    known = {
        "opened_at": 1000.0,
        "last_instance_at": 1000.0,
        "instances": 3,
        "new_instances": 3,
        "expected": None,
        "open_associations": 0,
        "last_association_closed_at": 1001.0,
        "indexed_until": 1002.0,
    }
    return Facts(**{**known, **changes})


def test_the_announced_count_closes_at_once():
    assert decide(facts(expected=3, open_associations=1), RULES) is Closing.COUNT


def test_a_count_that_is_not_reached_waits_for_the_timeout_even_if_the_association_has_ended():
    assert decide(facts(expected=4, indexed_until=1050.0), RULES) is None
    assert decide(facts(expected=4, indexed_until=1121.0), RULES) is Closing.TIMED_OUT


def test_an_announced_count_is_ignored_where_the_source_is_not_believed():
    rules = RULES.model_copy(update={"expected_count": False})
    assert decide(facts(expected=4, indexed_until=1012.0), rules) is Closing.SETTLED


def test_quiet_counts_from_the_end_of_the_association():
    assert decide(facts(indexed_until=1010.9), RULES) is None
    assert decide(facts(indexed_until=1011.0), RULES) is Closing.SETTLED


def test_an_open_association_keeps_the_study_open_until_the_timeout():
    assert decide(facts(open_associations=1, indexed_until=1100.0), RULES) is None
    assert decide(facts(open_associations=1, indexed_until=1120.0), RULES) is Closing.TIMED_OUT


def test_a_stream_without_pause_is_closed_by_force():
    busy = facts(open_associations=1, last_instance_at=4599.0, indexed_until=4600.0)
    assert decide(busy, RULES) is Closing.FORCED
    assert decide(facts(instances=500, new_instances=500), RULES) is Closing.FORCED


times = st.floats(0, 10_000)


@given(
    opened=times,
    last=times,
    indexed=times,
    instances=st.integers(0, 499),
    open_associations=st.integers(0, 3),
    closed=st.none() | times,
)
def test_nothing_closes_by_quiet_before_the_index_has_read_past_the_quiet_time(
    opened, last, indexed, instances, open_associations, closed
):
    known = Facts(opened, last, instances, instances, None, open_associations, closed, indexed)
    if decide(known, RULES) is Closing.SETTLED:
        assert indexed >= last + RULES.settle_seconds
        assert open_associations == 0
    if decide(known, RULES) is Closing.TIMED_OUT:
        assert indexed >= last + RULES.timeout_seconds
