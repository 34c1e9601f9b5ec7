"""What each method makes of one value. None means that the value is removed, as it is where a method does not fit.

Looks at the value, its type and where it stands, never at the rest of the resource.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from anonymize.fhir.dates import is_time, reduced_date, shifted_date
from anonymize.fhir.definitions import DATE_TYPES, INTEGER_TYPES, QUANTITY_TYPES, TEXT_TYPES
from anonymize.fhir.errors import ResourceQuarantine, ResourceReason
from anonymize.fhir.nodes import Node, has_json_type
from anonymize.fhir.proofs import (
    MASKED_URL,
    is_absent_reason,
    is_known_code,
    is_profile,
    is_proven_text,
    is_proven_unit,
    zip_prefix,
)
from anonymize.fhir.pseudonyms import DICOM_UID_SYSTEM, PSEUDONYM_SYSTEM, Pseudonyms
from anonymize.fhir.rules import Generalize, Method, Perturb, Rule, Substitute

_STRINGS: Final = frozenset({"string", "markdown", "id", "code", "uri", "url", "canonical", "oid", "uuid"})
_URI_SYSTEM: Final = "urn:ietf:rfc:3986"
_LARGEST_INTEGER: Final = 2**31 - 1
_PER_YEAR: Final = {
    unit: Decimal(number)
    for number, units in (
        ("1", "a y yr yrs year years yıl"),
        ("12", "mo month months ay"),
        ("52.1775", "wk week weeks hafta"),
        ("365.25", "d day days gün"),
        ("8766", "h hour hours saat"),
        ("525960", "min minute minutes dakika"),
        ("31557600", "s second seconds saniye"),
    )
    for unit in units.split()
}
_HIGHEST_AGE: Final = 89
OWN_NUMBER_DIGITS: Final = range(6, 25)  # an IBAN has 24 of them
_MOST_DIGITS: Final = 9  # of a whole number, but for zeros at its end; more of them could be a telephone number


@dataclass(frozen=True, slots=True)
class Values:
    """Applies methods under the settings of one run. `as_of` is the day on which ages are reckoned; `own_numbers` are
    the digits of identifiers and telephone numbers, which no number may have in it.
    """

    pseudonyms: Pseudonyms
    date_offset_days: int
    as_of: date
    clean_text: Callable[[str], str] | None
    own_numbers: frozenset[str] = frozenset()

    def apply(self, node: Node, rule: Rule, base: str) -> Any:
        """Give what `rule` makes of the value of `node`. `base` is the service base of its Bundle entry, or ""."""
        match rule.method:
            case Method.KEEP:
                return node.value
            case Method.KEEP_PROVEN:
                return node.value if is_proven(node) and not self._is_own_number(node) else None
            case Method.REDACT:
                return self._redacted(node, rule)
            case Method.CLEAN:
                return self._cleaned(node)
            case Method.DATE_SHIFT:
                fits = node.type in DATE_TYPES
                return shifted_date(node.value, node.type, self.date_offset_days, self.as_of) if fits else None
            case Method.PSEUDONYMISE:
                return self._pseudonym(node, rule.parameters.hash_key, base)
            case Method.ENCRYPT:
                return _encrypted(node.value, rule.parameters.encrypt_key) if node.type in _STRINGS else None
            case _:
                return self._by_settings(node, rule)

    def _is_own_number(self, node: Node) -> bool:
        if node.type not in INTEGER_TYPES and node.type not in ("decimal", "time"):
            return False
        digits = "".join(filter(str.isdigit, str(node.value)))
        pieces = (digits[at : at + length] for at in range(len(digits)) for length in OWN_NUMBER_DIGITS)
        return any(piece in self.own_numbers for piece in pieces)

    def _by_settings(self, node: Node, rule: Rule) -> Any:
        match rule.settings:
            case Substitute(value):
                return value if has_json_type(value, node.type) else None
            case Perturb():
                return self._perturbed(node, rule.settings)
            case Generalize():
                return _generalized(node, rule.settings)
        return None

    def _redacted(self, node: Node, rule: Rule) -> Any:
        parameters, parent = rule.parameters, node.parent.type if node.parent is not None else ""
        if node.type in DATE_TYPES and parameters.partial_dates:
            return reduced_date(node.value, node.type, self.as_of)
        if parent == "Address" and node.name == "postalCode" and parameters.partial_zip_codes:
            country, state = node.sibling("country"), node.sibling("state")
            return zip_prefix(node.value, country, state, parameters.restricted_zip_prefixes)
        if parent == "Age" and parameters.partial_ages and node.parent is not None:
            untold = is_high_age(node.parent.value) or is_unclear_age(node.parent.value) or not is_proven(node)
            return None if untold else node.value
        return None

    def _cleaned(self, node: Node) -> str | None:
        if self.clean_text is None or node.type not in TEXT_TYPES:
            return None
        try:
            cleaned = self.clean_text(node.value)
        except Exception:  # noqa: BLE001 - whatever a cleaner raises may hold the text: neither it nor its cause gets out
            raise ResourceQuarantine(ResourceReason.TEXT_CLEANER_FAILED, node.path) from None
        if not isinstance(cleaned, str):
            raise ResourceQuarantine(ResourceReason.TEXT_CLEANER_FAILED, node.path)
        return cleaned if cleaned.strip() else None

    def _pseudonym(self, node: Node, hash_key: bytes, base: str) -> str | None:
        if node.type not in _STRINGS or node.parent is None:
            return None
        make, value, parent = self.pseudonyms, str(node.value), node.parent
        match parent.type, node.name:
            case _, "id" if parent.is_resource:
                if parent.name == "contained":
                    return make.contained_id(value, hash_key)
                return make.resource_id(parent.type, value, base, hash_key)
            case "Reference", "reference":
                return make.reference(value, base, hash_key)
            case "Bundle.entry", "fullUrl":
                return make.full_url(value, hash_key)
            case ("Bundle.entry.request", "url") | ("Bundle.entry.response", "location"):
                return make.request_url(value, base, hash_key)
            case "Identifier", "system" | "value":
                return self._identifier(node, hash_key)
        if node.name == "uid" or node.type == "oid":
            return make.uid(value)
        return make.urn(value) if node.type == "uuid" else make.text(value, hash_key)

    def _identifier(self, node: Node, hash_key: bytes) -> str:
        system, value = str(node.sibling("system") or ""), str(node.sibling("value") or "")
        is_uri = system == _URI_SYSTEM and value.startswith(("urn:oid:", "urn:uuid:"))
        if node.name == "system":
            return system if system == DICOM_UID_SYSTEM or is_uri else PSEUDONYM_SYSTEM
        if is_uri:
            return self.pseudonyms.uid(value) if value.startswith("urn:oid:") else self.pseudonyms.urn(value)
        return self.pseudonyms.identifier(system, value, hash_key)

    def _perturbed(self, node: Node, settings: Perturb) -> Any:
        parent = node.parent.type if node.parent is not None else ""
        if node.type not in INTEGER_TYPES and node.type != "decimal":
            return node.value if parent in QUANTITY_TYPES and is_proven(node) else None
        value = Decimal(str(node.value))
        if value and not -20 < value.adjusted() < 20:  # beyond what anything is measured in: no noise could hide it
            return None
        noise = Decimal(str(self.pseudonyms.noise(node.path, str(value)) - 0.5)) * settings.span
        whole = node.type in INTEGER_TYPES
        places = settings.places if settings.places is not None else (0 if whole else 2)
        with localcontext() as context:
            context.prec = 60
            moved = value + noise * (abs(value) if settings.proportional else 1)
            moved = moved.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
        if not whole:
            return moved if isinstance(node.value, Decimal) else float(moved)
        least = {"positiveInt": 1, "unsignedInt": 0}.get(node.type, -_LARGEST_INTEGER)
        return min(max(int(moved), least), _LARGEST_INTEGER)


def is_proven(node: Node) -> bool:
    """Whether the value of `node` says nothing of a person, by its type and where it stands."""
    parent = node.parent.type if node.parent is not None else ""
    if parent == "Coding" and node.name in ("system", "code", "userSelected"):
        return is_known_code(node.sibling("system"), node.sibling("code"))
    if parent == "Extension":
        return node.sibling("url") == MASKED_URL and is_absent_reason(node.sibling("valueCode"))
    if parent in QUANTITY_TYPES and node.name in ("unit", "system", "code"):
        return is_proven_unit(node.name, node.value, node.sibling("system"))
    return _is_proven_by_type(node, parent)


def _is_proven_by_type(node: Node, parent: str) -> bool:
    if node.type in INTEGER_TYPES:
        return abs(int(node.value)) <= _LARGEST_INTEGER and len(str(node.value).strip("-0")) <= _MOST_DIGITS
    if node.type == "decimal":
        value = Decimal(str(node.value))
        return value != value.to_integral_value() or len(str(int(value)).strip("-0")) <= _MOST_DIGITS
    if node.type == "boolean":
        return True
    if node.type == "time":
        return is_time(node.value)
    if node.type == "canonical":
        return is_profile(node.value)
    if node.type == "code" and node.element.codes is not None:
        return node.value in node.element.codes
    return node.type in ("code", "uri", "string") and is_proven_text(parent, node.name, node.value)


def is_high_age(quantity: Any) -> bool:
    """Whether a quantity, given as JSON, is a time of more than 89 years by its code or by its unit."""
    value = Decimal(str(quantity.get("value", 0)))
    return any(value >= (_HIGHEST_AGE + 1) * per_year for per_year in _units_of_time(quantity))


def is_unclear_age(age: Any) -> bool:
    """Whether an age, given as JSON, is 90 or more of something that is not known to be a time."""
    return not _units_of_time(age) and Decimal(str(age.get("value", 0))) > _HIGHEST_AGE


def _units_of_time(quantity: Any) -> list[Decimal]:
    """Give how many of each known unit of a quantity a year has. Short ones are UCUM's, where A is no a."""
    units = (unit if len(unit) < 3 else unit.casefold() for key in ("code", "unit") if (unit := quantity.get(key)))
    return [_PER_YEAR[unit] for unit in units if unit in _PER_YEAR]


def _encrypted(value: str, key: bytes) -> str:
    """AES-CBC as Base64, its initialisation vector in front, which comes from key and value: no state, no chance."""
    plain = value.encode("utf-8", "surrogatepass")
    vector = hmac.digest(key, b"initialisation vector" + plain, hashlib.sha256)[:16]
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    return base64.b64encode(vector + sealed).decode("ascii")


def _generalized(node: Node, settings: Generalize) -> Any:
    for condition, result in settings.cases:
        if condition.holds(node):
            answer = result.evaluate(node)
            return _as_json(answer[0], node.type) if len(answer) == 1 else None
    return node.value if settings.keep_others else None


def _as_json(answer: Any, type_name: str) -> Any:
    """Give an answer of FHIRPath as the JSON value of a type; None if it is none (its dates are objects of its own)."""
    if has_json_type(answer, type_name):
        return answer
    text = str(answer)
    return text if has_json_type(text, type_name) else None
