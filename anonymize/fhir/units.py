"""Units of measure: whether a text is an expression of UCUM, by its grammar and a list of its atoms.

The Unified Code for Units of Measure allows any text between braces; such annotations could hold a name, and so only
those of a short list pass. Atoms that are not listed are not known, and the unit is then removed.
"""

import re
from functools import lru_cache
from typing import Final

from anonymize.fhir.definitions import known_values

_LISTS: Final = {name: frozenset(values) for name, values in known_values().items()}
_METRIC: Final = _LISTS["metric_units"]
_MOST_DIGITS: Final = 4  # in exponents and numbers; more of them could be a telephone number
_TERM: Final = re.compile(r"(?P<atom>[^./(){}]*?)(?P<power>[+-]?\d{1,2})?(?P<note>\{[^{}]*\})?", re.ASCII)


@lru_cache(maxsize=4096)
def is_unit(text: str) -> bool:
    """Whether this is an expression of UCUM that we know the atoms of, such as ``10*3/uL`` or ``mm[Hg]``."""
    if not 0 < len(text) <= 40 or re.search(r"[./]$|[./][./]", text):
        return False
    terms = re.split(r"[./](?![^{]*\})", text.removeprefix("/"))
    powers = (match["power"] or "" for match in map(_TERM.fullmatch, terms) if match is not None)
    return all(map(_is_term, terms)) and sum(map(len, powers)) <= _MOST_DIGITS


def is_unit_text(text: str) -> bool:
    """Whether this is a unit as people write it: of UCUM, or one of a list."""
    return text in _LISTS["unit_texts"] or is_unit(text)


def _is_term(term: str) -> bool:
    match = _TERM.fullmatch(term)
    if match is None or (match["note"] and match["note"][1:-1] not in _LISTS["unit_annotations"]):
        return False
    atom, power = match["atom"], match["power"]
    if not atom:  # a number, or an annotation alone
        return bool(match["note"]) or (power is not None and power.isdecimal())
    if atom in _LISTS["plain_units"] or atom in _METRIC:
        return True
    return any(atom.startswith(prefix) and atom[len(prefix) :] in _METRIC for prefix in _LISTS["unit_prefixes"])
