"""OperationOutcomes without what a server may have put into them: servers quote the data that they refuse.

Kept: severity and code, which come from closed lists, and expressions made of nothing but element names of the
document that we sent (FHIR R4 5.5). Dropped: diagnostics, details, anything else. What remains can be stored and
logged.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_MOST_ISSUES = 10
_LONGEST_EXPRESSION = 120

_SEVERITIES = frozenset({"fatal", "error", "warning", "information"})
_CODES = frozenset(
    {
        *("invalid", "structure", "required", "value", "invariant"),
        *("security", "login", "unknown", "expired", "forbidden", "suppressed"),
        *("processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long"),
        *("code-invalid", "extension", "too-costly", "business-rule", "conflict"),
        *("transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled", "informational"),
    }
)
"""http://hl7.org/fhir/R4/valueset-issue-type.html"""
_STEP = re.compile(r"([A-Za-z]{1,64})(?:\[\d{1,3}\])?|ofType\(([A-Za-z]{1,64})\)", re.ASCII)


def element_names(document: bytes) -> frozenset[str]:
    """The element names and resource types of a JSON document, the only words that an expression may be made of."""
    names = {"Bundle"}

    def note(pairs: list[tuple[str, Any]]) -> None:
        names.update(key for key, _ in pairs)
        names.update(value for key, value in pairs if key == "resourceType")

    json.loads(document, object_pairs_hook=note)
    return frozenset(names)


def scrubbed(outcomes: Iterable[Any], names: frozenset[str]) -> str:
    """The issues as one line of words, at most 2,000 characters; `names` is what `element_names` gave. Never raises."""
    issues: list[str] = []
    for outcome in outcomes:
        found = outcome.get("issue") if isinstance(outcome, Mapping) else None
        issues += (
            [_issue(issue, names) for issue in found if isinstance(issue, Mapping)] if isinstance(found, list) else []
        )
    unique = list(dict.fromkeys(issues))
    more = f"; and {len(unique) - _MOST_ISSUES} more" if len(unique) > _MOST_ISSUES else ""
    return "; ".join(unique[:_MOST_ISSUES]) + more


def _issue(issue: Mapping[str, Any], names: frozenset[str]) -> str:
    words = f"{_listed(issue.get('severity'), _SEVERITIES)} {_listed(issue.get('code'), _CODES)}"
    expressions = issue.get("expression")
    places = [e for e in expressions if _is_clean(e, names)] if isinstance(expressions, list) else []
    return f"{words} at {places[0]}" if places else words


def _listed(value: Any, allowed: frozenset[str]) -> str:
    return value if isinstance(value, str) and value in allowed else "?"


def _is_clean(expression: Any, names: frozenset[str]) -> bool:
    if not isinstance(expression, str) or len(expression) > _LONGEST_EXPRESSION:
        return False
    steps = [_STEP.fullmatch(step) for step in expression.split(".")]
    return all(step and (step[1] or step[2]) in names for step in steps)
