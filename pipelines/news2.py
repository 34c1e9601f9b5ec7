"""Vital signs as the bundled package ``news2`` wants them, and what its answer means. Pure; knows no patient, no FHIR.

A score is of one moment: each vital sign is the newest that was measured within a window before it. Which value counts
says the first of these rules that speaks about a sign; nothing is ever filled in, nor taken from the normal:

1. what was measured after the moment does not count;
2. of what is left, the newest decides, usable or not: behind one that cannot be used, no older one comes into use;
3. one that is older than the window is stale, so the sign is missing;
4. where several are equally new, they must say the same;
5. whether it can be such a measurement at all, the package's limits decide.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PACKAGE: Final = "news2"
ADULT_YEARS: Final = 16
"""NEWS2 is not for those who are younger (Royal College of Physicians, 2017)."""


class Sign(StrEnum):
    """The vital signs, by the names that they have in the package, in the order of its outputs."""

    RESPIRATION_RATE = "respiration_rate"  # per minute
    OXYGEN_SATURATION = "oxygen_saturation"  # per cent
    SUPPLEMENTAL_OXYGEN = "supplemental_oxygen"  # 0 air, 1 oxygen
    SYSTOLIC_BLOOD_PRESSURE = "systolic_blood_pressure"  # mmHg
    PULSE = "pulse"  # per minute
    CONSCIOUSNESS = "consciousness"  # `Consciousness`
    TEMPERATURE = "temperature"  # degrees Celsius


class Consciousness(IntEnum):
    """ACVPU. Confusion counts when it is new."""

    ALERT = 0
    CONFUSION = 1
    VOICE = 2
    PAIN = 3
    UNRESPONSIVE = 4


class OxygenScale(IntEnum):
    """Which scale of oxygen saturation a clinician has chosen; 2 is for hypercapnic respiratory failure."""

    ONE = 1
    TWO = 2


RISKS: Final = ("low", "low_medium", "medium", "high")
"""By the number that the package answers."""

_CODED: Final = frozenset({Sign.SUPPLEMENTAL_OXYGEN, Sign.CONSCIOUSNESS})
_SCALE: Final = "oxygen_scale"
_COLUMNS: Final = (
    *(Sign.RESPIRATION_RATE, Sign.OXYGEN_SATURATION, _SCALE, Sign.SUPPLEMENTAL_OXYGEN, Sign.SYSTOLIC_BLOOD_PRESSURE),
    *(Sign.PULSE, Sign.CONSCIOUSNESS, Sign.TEMPERATURE),
)
"""In the order of the package's output ``missing``."""
_OUTSIDE: Final = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """A vital sign at a moment, which has an offset from UTC: its value in the unit of `Sign`, or, with None, in words
    without data why it cannot be used.
    """

    sign: Sign
    at: datetime
    value: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """What counts at a moment: of each sign the measurement, or why there is none."""

    at: datetime
    known: Mapping[Sign, Measurement]
    missing: Mapping[Sign, str]


@dataclass(frozen=True, slots=True)
class Score:
    """NEWS2: `score` from 0 to 20 and `risk` of `RISKS`, both None if a sign is missing; `points` of those known."""

    score: int | None
    risk: str | None
    points: Mapping[Sign, int]
    missing: Mapping[Sign, str]


def vital_signs_at(measurements: Iterable[Measurement], at: datetime, window: timedelta) -> VitalSigns:
    """Choose what counts at a moment, by the rules of the module."""
    known: dict[Sign, Measurement] = {}
    missing: dict[Sign, str] = {}
    there = [measurement for measurement in measurements if measurement.at <= at]
    for sign in Sign:
        of_sign = [measurement for measurement in there if measurement.sign is sign]
        newest = [m for m in of_sign if m.at == max(other.at for other in of_sign)]
        if not newest:
            missing[sign] = "was not measured"
        elif newest[0].at < at - window:
            missing[sign] = f"was measured more than {window.total_seconds() / 60:g} minutes before"
        elif problem := next((m.problem for m in newest if m.value is None), ""):
            missing[sign] = problem
        elif len({m.value for m in newest}) > 1:
            missing[sign] = "has several values of the same time"
        else:
            known[sign] = newest[0]
    return VitalSigns(at, known, missing)


def tensors(signs: VitalSigns, scale: OxygenScale) -> dict[str, npt.NDArray[Any]]:
    """One sample for the package."""
    made: dict[str, npt.NDArray[Any]] = {_SCALE: np.array([scale], np.uint8)}
    for sign in Sign:
        measured = signs.known.get(sign)
        value = measured.value if measured is not None and measured.value is not None else 0
        made[sign] = np.array([value], np.uint8 if sign in _CODED else np.float32)
        made[f"{sign}_present"] = np.array([measured is not None], np.uint8)
    return made


def meaning(outputs: Mapping[str, npt.NDArray[Any]], signs: VitalSigns) -> Score:
    """What the package's outputs for one sample say."""
    missing = dict(signs.missing)
    for column, state in zip(_COLUMNS, outputs["missing"][0].tolist(), strict=True):
        if state == _OUTSIDE and column != _SCALE:
            missing[Sign(column)] = "is no such measurement: too small or too large for one"
    points = dict(zip(Sign, outputs["points"][0].tolist(), strict=True))
    score, risk = int(outputs["score"][0]), int(outputs["risk"][0])
    return Score(
        score=score if score >= 0 else None,
        risk=RISKS[risk] if risk >= 0 else None,
        points={sign: number for sign, number in points.items() if number >= 0},
        missing=missing,
    )
