"""Applies an action to one value: gives what may be written in its place, or None where the value does not allow it.

A value of text is decoded strictly; one that cannot be read is never written. Nothing here remembers a value.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Final

from anonymize import dates, text, vocabulary
from anonymize.character_sets import character_sets_of, decode, encode, is_character_set
from anonymize.escapes import unescaped
from anonymize.identifiers import folded
from anonymize.proofs import sound_text
from anonymize.rules import Action
from anonymize.text.roles import is_short_name

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_WORDED: Final = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_DATE_VRS: Final = frozenset({"DA", "DT", "TM"})
_LONGEST: Final[Mapping[str, int]] = {"AE": 16, "SH": 16, "LO": 64, "ST": 1024, "LT": 10240}  # characters (PS3.5 6.2)
_WORD: Final = re.compile(r"[^\W_]+")
_SINGLE: Final = frozenset({"LT", "ST", "UT"})  # a backslash is a character in these


def kept(vr: str, value: bytes, character_sets: Sequence[str], *, is_time_zone: bool = False) -> bytes | None:
    """The value without what follows a NUL, if it is what its VR allows. For VRs of characters."""
    if vr in _DATE_VRS or is_time_zone:
        return value if dates.is_sound(vr, value) else None
    return sound_text(vr, value, character_sets)


def of_known_words(tag: int, vr: str, value: bytes, character_sets: Sequence[str]) -> bytes | None:
    """The value, if it is of words that anybody may know; of several code strings, those that are.

    Specific Character Set may hold character sets and nothing else.
    """
    if tag == _SPECIFIC_CHARACTER_SET:
        return value if all(is_character_set(term) for term in character_sets_of(value)) else None
    if vr == "CS" and b"\\" in value:
        parts = [part if vocabulary.is_known(part.decode("ascii")) else b"" for part in value.split(b"\\")]
        return b"\\".join(parts) if any(part.strip() for part in parts) else None
    if vr in _WORDED:
        words = value.decode("ascii") if vr == "CS" else decode(value, character_sets)
        return value if words is not None and vocabulary.is_known(words) else None
    return value


def redated(action: Action, vr: str, value: bytes, days: int) -> bytes | None:
    """A value of DA, DT, TM or AS under the action SHIFT_DATE, KEEP_YEAR or GROUP_AGE."""
    if action is Action.GROUP_AGE:
        return dates.grouped_age(value)
    return dates.shift(vr, value, days) if action is Action.SHIFT_DATE else dates.year_only(vr, value)


def cleaned(
    vr: str, value: bytes, character_sets: Sequence[str], days: int | None, names: frozenset[str] = frozenset()
) -> bytes | None:
    """A value of text without what may identify, each of several values for itself.

    Identifiers are named by their class; dates move by `days`, or are named where that is None; of what is between
    them, the words that anybody may know stay, but for `names` (folded). So what the recognizers miss goes, too.
    """
    sound = sound_text(vr, value, character_sets)
    encoded = None if sound is None else decode(sound, character_sets)
    original = None if encoded is None else unescaped(encoded)
    if sound is None or original is None:
        return None
    parts = [original] if vr in _SINGLE else original.split("\\")
    move = None if days is None else partial(_moved, days=days)
    changed = [text.clean(part, shift_date=move, between=partial(_redacted, names=names)).text for part in parts]
    if changed == parts:
        return sound
    longest = _LONGEST.get(vr)
    return encode("\\".join(part[:longest].rstrip() for part in changed), character_sets)


def _redacted(between: str, names: frozenset[str]) -> str:
    def kept_or_marked(match: re.Match[str]) -> str:
        word = folded(match[0])
        return "[-]" if word in names or is_short_name(word) else match[0]

    return _WORD.sub(kept_or_marked, vocabulary.redacted(between))


def _moved(day: date, days: int) -> date:
    return day + timedelta(days)
