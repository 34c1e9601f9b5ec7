"""What delivery does for each way in which a server can answer, without a server."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir import Dead, Delivered, Held, Retry, Superseded
from adapters.fhir.delivery import delivery_flow
from adapters.fhir.exchanges import Answer
from adapters.fhir.operation_outcome import element_names, scrubbed
from adapters.fhir.retry import LONGEST_WAIT, failure, is_success, is_transient, not_before
from tests.fhir.flows import LOST, NOW, UNREACHABLE, answer, found, run, writes, written
from tests.fhir.samples import NORMAL, PLANTED, document, finding, image, result, the_report

DOCUMENT = document()
ENTRIES = len(json.loads(DOCUMENT)["entry"])
THERE = the_report(DOCUMENT)


def deliver(*replies):
    return run(delivery_flow(DOCUMENT), *replies)


def test_report_that_is_not_there_is_written_once():
    outcome, asked = deliver(found(), written(ENTRIES))
    assert outcome == Delivered(200)
    assert writes(asked) == 1


def test_report_that_is_there_is_not_written_again():
    outcome, asked = deliver(found(THERE))
    assert outcome == Delivered(already=True)
    assert writes(asked) == 0


def test_earlier_revision_is_replaced():
    earlier = the_report(document(study_result=result(image(finding(NORMAL, 0.9)))))
    later = document(revision=2)
    outcome, asked = run(delivery_flow(later), found(earlier), written(len(json.loads(later)["entry"])))
    assert (outcome, writes(asked)) == (Delivered(200), 1)


def test_later_revision_is_never_replaced_by_an_earlier_one():
    outcome, asked = deliver(found(the_report(document(revision=7))))
    assert (outcome, writes(asked)) == (Superseded(7), 0)


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended", "unknown", None])
def test_report_that_a_person_has_signed_is_never_overwritten(status):
    signed = the_report(document(study_result=result(forced=True))) | {"status": status}
    outcome, asked = deliver(found(signed))
    assert isinstance(outcome, Held)
    assert writes(asked) == 0


def test_signed_report_of_this_very_revision_counts_as_delivered():
    assert deliver(found(THERE | {"status": "final"}))[0] == Delivered(already=True)


def test_several_reports_under_one_identifier_are_held():
    assert isinstance(deliver(found(THERE, THERE))[0], Held)


def test_server_that_ignores_the_search_parameter_does_not_mislead():
    stranger = the_report(DOCUMENT) | {"identifier": [{"system": "x", "value": "y"}]}
    assert deliver(found(stranger, stranger, "junk"), written(ENTRIES))[0] == Delivered(200)


def test_lost_answer_is_resolved_by_looking():
    outcome, asked = deliver(found(), LOST, found(THERE))
    assert (outcome, writes(asked)) == (Delivered(already=True), 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error_after_which_the_report_is_there_is_a_delivery(status):
    assert deliver(found(), answer(status), found(THERE))[0] == Delivered(already=True)


def test_lost_answer_and_no_report_is_tried_again_later_not_at_once():
    outcome, asked = deliver(found(), LOST, found())
    assert isinstance(outcome, Retry)
    assert writes(asked) == 1


def test_server_that_cannot_be_reached_gets_no_document():
    outcome, asked = deliver(UNREACHABLE)
    assert (outcome, writes(asked)) == (Retry("no connection"), 0)


def test_document_that_cannot_have_arrived_needs_no_second_look():
    assert isinstance(deliver(found(), UNREACHABLE)[0], Retry)


def test_yes_without_a_response_for_each_entry_is_not_believed():
    for reply in (answer(), answer(204), written(ENTRIES - 1), answer(body={"resourceType": "OperationOutcome"})):
        assert isinstance(deliver(found(), reply, found())[0], Retry)
        assert deliver(found(), reply, found(THERE))[0] == Delivered(already=True)


def test_yes_with_entries_that_were_refused_is_a_dead_letter():
    outcome, _ = deliver(found(), written(ENTRIES - 1, "422 Unprocessable"))
    assert outcome == Dead(f"1 of {ENTRIES} entries were refused", 200, "")


def test_yes_with_entries_that_failed_for_now_is_tried_again():
    assert isinstance(deliver(found(), written(ENTRIES - 1, "503"), found())[0], Retry)


@pytest.mark.parametrize("status", [301, 308, 400, 403, 404, 412, 422, 501])
def test_refusal_is_a_dead_letter(status):
    outcome, asked = deliver(found(), answer(status))
    assert isinstance(outcome, Dead)
    assert outcome.status == status
    assert writes(asked) == 1


@pytest.mark.parametrize("status", [401, 408, 409, 425, 429, 500, 503, 599])
def test_passing_trouble_is_tried_again_when_the_server_says(status):
    trouble = answer(status, retry_after="120")
    outcome = deliver(found(), trouble, found())[0] if status >= 500 else deliver(found(), trouble)[0]
    assert outcome == Retry(f"the server answered {status}", status, NOW + timedelta(seconds=120))


def test_trouble_with_the_search_is_no_licence_to_write():
    for reply in (answer(503), answer(403), LOST, answer(body={"resourceType": "Patient"}), answer()):
        outcome, asked = deliver(reply)
        assert isinstance(outcome, Retry | Dead)
        assert writes(asked) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("99999999999999999999", 86400),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2026 12:02:00 -0000", 120),
        ("1 Jan 9999 00:00:00 GMT", 86400),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text, seconds):
    assert not_before(answer(503, retry_after=text)) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("text", [None, "", "-5", "1.5", "soon", "١٢", "Sun, 99 Foo"])
def test_retry_after_that_says_nothing_is_ignored(text):
    assert not_before(answer(503, retry_after=text)) is None


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} [\d:]{1,9} [A-Z+\-0-9]{1,6}")
)
def test_no_retry_after_breaks_anything_or_delays_for_longer_than_a_day(text):
    moment = not_before(Answer(503, NOW, text))
    assert moment is None or NOW <= moment <= NOW + LONGEST_WAIT


@given(st.integers(100, 999))
def test_every_status_is_success_passing_or_final_and_only_one_of_them(status):
    verdict = failure(answer(status), frozenset())
    assert isinstance(verdict, Dead) == (not is_success(status) and not is_transient(status))
    assert isinstance(verdict, Retry) == is_transient(status)
    assert not (is_success(status) and is_transient(status))


KEYS = "resourceType type entry resource identifier system value response status issue expression link name given id"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=5),
    max_leaves=12,
)
bodies = st.none() | st.dictionaries(
    st.sampled_from(["resourceType", "type", "entry", "issue"]), json_values, max_size=4
)
replies = st.just(LOST) | st.just(UNREACHABLE) | st.builds(
    Answer, st.sampled_from([200, 201, 204, 302, 400, 429, 500, 503]), st.just(datetime(2026, 3, 1, tzinfo=UTC)),
    st.sampled_from([None, "7", "x"]), bodies,
) | st.just(found(THERE)) | st.just(found()) | st.just(written(ENTRIES))  # fmt: skip


@given(st.lists(replies, min_size=3, max_size=3))
def test_no_server_makes_delivery_write_twice_or_fail_otherwise_than_by_an_outcome(sequence):
    flow = delivery_flow(DOCUMENT)
    asked = [next(flow)]
    outcome = None
    for reply in sequence:
        try:
            asked.append(flow.send(reply))
        except StopIteration as end:
            outcome = end.value
            break
    assert isinstance(outcome, Delivered | Superseded | Retry | Dead | Held)
    assert writes(asked) <= 1
    if isinstance(outcome, Delivered):
        assert found(THERE) in sequence or written(ENTRIES) in sequence or not outcome.already


def outcome_of(**issue):
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid", **issue}]}


def test_outcome_keeps_severity_code_and_place():
    said = outcome_of(expression=["Bundle.entry[1].resource.ofType(Observation).subject"], diagnostics="x")
    assert scrubbed([said], element_names(DOCUMENT)) == (
        "error invalid at Bundle.entry[1].resource.ofType(Observation).subject"
    )


def test_dead_letter_holds_none_of_the_planted_identifiers():
    said = outcome_of(
        severity="error AYŞEGÜL",
        code="70013377",
        details={"text": "no such patient: ÖRNEKOĞLU^AYŞEGÜL 70013377", "coding": [{"code": "70013377"}]},
        diagnostics="ACC-4711 1971-02-03 1.2.826.0.1.3680043.8.498.1",
        expression=[
            "Patient.ÖRNEKOĞLU",
            "Patient.name[70013377]",
            "Patient.where(id='70013377')",
            "ÖRNEKOĞLU AYŞEGÜL",
            70013377,
        ],
        location=["/f:ÖRNEKOĞLU"],
    )
    outcome, _ = deliver(found(), answer(422, said))
    assert isinstance(outcome, Dead)
    assert outcome.outcome == "? ?"
    assert not [planted for planted in PLANTED if planted in str(outcome)]


@given(bodies, st.text(alphabet=st.characters(categories=["Lu", "Ll"]), min_size=4, max_size=12))
def test_nothing_but_words_that_we_know_comes_through(body, word):
    names = element_names(DOCUMENT)
    text = scrubbed([body, outcome_of(expression=[word, f"Patient.{word}"], diagnostics=word)], names)
    assert word in names or word not in text


def test_many_issues_are_cut_short():
    issues = [
        {"severity": "information", "code": "multiple-matches", "expression": [f"{'Bundle.' * 15}entry[{n}]"]}
        for n in range(200)
    ]
    text = scrubbed([{"issue": issues}], element_names(DOCUMENT))
    assert text.endswith("; and 190 more")
    assert len(text) <= 2000
