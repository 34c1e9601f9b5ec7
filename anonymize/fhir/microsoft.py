"""Reads configuration files of Microsoft's FHIR anonymizer (Tools for Health Data Anonymization, FHIR R4) into rules.

Paths, methods, their order and the parameters mean what that tool's documentation says, with these differences, all of
them towards safety: what no rule of the file selects goes by our Safe Harbor rules unless `keep_unmatched` says
otherwise; dates are shifted by the patient's own offset, whatever `dateShiftKey` and `dateShiftScope` say, and keep
their time of day; elements that R4 does not know are removed; a method that does not fit a value removes it;
encryption takes its initialisation vector from the value and the key, so that the same input gives the same output;
a ZIP code keeps its digits only where the address is in the United States. What is not understood is refused.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from anonymize.fhir.errors import InvalidRules
from anonymize.fhir.rules import (
    SAFE_HARBOR,
    Claim,
    FhirRules,
    Method,
    Parameters,
    Rule,
    path_of,
    refuse_unknown,
    settings_of,
    zip_prefixes,
)

_METHODS: Final[Mapping[str, Method]] = {
    "keep": Method.KEEP,
    "redact": Method.REDACT,
    "dateshift": Method.DATE_SHIFT,
    "cryptohash": Method.PSEUDONYMISE,
    "encrypt": Method.ENCRYPT,
    "perturb": Method.PERTURB,
    "generalize": Method.GENERALIZE,
    "substitute": Method.SUBSTITUTE,
}
_RULE_KEYS: Final[Mapping[Method, set[str]]] = {
    Method.PERTURB: {"span", "rangeType", "roundTo"},
    Method.SUBSTITUTE: {"replaceWith"},
    Method.GENERALIZE: {"cases", "otherValues"},
}
_TEXTS: Final = ("dateShiftKey", "dateShiftScope", "cryptoHashKey", "encryptKey")
_SWITCHES: Final = ("enablePartialAgesForRedact", "enablePartialDatesForRedact", "enablePartialZipCodesForRedact")
_SCOPES: Final = ("", "resource", "file", "folder")
_AES_KEY_BYTES: Final = (16, 24, 32)


def load_microsoft_configuration(text: str, name: str, *, keep_unmatched: bool = False) -> FhirRules:
    """Read a configuration file. Raises `InvalidRules` with the place of what is not understood.

    `keep_unmatched` keeps what no rule of the file selects, as the original tool does. ``processingErrors`` may say
    ``raise`` or ``skip``; a resource that cannot be processed raises in either case, and the caller goes on or not.
    """
    try:
        content = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InvalidRules(name, "is no JSON; correct its syntax") from error
    errors = {"processingErrors", "processingError"}  # the documentation's sample has the second spelling
    refuse_unknown(content, {"fhirVersion", "fhirPathRules", "parameters", *errors}, name)
    if content.get("fhirVersion") not in (None, "", "R4"):
        raise InvalidRules(f"{name}: fhirVersion", "must be R4")
    for key in sorted(errors & content.keys()):
        if str(content[key]).lower() not in ("raise", "skip"):
            raise InvalidRules(f"{name}: {key}", "must be raise or skip")
    rules = content.get("fhirPathRules")
    if not isinstance(rules, list) or not rules:
        raise InvalidRules(f"{name}: fhirPathRules", "must be a list of rules")
    parameters = _parameters(content.get("parameters") or {}, f"{name}: parameters")
    read = tuple(_rule(rule, f"{name}: fhirPathRules[{number}]", parameters) for number, rule in enumerate(rules))
    if keep_unmatched:
        return FhirRules(name, read, Claim.AS_CONFIGURED, Method.KEEP)
    return FhirRules(name, (*read, *SAFE_HARBOR.rules), Claim.AS_CONFIGURED, SAFE_HARBOR.unmatched)


def _rule(content: Any, where: str, parameters: Parameters) -> Rule:
    named = content.get("method") if isinstance(content, Mapping) else None
    method = _METHODS.get(named.lower()) if isinstance(named, str) else None
    if method is None:
        raise InvalidRules(where, f"method must be one of {', '.join(_METHODS)}")
    refuse_unknown(content, {"path", "method", *_RULE_KEYS.get(method, set())}, where)
    if method is Method.ENCRYPT and not parameters.encrypt_key:
        raise InvalidRules(where, "encrypt needs parameters.encryptKey: under a random key nobody could ever decrypt")
    return Rule(path_of(content.get("path"), where), method, where, parameters, settings_of(method, content, where))


def _parameters(content: Any, where: str) -> Parameters:
    refuse_unknown(content, {*_TEXTS, *_SWITCHES, "restrictedZipCodeTabulationAreas"}, where)
    if not all(isinstance(content.get(key, ""), str) for key in _TEXTS):
        raise InvalidRules(where, f"{', '.join(_TEXTS)} must be texts")
    if not all(isinstance(content.get(key, False), bool) for key in _SWITCHES):
        raise InvalidRules(where, f"{', '.join(_SWITCHES)} must be true or false")
    if content.get("dateShiftScope", "").lower() not in _SCOPES:
        raise InvalidRules(f"{where}: dateShiftScope", "must be resource, file or folder")
    encrypt_key = content.get("encryptKey", "").encode()
    if encrypt_key and len(encrypt_key) not in _AES_KEY_BYTES:
        raise InvalidRules(f"{where}: encryptKey", "must be 16, 24 or 32 bytes long")
    areas = f"{where}: restrictedZipCodeTabulationAreas"
    return Parameters(
        partial_dates=content.get("enablePartialDatesForRedact", False),
        partial_ages=content.get("enablePartialAgesForRedact", False),
        partial_zip_codes=content.get("enablePartialZipCodesForRedact", False),
        restricted_zip_prefixes=zip_prefixes(content.get("restrictedZipCodeTabulationAreas", []), areas),
        hash_key=content.get("cryptoHashKey", "").encode(),
        encrypt_key=encrypt_key,
    )
