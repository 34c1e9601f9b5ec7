"""The annotated sentences by which the cleaning of free text is judged: turkish.txt and english.txt, in two parts each.

They were written from the law (HIPAA, 45 CFR 164.514(b)(2)(i); GDPR, art. 4(1); KVKK, law 6698, art. 3) by someone who
had not seen the rules under test, and must never be bent to suit those. Every person, number and address is made up.

A file holds one sentence (or a short passage: `\\n` is a line break) a line, under headings that say where such text
comes from:

    [radiology]                       a source
    [header, template]                its sentences were filled into a template
    # a remark
    [[NAME:Ayşe Örnek]]'in BT'si      an identifier and its kind
    [[TCKN!:12345678901]]             an identifier whose check digits are wrong on purpose
    ? Crohn hastası, 62 yaşında       the sentence holds words or numbers that look like identifiers and are none

What is annotated:

- An identifier without its title or kinship word ("Dr.", "Hanım", "teyzesi"), its degree ("MD") or what follows an
  apostrophe. A suffix written on without an apostrophe is part of the word, and so of the span.
- NAME: given name and surname that stand together are one, initials ("A. Yılmaz"), particles and "III" included;
  "Smith, John" is one too. Staff and relatives are persons like the patient.
- DATE: a date more precise than its year, with a weekday that belongs to it; neither the time of day (unless a time
  stamp is one word) nor an article before it. A year alone, a season and "three days ago" are no identifiers (45 CFR
  164.514(b)(2)(i)(C)).
- AGE: the number alone, when over 89, whether in digits or words.
- ADDRESS: a place smaller than a province or state, with its kind where that is part of the name ("Mah.", "Street"); a
  province or state only as an address's end. A postal code is a ZIP wherever it stands, and divides the address.
- RECORD_NUMBER: medical record, protocol, accession, file, sample, prescription, insurance, claim and licence numbers.
- OTHER: what else names one person: account, card, device serial, chassis and parcel numbers, user names.
- ORGANISATION: a named hospital, practice, school or employer. A class of its own, scored apart.
- PHONE: fax and pager numbers too, with country code and extension; an extension alone is one as well.
- SSN: also its last four digits alone, where they are called that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FOLDER = Path(__file__).parent

_HEADING = re.compile(r"\[(?P<source>[a-z-]+)(?P<template>, template)?\]")
_MARK = re.compile(r"\[\[(?P<kind>[A-Z_]+)(?P<wrong>!?):(?P<text>.+?)\]\]", re.DOTALL)


class Language(StrEnum):
    """The corpora: the value is the file's name."""

    TURKISH = "turkish"
    ENGLISH = "english"

    @property
    def code(self) -> str:
        """Its ISO 639-1 code."""
        return {Language.TURKISH: "tr", Language.ENGLISH: "en"}[self]


class Part(StrEnum):
    """What of a corpus was written when: the second part, by another hand, after rules had been tuned on the first."""

    FIRST = "first"
    SECOND = "second"


class Kind(StrEnum):
    """What an identifier is."""

    NAME = "NAME"
    TCKN = "TCKN"
    VKN = "VKN"
    IBAN = "IBAN"
    PHONE = "PHONE"
    PLATE = "PLATE"
    PASSPORT = "PASSPORT"
    RECORD_NUMBER = "RECORD_NUMBER"
    ADDRESS = "ADDRESS"
    DATE = "DATE"
    AGE = "AGE"
    EMAIL = "EMAIL"
    URL = "URL"
    IP = "IP"
    SSN = "SSN"
    ZIP = "ZIP"
    ORGANISATION = "ORGANISATION"
    OTHER = "OTHER"


class CorpusError(ValueError):
    """A line of a corpus is not in the notation that this module describes."""


@dataclass(frozen=True)
class Identifier:
    """An annotated span: `start` and `end` count code points of the sentence's text."""

    start: int
    end: int
    kind: Kind
    check_digits_wrong: bool


@dataclass(frozen=True)
class Sentence:
    """One annotated text. `look_alike`: it holds what looks like an identifier and is none."""

    name: str
    text: str
    identifiers: tuple[Identifier, ...]
    source: str
    template: bool
    look_alike: bool

    @property
    def hard_negative(self) -> bool:
        """Whether there is something in it to leave alone: no identifier at all, or a look-alike."""
        return self.look_alike or not self.identifiers

    def text_of(self, identifier: Identifier) -> str:
        """The identifier as it is written."""
        return self.text[identifier.start : identifier.end]


def read_corpus(language: Language, part: Part | None = None) -> tuple[Sentence, ...]:
    """All sentences of a language, or of one part of it, in the order of their files.

    Raises:
        CorpusError: a line is not in the notation; the message names the file and line.
    """
    parts = Part if part is None else (part,)
    return tuple(sentence for one in parts for sentence in _sentences(language, one))


def parse_marked(marked: str) -> tuple[str, tuple[Identifier, ...]]:
    """The plain text of a marked-up line, and its identifiers.

    Raises:
        CorpusError: a mark is left open or its kind is unknown.
    """
    text = ""
    identifiers = []
    position = 0
    for mark in _MARK.finditer(marked):
        text += marked[position : mark.start()]
        if mark["kind"] not in Kind.__members__:
            raise CorpusError(f"no such kind: {mark['kind']}")
        identifiers.append(
            Identifier(len(text), len(text) + len(mark["text"]), Kind(mark["kind"]), bool(mark["wrong"]))
        )
        text += mark["text"]
        position = mark.end()
    text += marked[position:]
    if "[[" in text or "]]" in text:
        raise CorpusError("a mark is left open")
    return text, tuple(identifiers)


def _sentences(language: Language, part: Part) -> Iterator[Sentence]:
    second = part is Part.SECOND
    path = FOLDER / (f"{language}_second.txt" if second else f"{language}.txt")
    prefix = f"{language.code}2" if second else language.code
    source, template, count = "", False, 0
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line or line.startswith("#"):
            continue
        if heading := _HEADING.fullmatch(line):
            source, template = heading["source"], heading["template"] is not None
            continue
        try:
            text, identifiers = parse_marked(line.removeprefix("? ").replace(r"\n", "\n"))
        except CorpusError as problem:
            raise CorpusError(f"{path.name}, line {number}: {problem}") from None
        if not source:
            raise CorpusError(f"{path.name}, line {number}: a sentence before the first heading")
        count += 1
        yield Sentence(f"{prefix}-{count:03}", text, identifiers, source, template, line.startswith("? "))
