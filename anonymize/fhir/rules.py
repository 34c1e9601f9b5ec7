"""Rules that say what happens to which element of a resource: the methods, their settings, and files of rules.

A file is TOML, as `safe_harbor.toml` is; `anonymize.fhir.microsoft` reads the configuration files of another tool into
the same rules. What is not understood is refused with its place, never ignored.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum, unique
from importlib.resources import files
from typing import Any, Final, TypeAlias

from anonymize.fhir.errors import InvalidRules
from anonymize.fhir.expressions import Expression, PathError
from anonymize.fhir.paths import Path, parse_path


@unique
class Method(StrEnum):
    """What is done to an element. Where a method does not fit the type of a value, the value is removed."""

    KEEP = "keep"  # as it is, whatever it is
    KEEP_PROVEN = "keepProven"  # if it proves to say nothing of a person: numbers, codes of known code systems …
    REDACT = "redact"  # removed; or its year, its ZIP code's first digits, an age up to 89, by the file's parameters
    CLEAN = "clean"  # free text: what the text cleaner makes of it; removed where there is no cleaner
    DATE_SHIFT = "dateShift"  # by the patient's own number of days
    GENERALIZE = "generalize"
    PSEUDONYMISE = "pseudonymise"  # keyed: ids, references, UIDs and identifiers stay equal where they were equal
    PERTURB = "perturb"
    ENCRYPT = "encrypt"
    SUBSTITUTE = "substitute"


@unique
class Claim(StrEnum):
    """What an output may be claimed to be (45 CFR 164.514)."""

    SAFE_HARBOR = "hipaa-safe-harbor"  # 164.514(b)(2)
    EXPERT_DETERMINATION = "hipaa-expert-determination"  # 164.514(b)(1): needed, for dates of days or cleaned text
    AS_CONFIGURED = "as-configured"  # whoever wrote the rules answers for them


@dataclass(frozen=True, slots=True)
class Parameters:
    """Settings that hold for all rules of a file. The keys are bytes; empty means the patient's own key."""

    partial_dates: bool = False
    partial_ages: bool = False
    partial_zip_codes: bool = False
    restricted_zip_prefixes: frozenset[str] = frozenset()
    hash_key: bytes = field(default=b"", repr=False)
    encrypt_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Perturb:
    """Noise from a uniform distribution, `span` wide (if proportional, as a part of the value) around the value."""

    span: Decimal
    proportional: bool
    places: int | None  # decimals to round to; None: 0 for whole numbers, else 2


@dataclass(frozen=True, slots=True)
class Substitute:
    """What stands in the element's place: a JSON value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Generalize:
    """Pairs of a condition and what the value becomes under it, the first that holds; else removed or kept."""

    cases: tuple[tuple[Expression, Expression], ...]
    keep_others: bool


Settings: TypeAlias = Perturb | Substitute | Generalize | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done to the elements that `path` selects, and to all within them. `origin` says where it is written."""

    path: Path
    method: Method
    origin: str
    parameters: Parameters
    settings: Settings = None


@dataclass(frozen=True, slots=True)
class FhirRules:
    """Rules in their order, what becomes of an element that none covers, and what the output may be claimed to be."""

    name: str
    rules: tuple[Rule, ...]
    claim: Claim
    unmatched: Method = Method.REDACT


_PARAMETERS: Final = {
    "partialDates": "partial_dates",
    "partialAges": "partial_ages",
    "partialZipCodes": "partial_zip_codes",
}


def load_rules(text: str, name: str) -> FhirRules:
    """Read a TOML file of rules; `name` stands in what is said of it. Raises `InvalidRules`.

    Of such a file it is only known that it was configured so: `Claim.AS_CONFIGURED`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRules(name, "is no TOML; correct its syntax") from error
    refuse_unknown(content, {"parameters", "rules"}, name)
    parameters = _parameters(content.get("parameters", {}), f"{name}: parameters")
    rules = content.get("rules")
    if not isinstance(rules, list) or not rules:
        raise InvalidRules(name, "has no [[rules]]")
    read = tuple(_rule(rule, f"{name}: rule {number}", parameters) for number, rule in enumerate(rules, 1))
    return FhirRules(name, read, Claim.AS_CONFIGURED)


def refuse_unknown(content: Any, known: set[str], where: str) -> None:
    """Raise `InvalidRules` unless `content` is a table with no other keys than `known`."""
    if not isinstance(content, Mapping):
        raise InvalidRules(where, "a table of keys and values is wanted here")
    if unknown := sorted(map(str, content.keys() - known)):
        raise InvalidRules(where, f"does not know {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def path_of(text: Any, where: str) -> Path:
    """Read the path of a rule. Raises `InvalidRules`."""
    if not isinstance(text, str):
        raise InvalidRules(where, "has no path, which is a text")
    try:
        return parse_path(text)
    except PathError as error:
        raise InvalidRules(where, f"path: {error}") from error


def zip_prefixes(value: Any, where: str) -> frozenset[str]:
    """Read a list of prefixes of ZIP codes. Raises `InvalidRules`."""
    if not isinstance(value, list) or not all(isinstance(p, str) and p.isdecimal() and len(p) == 3 for p in value):
        raise InvalidRules(where, "must be a list of texts of three digits")
    return frozenset(value)


def _parameters(content: Any, where: str) -> Parameters:
    refuse_unknown(content, {*_PARAMETERS, "restrictedZipPrefixes"}, where)
    if not all(isinstance(content.get(key, False), bool) for key in _PARAMETERS):
        raise InvalidRules(where, f"{', '.join(_PARAMETERS)} must be true or false")
    prefixes = zip_prefixes(content.get("restrictedZipPrefixes", []), f"{where}: restrictedZipPrefixes")
    named = {name: content[key] for key, name in _PARAMETERS.items() if key in content}
    return Parameters(**named, restricted_zip_prefixes=prefixes)


_KNOWN_KEYS: Final[Mapping[Method, set[str]]] = {
    Method.PERTURB: {"span", "rangeType", "roundTo"},
    Method.SUBSTITUTE: {"replaceWith"},
    Method.GENERALIZE: {"cases", "otherValues"},
}


def _rule(content: Any, where: str, parameters: Parameters) -> Rule:
    if not isinstance(content, Mapping) or content.get("method") not in set(Method):
        raise InvalidRules(where, f"method must be one of {', '.join(Method)}")
    method = Method(content["method"])
    refuse_unknown(content, {"path", "method", *_KNOWN_KEYS.get(method, set())}, where)
    if method is Method.ENCRYPT:
        raise InvalidRules(where, "encrypt needs an encryptKey, which only a configuration file in JSON has")
    return Rule(path_of(content.get("path"), where), method, where, parameters, settings_of(method, content, where))


def settings_of(method: Method, content: Mapping[str, Any], where: str) -> Settings:
    """Read what a rule says beside its path and method. Raises `InvalidRules`."""
    if method is Method.PERTURB:
        return _perturb(content, where)
    if method is Method.GENERALIZE:
        return _generalize(content, where)
    if method is Method.SUBSTITUTE:
        if "replaceWith" not in content:
            raise InvalidRules(where, "substitute needs replaceWith")
        return Substitute(content["replaceWith"])
    return None


def _perturb(content: Mapping[str, Any], where: str) -> Perturb:
    span, places = content.get("span"), content.get("roundTo")
    kind = str(content.get("rangeType", "fixed")).lower()
    if isinstance(span, bool) or not isinstance(span, int | float | Decimal) or not 0 <= span < 10**9:
        raise InvalidRules(where, "perturb needs a span, which is a number of 0 or more")
    if places is not None and (isinstance(places, bool) or not isinstance(places, int) or not 0 <= places <= 28):
        raise InvalidRules(where, "roundTo must be a whole number from 0 to 28")
    if kind not in ("fixed", "proportional"):
        raise InvalidRules(where, "rangeType must be fixed or proportional")
    return Perturb(Decimal(str(span)), kind == "proportional", places)


def _generalize(content: Mapping[str, Any], where: str) -> Generalize:
    cases, others = content.get("cases"), str(content.get("otherValues", "redact")).lower()
    if not isinstance(cases, Mapping) or not cases or not all(isinstance(text, str) for text in cases.values()):
        raise InvalidRules(where, "generalize needs cases, a table of FHIRPath conditions and values")
    if others not in ("redact", "keep"):
        raise InvalidRules(where, "otherValues must be redact or keep")
    try:
        pairs = tuple((Expression(condition), Expression(value)) for condition, value in cases.items())
    except PathError as error:
        raise InvalidRules(where, f"cases: {error}") from error
    return Generalize(pairs, others == "keep")


def _packaged(name: str) -> FhirRules:
    text = files("anonymize.fhir").joinpath(name).read_text("utf-8")
    return replace(load_rules(text, name), claim=Claim.SAFE_HARBOR)


def _with_shifted_dates(rules: FhirRules) -> FhirRules:
    path = parse_path("nodesByType('date') | nodesByType('dateTime') | nodesByType('instant')")
    number = next(n for n, rule in enumerate(rules.rules) if rule.path.text == path.text)
    shift = replace(rules.rules[number], method=Method.DATE_SHIFT, origin="shifted dates")
    changed = (*rules.rules[:number], shift, *rules.rules[number + 1 :])
    return FhirRules("shifted dates", changed, Claim.EXPERT_DETERMINATION, rules.unmatched)


SAFE_HARBOR: Final = _packaged("safe_harbor.toml")
"""De-identifies by 45 CFR 164.514(b)(2): of a date only the year stays."""

SHIFTED_DATES: Final = _with_shifted_dates(SAFE_HARBOR)
"""The same, but days and times stay, moved by the patient's own offset: needs an expert's determination."""
