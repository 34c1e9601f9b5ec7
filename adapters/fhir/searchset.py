"""Reads the answer to a search for an identifier and believes only what it sees: some servers ignore parameters.

What is received is read as plain JSON, entry by entry; anything malformed counts as no match.
"""

from collections.abc import Mapping
from typing import Any

from adapters.fhir.exchanges import Answer


def matches(answer: Answer, resource_type: str, system: str, value: str) -> list[Mapping[str, Any]] | None:
    """The resources of the type that really carry the identifier; None where the answer is no searchset."""
    body = answer.body
    if body is None or body.get("resourceType") != "Bundle" or body.get("type") != "searchset":
        return None
    entries = body.get("entry", [])
    if not isinstance(entries, list):
        return None
    found = [entry.get("resource") for entry in entries if isinstance(entry, Mapping)]
    return [
        resource
        for resource in found
        if isinstance(resource, Mapping)
        and resource.get("resourceType") == resource_type
        and _carries(resource, system, value)
    ]


def has_more(answer: Answer) -> bool:
    """Whether the server has further pages of this answer (FHIR R4 3.1.1.4.1.3)."""
    links = (answer.body or {}).get("link", [])
    return isinstance(links, list) and any(
        isinstance(link, Mapping) and link.get("relation") == "next" for link in links
    )


def _carries(resource: Mapping[str, Any], system: str, value: str) -> bool:
    identifiers = resource.get("identifier", [])
    return isinstance(identifiers, list) and any(
        isinstance(i, Mapping) and i.get("system") == system and i.get("value") == value for i in identifiers
    )
