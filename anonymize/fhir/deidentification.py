"""De-identifies one FHIR R4 resource, given as JSON values: a new resource is made of what the rules let through.

It never changes its input, and nothing gets into the output by not being noticed. What cannot be proven clean raises
`ResourceQuarantine`. What happens to an element is decided by the first of these that covers it:

1.  MODIFIER: a `modifierExtension` or `implicitRules` that no rule keeps changes what the rest means: the backbone
    element that has it is removed; if it is a resource, the resource is quarantined (FHIR R4 2.4.0.1).
2.  UNKNOWN: elements and resource types that R4 does not have: removed, whatever the rules say.
3.  RULES: the first rule, in the order of the file, that selects the element or something that it lies in. A rule that
    keeps does not reach into a resource that is contained or in a Bundle; such a resource has its own paths.
4.  UNMATCHED: what no rule covers is removed, unless the rules say that it is kept.

Whatever a rule's method cannot be applied to is removed. Then, in what is left:

5.  MASKED: a required element that was removed says so (extension data-absent-reason, "masked"), and so does a unit.
6.  LABEL: each resource gets the security labels of what was done, and a Patient the patient's pseudonym.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple
from uuid import UUID

from anonymize.fhir.definitions import QUANTITY_TYPES, Definition, Element, definitions, is_primitive
from anonymize.fhir.errors import ResourceQuarantine, ResourceReason
from anonymize.fhir.nodes import Node, read_resource
from anonymize.fhir.paths import ResourceIndex, parse_path
from anonymize.fhir.proofs import MASKED_URL, UCUM
from anonymize.fhir.pseudonyms import PSEUDONYM_SYSTEM, Pseudonyms, service_base
from anonymize.fhir.rules import SAFE_HARBOR, Claim, FhirRules, Method, Parameters, Rule, Substitute
from anonymize.fhir.values import OWN_NUMBER_DIGITS, Values, is_high_age, is_unclear_age
from anonymize.instances import PatientPseudonym

CLAIM_SYSTEM: Final = f"urn:oid:2.25.{UUID('c7a0f0f5-7d55-5a43-8a0e-2f4f0b8d9e64').int}"
"""The code system of `Claim` in ``meta.security``."""

_LABELS: Final = tuple(
    {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": code, "display": display}
    for code, display in (("PSEUDED", "pseudonymized"), ("REDACTED", "redacted"))
)
_UNKNOWN: Final = "unknown to R4"
_MODIFIER: Final = "unknown modifier"
_HIGHEST_AGE: Final = 90


class Decision(NamedTuple):
    """What was done to one element, and by which rule: the trail holds one for each value, never the value.

    `path` has the standard's names; what R4 does not have is written ``?``. A value that a rule's method could not keep
    is listed as redacted by that rule.
    """

    path: str
    method: Method
    rule: str

    def __str__(self) -> str:
        return f"{self.path} {self.method.value} ({self.rule})"


@dataclass(frozen=True, slots=True)
class DeidentifiedResource:
    """A clean resource as JSON values, what it may be claimed to be, and what was done to every value of the input."""

    resource: dict[str, Any] = field(repr=False)
    claim: Claim
    trail: tuple[Decision, ...] = field(repr=False)


def deidentify_resource(
    resource: Mapping[str, Any],
    subject: PatientPseudonym,
    rules: FhirRules = SAFE_HARBOR,
    clean_text: Callable[[str], str] | None = None,
    *,
    as_of: date,
) -> DeidentifiedResource:
    """De-identify one resource, perhaps a Bundle, of one patient. The same input gives the same output.

    `clean_text` takes a free text and gives it back without identifiers; what it lets through is no longer Safe Harbor,
    so that the claim becomes that of an expert. `as_of` is the day on which ages are reckoned: today. Numbers come
    back as the objects that were given (parse with ``parse_float=Decimal`` to keep all of their digits).

    Raises `ResourceQuarantine` where the outcome could not be proven clean.
    """
    root = read_resource(resource)
    patients = {(node.value.get("id"), node.path if "id" not in node.value else "") for node in _patients(root)}
    if len(patients) > 1:
        raise ResourceQuarantine(ResourceReason.SEVERAL_PATIENTS, root.path)
    for node in root.resources():
        _select(ResourceIndex(node), rules)
    pseudonyms = Pseudonyms(subject.uid_key, _own_base(root))
    values = Values(pseudonyms, subject.date_offset_days, as_of, clean_text, _own_numbers(root))
    return _Run(rules, values, subject.pseudonym).finish(root)


def _patients(root: Node) -> Iterator[Node]:
    return (node for node in root.resources() if node.type == "Patient")


def _own_numbers(root: Node) -> frozenset[str]:
    """Give the digits of identifiers, telephone numbers and patients' ids, where there are enough to tell somebody."""
    texts = (text for resource in root.resources() for node in resource.within() if (text := _numbered(node)))
    numbers = ("".join(filter(str.isdigit, text)) for text in texts)
    return frozenset(number for number in numbers if len(number) in OWN_NUMBER_DIGITS)


def _numbered(node: Node) -> str:
    """The identifying text of an element that has one, else ""."""
    if node.type in ("Identifier", "ContactPoint"):
        return str(node.value.get("value", ""))
    if node.type == "Reference":
        _, patient, identifier = str(node.value.get("reference", "")).partition("Patient/")
        return identifier.partition("/")[0] if patient else ""
    return str(node.value.get("id", "")) if node.type == "Patient" else ""


def _own_base(root: Node) -> str | None:
    """Give the service base that all entries of the Bundles share; None where they have none, or several."""
    entries = (node for resource in root.resources() for node in resource.within() if node.type == "Bundle.entry")
    bases = {service_base(str(entry.value.get("fullUrl", ""))) for entry in entries} - {""}
    return bases.pop() if len(bases) == 1 else None


def _select(index: ResourceIndex, rules: FhirRules) -> None:
    """Note in each node of one resource the first rule that selects this very node."""
    for number, rule in enumerate(rules.rules):
        for node in rule.path.select(index):
            node.rule = min(node.rule, number)


class _Run:
    """One pass over one resource. Holds identified values while it lasts; never handed out."""

    def __init__(self, rules: FhirRules, values: Values, pseudonym: str) -> None:
        unmatched = Rule(parse_path("Resource"), rules.unmatched, "no rule", Parameters())
        self._rules = (*rules.rules, unmatched)
        self._claim = rules.claim
        self._values = values
        self._pseudonym = pseudonym
        self._base = ""
        self._roots: list[tuple[Node, dict[str, Any]]] = []
        self._trail: list[Decision] = []

    def finish(self, root: Node) -> DeidentifiedResource:
        resource = self._object(root, len(self._rules) - 1) or {"resourceType": root.type}
        if all(written is not resource for _, written in self._roots):
            self._roots.append((root, resource))
        cleaned = any(decision.method is Method.CLEAN for decision in self._trail)
        downgraded = cleaned and self._claim is Claim.SAFE_HARBOR
        claim = Claim.EXPERT_DETERMINATION if downgraded else self._claim
        for node, written in self._roots:
            self._label(node, written, claim)
        return DeidentifiedResource(resource, claim, tuple(self._trail))

    def _object(self, node: Node, inherited: int) -> dict[str, Any] | None:
        """Write a complex element; None if nothing of it is left. `inherited` is the rule of what it lies in."""
        number = self._number(node, inherited)
        rule = self._rules[number]
        if isinstance(rule.settings, Substitute) and rule.method is Method.SUBSTITUTE:
            return self._substituted(node, rule, rule.settings)
        if self._has_unknown_modifier(node, number):
            self._trail.append(Decision(node.path, Method.REDACT, _MODIFIER))
            return None
        before = self._base
        if node.type == "Bundle.entry":
            self._base = service_base(str(node.value.get("fullUrl", "")))
        written = self._elements(node, number)
        self._base = before
        self._trail += [Decision(path, Method.REDACT, _UNKNOWN) for path in node.unknown]
        if node.type in QUANTITY_TYPES:
            self._finish_quantity(node, number, written)
        if node.type == "Extension" and not _is_whole_extension(written):
            return None
        if written or node.is_resource:
            _mask_missing(node, written)
        if node.is_resource:
            written = {"resourceType": node.type, **written}
            self._roots.append((node, written))
        return written or None

    def _number(self, node: Node, inherited: int) -> int:
        if node.is_resource and self._rules[inherited].method in (Method.KEEP, Method.KEEP_PROVEN):
            inherited = len(self._rules) - 1
        return min(node.rule, inherited)

    def _substituted(self, node: Node, rule: Rule, settings: Substitute) -> dict[str, Any] | None:
        fits = isinstance(settings.value, Mapping) and not node.is_resource
        self._trail.append(Decision(node.path, Method.SUBSTITUTE if fits else Method.REDACT, rule.origin))
        return copy.deepcopy(dict(settings.value)) if fits else None

    def _has_unknown_modifier(self, node: Node, number: int) -> bool:
        for child in node.children:
            if child.name == "modifierExtension" or (child.name == "implicitRules" and node.is_resource):
                if self._rules[min(child.rule, number)].method is Method.KEEP:
                    continue
                if node.is_resource:
                    raise ResourceQuarantine(ResourceReason.UNKNOWN_MODIFIER, child.path)
                return True
        return False

    def _elements(self, node: Node, number: int) -> dict[str, Any]:
        groups: dict[str, list[Node]] = {}
        for child in node.children:
            groups.setdefault(child.name, []).append(child)
        written: dict[str, Any] = {}
        for name, children in groups.items():
            element = children[0].element
            if is_primitive(element.type):
                _put_primitives(written, element, [self._primitive(child, number) for child in children])
            elif objects := [o for o in (self._object(child, number) for child in children) if o is not None]:
                written[name] = objects if element.many else objects[0]
        return written

    def _primitive(self, node: Node, inherited: int) -> tuple[Any, dict[str, Any] | None]:
        """Write a value and its companion, which holds id and extensions; None for what is removed."""
        number = min(node.rule, inherited)
        value = None
        if node.value is not None:
            rule = self._rules[number]
            value = self._values.apply(node, rule, self._base)
            self._trail.append(Decision(node.path, rule.method if value is not None else Method.REDACT, rule.origin))
        self._trail += [Decision(path, Method.REDACT, _UNKNOWN) for path in node.unknown]
        return value, self._elements(node, number) or None

    def _finish_quantity(self, node: Node, number: int, written: dict[str, Any]) -> None:
        """Say 90 or more of a high age; and where a unit was lost, that there was one."""
        value = next((child for child in node.children if child.name == "value"), None)
        if value is None or self._rules[min(value.rule, number)].method is not Method.KEEP_PROVEN:
            return
        if is_high_age(node.value):
            written.clear()
            if not (node.parent is not None and node.parent.type == "Range" and node.name == "high"):
                bound = {"comparator": ">="} if node.parent is None or node.parent.type != "Range" else {}
                written.update({"value": _HIGHEST_AGE, **bound, "unit": "a", "system": UCUM, "code": "a"})
        elif node.type == "Age" and is_unclear_age(node.value):
            written.clear()
        elif not written.keys() & {"unit", "code"} and node.value.keys() & {"unit", "code"}:
            written.pop("system", None)
            written["_unit"] = _masked_companion()

    def _label(self, node: Node, written: dict[str, Any], claim: Claim) -> None:
        if node.name == "contained":  # which has no labels of its own (FHIR R4 dom-4, dom-5)
            return
        meta = written.setdefault("meta", {})
        ours = {label["code"] for label in _LABELS}
        kept = [label for label in meta.get("security", []) if label.get("code") not in ours]
        meta["security"] = [*kept, *map(dict, _LABELS), {"system": CLAIM_SYSTEM, "code": claim.value}]
        if node.type == "Patient":
            written.setdefault("identifier", []).append({"system": PSEUDONYM_SYSTEM, "value": self._pseudonym})


def _put_primitives(written: dict[str, Any], element: Element, items: list[tuple[Any, dict[str, Any] | None]]) -> None:
    """Put the values of one element under its name, the companions under ``_name`` (FHIR R4 2.6.2.3)."""
    left = [(value, companion) for value, companion in items if value is not None or companion is not None]
    values, companions = [value for value, _ in left], [companion for _, companion in left]
    if any(value is not None for value in values):
        written[element.name] = values if element.many else values[0]
    if any(companion is not None for companion in companions):
        written[f"_{element.name}"] = companions if element.many else companions[0]


def _is_whole_extension(written: Mapping[str, Any]) -> bool:
    return "url" in written and (written.keys() - {"url", "id"}) != set()


def _mask_missing(node: Node, written: dict[str, Any]) -> None:
    """Where a required element of the input was removed, say so; what the input lacked is not made up."""
    present = {child.name for child in node.children}
    for element in definitions()[node.type].elements.values():
        missing = element.name not in written and f"_{element.name}" not in written
        if element.required and element.name in present and missing:
            _put_masked(written, element)


def _masked_companion() -> dict[str, Any]:
    return {"extension": [{"url": MASKED_URL, "valueCode": "masked"}]}


def _put_masked(written: dict[str, Any], element: Element) -> None:
    if is_primitive(element.type):
        companion = _masked_companion()
        written[f"_{element.name}"] = [companion] if element.many else companion
    elif element.type != "Resource":
        masked = {**_masked_companion()}
        for inner in _required(definitions()[element.type]):
            _put_masked(masked, inner)
        written[element.name] = [masked] if element.many else masked


def _required(definition: Definition) -> Iterator[Element]:
    """Give the required elements of a type; of a choice, its first type."""
    chosen: set[str] = set()
    for element in definition.elements.values():
        if element.required and element.choice not in chosen:
            if element.choice is not None:
                chosen.add(element.choice)
            yield element
