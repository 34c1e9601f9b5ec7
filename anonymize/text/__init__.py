"""Identifiers in free text, Turkish and English: found, and replaced by their class or, for dates, shifted.

Reports, remarks and descriptions hold what attributes do not say: who came with the patient, where they live, who
signed. This package errs towards finding. It must never raise on any text, and never take more than linear time.
What counts as an identifier: HIPAA, 45 CFR 164.514(b)(2)(i), and KVKK (law 6698), art. 3.

A character belongs to the first of these that covers it; what the first leaves of another's finding still counts:

 1. the patient's own identifiers, where they are given
 2. e-mail addresses, URLs, IP addresses
 3. IBANs, tax numbers, citizens' numbers, social security numbers
 4. passport, device, account and record numbers, by the words that announce them
 5. telephones
 6. dates
 7. number plates
 8. postal codes
 9. whatever else is called a number
10. addresses
11. organisations
12. ages over 89
13. names
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from anonymize.text import numbers
from anonymize.text.addresses import addresses
from anonymize.text.ages import ages
from anonymize.text.dates import dates, day_first, shifted
from anonymize.text.finding import Finding, Note, Recognizer, TextClass, compose, disjoint
from anonymize.text.known import known_identifiers
from anonymize.text.names import names
from anonymize.text.organisations import organisations
from anonymize.text.phones import phones

__all__ = ["Cleaned", "Finding", "TextClass", "clean", "find"]

_RECOGNIZERS: Final[tuple[Recognizer, ...]] = (
    numbers.emails,
    numbers.urls,
    numbers.ips,
    numbers.ibans,
    numbers.vkns,
    numbers.tckns,
    numbers.ssns,
    numbers.passports,
    numbers.accounts_and_devices,
    numbers.record_numbers,
    phones,
    dates,
    numbers.plates,
    numbers.zips,
    numbers.other_numbers,
    addresses,
    organisations,
    ages,
    names,
)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text without its identifiers, and what they were (offsets into the original)."""

    text: str
    findings: tuple[Finding, ...]


def find(text: str, *, known: Collection[str] = ()) -> tuple[Finding, ...]:
    """The identifiers in a text, sorted and disjoint, by the precedence above.

    Args:
        text: any string.
        known: the patient's own identifiers; their parts are found in any casing, in ASCII spelling and with a suffix.

    """
    composed, origin = compose(text)
    note = Note(composed)
    return tuple(
        Finding(origin(finding.start), origin(finding.end), finding.kind, finding.rule)
        for finding in disjoint(_findings(note, known), composed)
    )


def clean(
    text: str,
    *,
    known: Collection[str] = (),
    shift_date: Callable[[date], date] | None = None,
    between: Callable[[str], str] = str,
) -> Cleaned:
    """The text with each identifier replaced by its class in brackets.

    Args:
        text: any string.
        known: as for `find`.
        shift_date: where given, a full date is replaced by what this answers, in the date's own format.
        between: what becomes of the text between the identifiers; by default nothing.

    """
    findings = find(text, known=known)
    slashes_day_first = day_first(text) if shift_date else None
    pieces: list[str] = []
    done = 0
    for finding in findings:
        written = text[finding.start : finding.end]
        moved = None
        if shift_date and finding.kind is TextClass.DATE:
            moved = shifted(written, shift_date, slashes_day_first=slashes_day_first)
        pieces += between(text[done : finding.start]), moved or f"[{finding.kind}]"
        done = finding.end
    pieces.append(between(text[done:]))
    return Cleaned("".join(pieces), findings)


def _findings(note: Note, known: Collection[str]) -> Iterator[Finding]:
    yield from known_identifiers(note, known)
    for recognizer in _RECOGNIZERS:
        yield from recognizer(note)
