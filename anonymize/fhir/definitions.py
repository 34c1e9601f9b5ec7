"""What FHIR R4 (4.0.1) defines: the elements of each type, required value sets, and the codes of HL7's code systems.

Read from the tables that ship with the package. It must never fall back: a damaged table is refused when it is read.
"""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from importlib.resources import files
from typing import Final

from anonymize.fhir.errors import InvalidTables

TYPES: Final = "r4_types.txt"
VALUE_SETS: Final = "r4_value_sets.txt"
CODE_SYSTEMS: Final = "r4_code_systems.txt"

DATE_TYPES: Final = frozenset({"date", "dateTime", "instant"})
INTEGER_TYPES: Final = frozenset({"integer", "positiveInt", "unsignedInt"})
QUANTITY_TYPES: Final = frozenset({"Quantity", "Age", "Count", "Distance", "Duration"})
TEXT_TYPES: Final = frozenset({"string", "markdown"})


@unique
class Kind(StrEnum):
    """What a type is."""

    RESOURCE = "resource"
    TYPE = "type"
    BACKBONE = "backbone"


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type, by its JSON name; of a choice (``value[x]``), one for each type that it may have.

    `codes` is the required value set, where it can be listed; `choice` the name before the ``[x]``.
    """

    name: str
    type: str
    many: bool
    required: bool
    choice: str | None
    codes: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Definition:
    """One complex type, backbone element or resource, with its elements by JSON name."""

    name: str
    kind: Kind
    elements: Mapping[str, Element]


def _rows(name: str) -> Iterator[str]:
    lines = files("anonymize.fhir.tables").joinpath(name).read_text("utf-8").splitlines(keepends=True)
    head = dict(line[2:].rstrip("\n").split(": ", 1) for line in lines if line.startswith("# "))
    body = "".join(line for line in lines if not line.startswith("# "))
    if hashlib.sha256(body.encode()).hexdigest() != head.get("sha256"):
        raise InvalidTables(f"{name} does not have the checksum that it states; install the package anew")
    return iter(body.splitlines())


def _lists(name: str) -> dict[str, frozenset[str]]:
    return {key: frozenset(codes) for key, *codes in (row.split("\t") for row in _rows(name))}


def _element(row: str, value_sets: Mapping[str, frozenset[str]]) -> Element:
    name, kind, *flags = row.split(" ")
    named = dict(flag.split("=", 1) for flag in flags if "=" in flag)
    codes = value_sets[named["in"]] if "in" in named else None
    return Element(name, kind, "*" in flags, "!" in flags, named.get("choice"), codes)


@cache
def definitions() -> Mapping[str, Definition]:
    """All types by name; a backbone element's name is its path, such as ``Patient.contact``."""
    value_sets = _lists(VALUE_SETS)
    found: dict[str, Definition] = {}
    elements: dict[str, Element] = {}
    for row in _rows(TYPES):
        if row.startswith("["):
            name, kind = row.strip("[]").split(" ")
            elements = {}
            found[name] = Definition(name, Kind(kind), elements)
        else:
            element = _element(row, value_sets)
            elements[element.name] = element
    return found


@cache
def code_systems() -> Mapping[str, frozenset[str]]:
    """Give the codes of each code system that HL7 publishes with FHIR R4, by its URL."""
    return _lists(CODE_SYSTEMS)


@cache
def known_values() -> Mapping[str, tuple[str, ...]]:
    """Give the lists of harmless values that no table of the standard has, by name."""
    lists = tomllib.loads(files("anonymize.fhir.tables").joinpath("known_values.toml").read_text("utf-8"))
    return {name: tuple(values) for name, values in lists.items()}


def is_primitive(type_name: str) -> bool:
    """Whether a type is one of FHIR's primitive types, which JSON writes as a single value."""
    return type_name[0].islower()


def is_resource(type_name: str) -> bool:
    """Whether this is the name of a resource type of R4."""
    definition = definitions().get(type_name)
    return definition is not None and definition.kind is Kind.RESOURCE
