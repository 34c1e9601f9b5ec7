"""What could not be taken back at a destination waits until a person has seen to it there."""

import pytest

from adapters.fhir import Dead, Held
from daemon.audit import Kind
from daemon.control import CommandFailed
from tests.daemon.rows import events
from tests.steps.corrections import WITH_ANY_DATABASE, B, keys_of, of, settle
from tests.steps.installation import OPERATOR, Installation, Instead, another, image


@pytest.mark.parametrize("end", ["dead", "held"])
def test_what_could_not_be_taken_back_waits_until_a_person_says_that_it_is_seen_to(
    installation: Installation, end: str
):
    first = image()
    installation.send(first)
    installation.work()
    former = keys_of(installation)[installation.shown()["pseudonym"]]
    installation.send(of(B, first))
    installation.indexer.pass_once()
    refused = Dead("refused", 422) if end == "dead" else Held("the report was signed there")
    installation.destinations["reports"].plan.append(Instead(refused))
    settle(installation)
    study, state = installation.shown()["study"], "undelivered" if end == "dead" else "held"
    assert installation.deliveries()[3, "reports"] == end
    (listed,) = installation.ask("studies.list", state=state)
    assert (listed["study"], listed["revision"], listed["pseudonym"]) == (study, 3, former.pseudonym)
    assert installation.ask("status")["needs_a_person"] == 1
    settled = {"study": study, "destination": "reports", "reason": "done-elsewhere", "reference": "INC-4711"}
    assert len(installation.ask("studies.recalled", **settled)["deliveries"]) == 1
    assert installation.ask("status")["needs_a_person"] == 0
    assert installation.ask("tasks.list", state="dead") == []
    assert installation.deliveries()[3, "reports"] == "seen-to"
    (event,) = events(installation.database, Kind.SEEN_TO)
    assert (event["actor"], event["subject"]) == (OPERATOR, former.audit_tag)
    assert event["details"]["reason"] == "done-elsewhere"
    assert event["details"]["reference"] == "INC-4711"
    with pytest.raises(CommandFailed, match="waits for a person at this destination"):
        installation.ask("studies.recalled", **settled)
    installation.ask("tasks.retry-all", state="closed")
    settle(installation)
    assert installation.deliveries()[3, "reports"] == "seen-to"


@WITH_ANY_DATABASE
@pytest.mark.parametrize(
    "wrong", [{"reason": "because"}, {"reference": "Ornek, Ayse"}, {"study": "nobody"}, {"destination": "archive"}]
)
def test_nothing_else_is_seen_to_by_that(installation: Installation, wrong: dict[str, str]):
    first = image()
    installation.send(first)
    installation.work()
    installation.destinations["reports"].matches.append(Held("no patient has this identifier"))
    installation.send(another(first))
    installation.work()
    assert installation.deliveries()[2, "reports"] == "held"
    named = {"study": installation.shown()["study"], "destination": "reports", "reason": "other"}
    with pytest.raises(CommandFailed) as refused:
        installation.ask("studies.recalled", **named)  # it is about the study's own patient
    assert refused.value.exit_code == 1
    with pytest.raises(CommandFailed) as refused:
        installation.ask("studies.recalled", **named | wrong)
    assert "Ornek" not in str(refused.value)
    assert installation.deliveries()[2, "reports"] == "held"


# Keys
