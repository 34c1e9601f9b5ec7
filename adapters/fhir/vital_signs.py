"""Reads vital signs from FHIR R4 Observations: by LOINC code and UCUM unit, as the vital signs profile has them (FHIR
R4, observation-vitalsigns), consciousness and oxygen also by the SNOMED CT codes of UK Core's NEWS2 value sets.

Read as plain JSON. What speaks of a vital sign and cannot be used is given with the reason, never left out: else an
older value would count in its place. Reasons hold no data.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from adapters.fhir.codes import UCUM
from pipelines.news2 import Consciousness, Measurement, Sign

Resource = Mapping[str, Any]
_Convert = Callable[[float], float]

_LOINC: Final = "http://loinc.org"
_SNOMED: Final = "http://snomed.info/sct"

_SIGNS: Final = {
    (_LOINC, "9279-1"): Sign.RESPIRATION_RATE,
    (_LOINC, "2708-6"): Sign.OXYGEN_SATURATION,
    (_LOINC, "59408-5"): Sign.OXYGEN_SATURATION,  # by pulse oximetry
    (_LOINC, "8480-6"): Sign.SYSTOLIC_BLOOD_PRESSURE,  # by itself, or a component of 85354-9
    (_LOINC, "8867-4"): Sign.PULSE,
    (_LOINC, "8310-5"): Sign.TEMPERATURE,
    (_LOINC, "80288-4"): Sign.CONSCIOUSNESS,
    (_LOINC, "67775-7"): Sign.CONSCIOUSNESS,
    (_SNOMED, "1104441000000107"): Sign.CONSCIOUSNESS,  # ACVPU scale score
    (_LOINC, "3150-6"): Sign.SUPPLEMENTAL_OXYGEN,  # inhaled concentration, per cent
    (_LOINC, "3151-8"): Sign.SUPPLEMENTAL_OXYGEN,  # inhaled flow rate
}
_CODED: Final = {
    (_SNOMED, "248234008"): (Sign.CONSCIOUSNESS, Consciousness.ALERT),
    (_SNOMED, "130987000"): (Sign.CONSCIOUSNESS, Consciousness.CONFUSION),  # acute
    (_SNOMED, "300202002"): (Sign.CONSCIOUSNESS, Consciousness.VOICE),
    (_SNOMED, "450847001"): (Sign.CONSCIOUSNESS, Consciousness.PAIN),
    (_SNOMED, "422768004"): (Sign.CONSCIOUSNESS, Consciousness.UNRESPONSIVE),
    (_SNOMED, "722742002"): (Sign.SUPPLEMENTAL_OXYGEN, 0),  # breathing room air
    (_SNOMED, "371825009"): (Sign.SUPPLEMENTAL_OXYGEN, 1),  # patient on oxygen
}
"""What a coded value says, whatever code the Observation has."""


def _same(value: float) -> float:
    return value


_PER_MINUTE: Final[Mapping[str, _Convert]] = {"/min": _same, "1/min": _same, "min-1": _same}
_AIR_PERCENT: Final = 21.0  # rounded, as ventilators show it
_UNITS: Final[Mapping[Sign, Mapping[str, _Convert]]] = {
    Sign.RESPIRATION_RATE: _PER_MINUTE,
    Sign.PULSE: _PER_MINUTE,
    Sign.OXYGEN_SATURATION: {"%": _same},
    Sign.SYSTOLIC_BLOOD_PRESSURE: {"mm[Hg]": _same, "kPa": lambda kilopascal: kilopascal / 0.133322387415},
    Sign.TEMPERATURE: {
        "Cel": _same,
        "[degF]": lambda fahrenheit: (fahrenheit - 32) * 5 / 9,
        "K": lambda kelvin: kelvin - 273.15,
    },
    Sign.SUPPLEMENTAL_OXYGEN: {
        "%": lambda percent: float(percent > _AIR_PERCENT) if percent >= _AIR_PERCENT - 1 else math.nan,
        "L/min": lambda flow: float(flow > 0) if flow >= 0 else math.nan,
        "l/min": lambda flow: float(flow > 0) if flow >= 0 else math.nan,
    },
}
"""By UCUM code, without annotations: ``{breaths}/min`` is ``/min`` (UCUM 2.2, section 6). NaN: it cannot be that."""
_ANNOTATION: Final = re.compile(r"\{[^{}]*\}")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

_COUNTS: Final = frozenset({"final", "amended", "corrected"})
_NEVER_WAS: Final = frozenset({"entered-in-error", "cancelled"})


def read_vital_signs(observation: Resource) -> Iterator[Measurement | str]:
    """The vital signs of an Observation and its components; of one without a moment, in words why it says nothing.

    Nothing of one that is about something else, or was withdrawn.
    """
    status = str(observation.get("status"))
    if observation.get("resourceType") != "Observation" or status in _NEVER_WAS:
        return
    parts = [observation, *(part for part in _items(observation, "component") if isinstance(part, Mapping))]
    for part in parts:
        sign, value, problem = _read(part)
        if sign is None:
            continue
        at = _moment(observation)
        if at is None:
            yield f"{sign} does not say at what time it was measured, with an offset from UTC"
            continue
        if "modifierExtension" in observation or "modifierExtension" in part:
            value, problem = None, "has an extension that may change what it means"
        elif status not in _COUNTS:
            value, problem = None, "is not final"
        yield Measurement(sign, at, value, problem)


def _read(part: Resource) -> tuple[Sign | None, float | None, str]:
    """Which sign, its value, and if there is none why not."""
    said = [_CODED[coding] for coding in _codings(part.get("valueCodeableConcept")) if coding in _CODED]
    signs = {_SIGNS[coding] for coding in _codings(part.get("code")) if coding in _SIGNS} | {sign for sign, _ in said}
    if not signs:
        return None, None, ""
    sign = min(signs)
    if len(signs) > 1 or len(set(said)) > 1:
        return sign, None, "is coded as several things at once"
    if said:
        return sign, float(said[0][1]), ""
    if "valueQuantity" in part and sign in _UNITS:
        return sign, *_quantity(sign, part["valueQuantity"])
    if _items(part, "component") and not any(key.startswith("value") for key in part):
        return None, None, ""  # its components say it
    return sign, None, "has no value that is understood"


def _quantity(sign: Sign, quantity: Any) -> tuple[float | None, str]:
    if not isinstance(quantity, Mapping):
        return None, "has no value that is understood"
    number, code = _number(quantity.get("value")), quantity.get("code")
    if number is None:
        return None, "has no value that is understood"
    if quantity.get("comparator"):
        return None, "says only that it is more or less than a value"
    convert = _UNITS[sign].get(_ANNOTATION.sub("", code)) if isinstance(code, str) else None
    if convert is None or quantity.get("system") != UCUM:
        return None, "has no UCUM unit that is understood"
    converted = convert(number)
    return (None, "is no such measurement") if math.isnan(converted) else (converted, "")


def _number(value: Any) -> float | None:
    """A finite number; JSON's can be larger than any that is one here."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _moment(observation: Resource) -> datetime | None:
    period = observation.get("effectivePeriod")
    text = observation.get("effectiveDateTime") or observation.get("effectiveInstant")
    text = text or (period.get("end") if isinstance(period, Mapping) else None)
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _codings(concept: Any) -> Iterator[tuple[str, str]]:
    for coding in _items(concept, "coding") if isinstance(concept, Mapping) else ():
        if isinstance(coding, Mapping):
            yield str(coding.get("system")), str(coding.get("code"))


def _items(value: Resource, key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
