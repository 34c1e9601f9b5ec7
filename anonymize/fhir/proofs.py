"""Proves that a value says nothing of a person: it is a number, a code that a terminology has, a unit, a country.

Proof is by the standard's value sets, HL7's own code systems, check digits (LOINC, SNOMED CT), the grammar of a code
system, or a list. What has only the right length is not proven; what is not proven is removed.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from anonymize.fhir.definitions import code_systems, definitions, is_resource, known_values
from anonymize.fhir.units import is_unit, is_unit_text
from anonymize.uids import WELL_KNOWN

UCUM: Final = "http://unitsofmeasure.org"
MASKED_URL: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_ABSENT_REASONS: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

_LISTS: Final = {name: frozenset(values) for name, values in known_values().items()}
_MIME_TYPES: Final = _LISTS["mime_types"]
_STATES: Final = frozenset(part.casefold() for pair in _LISTS["us_states"] for part in pair.split(" ", 1))
_SAMPLES: Final = re.compile(r"(?:-?\d{1,12}(?:\.\d{1,9})?|[EUL])(?: (?:-?\d{1,12}(?:\.\d{1,9})?|[EUL]))*", re.ASCII)


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda code: compiled.fullmatch(code) is not None


def _is_loinc(code: str) -> bool:
    """Whether a LOINC code has the right check digit (mod 10, LOINC Users' Guide, appendix C).

    In codes of answers (LA33-6) the letters count too: they add 5 before an even number of digits, else 8.
    """
    match = re.fullmatch(r"(LA)?(\d{1,7})-(\d)", code, re.ASCII)
    if match is None:
        return False
    letters, digits, check = match.groups()
    doubled = (int(digit) * (2 - number % 2) for number, digit in enumerate(reversed(digits)))
    total = sum(n // 10 + n % 10 for n in doubled) + (0 if not letters else 8 if len(digits) % 2 else 5)
    return -total % 10 == int(check)


_VERHOEFF: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTATIONS: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _is_snomed(code: str) -> bool:
    """Whether this is the SNOMED CT identifier of a concept: partition 00 or 10, and Verhoeff's check digit."""
    if re.fullmatch(r"[1-9]\d{5,17}", code, re.ASCII) is None or code[-3:-1] not in ("00", "10"):
        return False
    check = 0
    for number, digit in enumerate(reversed(code)):
        check = int(_VERHOEFF[check][int(_PERMUTATIONS[number % 8][int(digit)])])
    return check == 0


def _is_class_uid(code: str) -> bool:
    return code.removeprefix("urn:oid:") in WELL_KNOWN


_ICD10: Final = _matches(r"[A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?[*†+!]?")
_ICD9: Final = _matches(r"(?:V\d\d|E\d{3}|\d{2,3})(?:\.\d{1,2})?")

_GRAMMARS: Final[Mapping[str, Callable[[str], bool]]] = {
    "http://loinc.org": _is_loinc,
    "http://snomed.info/sct": _is_snomed,
    UCUM: is_unit,
    "urn:ietf:rfc:3986": _is_class_uid,
    "urn:ietf:bcp:47": lambda code: is_language(code),
    "urn:ietf:bcp:13": lambda code: code in _MIME_TYPES,
    "http://hl7.org/fhir/sid/icd-10": _ICD10,
    "http://hl7.org/fhir/sid/icd-10-cm": _ICD10,
    "http://hl7.org/fhir/sid/icd-10-de": _ICD10,
    "http://hl7.org/fhir/sid/icd-9-cm": _ICD9,
    "http://hl7.org/fhir/sid/cvx": _matches(r"\d{1,3}"),
    "http://www.whocc.no/atc": _matches(r"[A-Z](?:\d\d(?:[A-Z](?:[A-Z](?:\d\d)?)?)?)?"),
    "http://www.nlm.nih.gov/research/umls/rxnorm": _matches(r"\d{1,7}"),
    "http://www.ama-assn.org/go/cpt": _matches(r"\d{4}[0-9FTU]"),
    "http://www.radlex.org": _matches(r"RID\d{1,5}|RPID\d{1,5}"),
    "http://radlex.org": _matches(r"RID\d{1,5}|RPID\d{1,5}"),
    "urn:iso:std:iso:3166": lambda code: is_country(code),
}


def is_known_code(system: Any, code: Any) -> bool:
    """Whether the code system is one of medicine's, or of HL7's, and has such a code."""
    if not isinstance(system, str) or not isinstance(code, str):
        return False
    if (grammar := _GRAMMARS.get(system)) is not None:
        return grammar(code)
    return code in code_systems().get(system, ())


def is_absent_reason(value: Any) -> bool:
    """Whether this is a code of FHIR's own code system of reasons for which a value is absent."""
    return is_known_code(_ABSENT_REASONS, value)


def is_language(value: str) -> bool:
    """Whether this is a language of ISO 639-1, perhaps with a country."""
    language, _, country = value.partition("-")
    return language in _LISTS["languages"] and (not country or country in _countries())


def is_country(value: str) -> bool:
    """Whether this is a country: a code of ISO 3166-1, or one of a few usual names."""
    return value in _countries() or value in _countries().values() or value in _LISTS["country_names"]


def is_state(value: str) -> bool:
    """Whether this is a state of the United States or a province of Türkiye."""
    return value.casefold() in _STATES or value in _LISTS["provinces"]


def zip_prefix(value: Any, country: Any, state: Any, restricted: frozenset[str]) -> str | None:
    """Give the first three digits of a ZIP code, 000 for a `restricted` area; None unless it is the United States'."""
    named = isinstance(country, str) and country.strip().casefold() in _LISTS["united_states"]
    implied = country is None and isinstance(state, str) and state.casefold() in _STATES
    if not (named or implied) or re.fullmatch(r"\d{5}(?:-?\d{4})?", str(value), re.ASCII) is None:
        return None
    prefix = str(value)[:3]
    return "000" if prefix in restricted else prefix


def is_profile(value: str) -> bool:
    """Whether this is the URL of a structure that FHIR itself defines, perhaps with its version."""
    url, _, version = value.partition("|")
    name = url.removeprefix("http://hl7.org/fhir/StructureDefinition/")
    return name != url and name in definitions() and version in ("", "4.0.1", "4.0.0")


_BY_PLACE: Final[Mapping[tuple[str, str], Callable[[str], bool]]] = {
    ("Money", "currency"): lambda value: value in _LISTS["currencies"],
    ("Attachment", "contentType"): lambda value: value in _MIME_TYPES,
    ("Binary", "contentType"): lambda value: value in _MIME_TYPES,
    ("Address", "country"): is_country,
    ("Address", "state"): is_state,
    ("Reference", "type"): is_resource,
    ("SampledData", "data"): lambda value: _SAMPLES.fullmatch(value) is not None,
}


def is_proven_text(parent_type: str, name: str, value: str) -> bool:
    """Whether a text says nothing of a person, by where it stands. It is not asked of codings and value sets."""
    if name == "language":
        return is_language(value)
    proof = _BY_PLACE.get((parent_type, name))
    return proof is not None and proof(value)


def is_proven_unit(name: str, value: str, system: Any) -> bool:
    """Whether a quantity's `unit`, `system` or `code` is one of UCUM (Money and the like have none)."""
    if name == "unit":
        return is_unit_text(value)
    return value == UCUM if name == "system" else system == UCUM and is_unit(value)


@cache
def _countries() -> Mapping[str, str]:
    """Give the countries of ISO 3166-1, by their two letters, from the table of the time zone database."""
    lines = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text("utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))
