"""Drives a protocol flow by hand: a list of replies in, the requests and the outcome out. No socket, no clock."""

from datetime import UTC, datetime
from typing import Any

from adapters.fhir.exchanges import Answer, NoAnswer, Reply, Request, Transaction

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LOST = NoAnswer("no complete answer", may_have_arrived=True)
UNREACHABLE = NoAnswer("no connection", may_have_arrived=False)


def run(flow: Any, *replies: Reply) -> tuple[Any, list[Request]]:
    """The outcome, and what was asked on the way. Each reply must be used."""
    asked = [next(flow)]
    for number, reply in enumerate(replies):
        try:
            asked.append(flow.send(reply))
        except StopIteration as end:
            assert number == len(replies) - 1, "the flow ended before all replies were used"
            return end.value, asked
    raise AssertionError("the flow wants another reply")


def answer(status: int = 200, body: dict[str, Any] | None = None, retry_after: str | None = None) -> Answer:
    return Answer(status, NOW, retry_after, body)


def found(*resources: dict[str, Any], **more: Any) -> Answer:
    """A searchset."""
    entries = [{"resource": resource} for resource in resources]
    return answer(
        body={"resourceType": "Bundle", "type": "searchset", **({"entry": entries} if entries else {}), **more}
    )


def written(count: int, *other: str) -> Answer:
    """The answer to a transaction: `count` entries created, then entries with the `other` statuses."""
    statuses = ["201 Created"] * count + list(other)
    entries = [{"response": {"status": status}} for status in statuses]
    return answer(body={"resourceType": "Bundle", "type": "transaction-response", "entry": entries})


def writes(asked: list[Request]) -> int:
    return sum(isinstance(request, Transaction) for request in asked)
