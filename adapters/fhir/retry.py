"""What one reply of a FHIR server means for the attempt: done, again later, or never. Pure: no sockets, no clock.

The first rule that fits decides:

1. No answer: again later. Whether the server acted is found by looking, before anything is written again.
2. 2xx: the server took it.
3. 408, 409, 425, 429, any 5xx but 501 and 505: again later, not before Retry-After (RFC 9110 10.2.3). 409 is a
   collision with another writer (FHIR R4 3.1.0.4); it passes.
4. 401: again later: a token is renewed without any change to the document, and a night's reports must not all be dead
   letters.
5. Everything else, redirects too (identified data goes to no other place than the configured one): never; a person
   must look.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from adapters.fhir.exchanges import Answer, NoAnswer, Reply
from adapters.fhir.operation_outcome import scrubbed
from adapters.outcomes import Dead, Retry

LONGEST_WAIT = timedelta(days=1)
"""A server may ask for this much patience; a longer Retry-After is taken as this."""

_TRANSIENT = frozenset({401, 408, 409, 425, 429})
_PERMANENT = frozenset({501, 505})


def is_success(status: int) -> bool:
    """Whether an HTTP status says that the request was carried out."""
    return 200 <= status < 300


def is_transient(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later."""
    return status in _TRANSIENT or (500 <= status < 600 and status not in _PERMANENT)


def failure(reply: Reply, names: frozenset[str]) -> Retry | Dead | None:
    """None for a reply that says yes; else what it means. `names` as in `operation_outcome.scrubbed`."""
    if isinstance(reply, NoAnswer):
        return Retry(reply.reason)
    if is_success(reply.status):
        return None
    if is_transient(reply.status):
        return Retry(f"the server answered {reply.status}", reply.status, not_before(reply))
    return Dead(f"the server answered {reply.status}", reply.status, scrubbed([reply.body], names))


def not_before(answer: Answer) -> datetime | None:
    """When the server wants to be asked again (RFC 9110 10.2.3), UTC; None where it does not say."""
    text = (answer.retry_after or "").strip()
    if text.isascii() and text.isdigit():
        # More than ten digits are centuries.
        wait = timedelta(seconds=int(text)) if len(text) <= 10 else LONGEST_WAIT
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:  # "-0000": UTC, place unknown (RFC 5322 3.3)
            moment = moment.replace(tzinfo=UTC)
        wait = moment - answer.received_at
    return answer.received_at + min(max(wait, timedelta(0)), LONGEST_WAIT)
