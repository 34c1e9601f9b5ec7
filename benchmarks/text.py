"""How well identifiers are found in free text, and how much else is lost. Run: python -m benchmarks.text

The judge is the corpus of tests/corpus, Turkish and English, written from the law by someone who had not seen the
rules. Its persons are made up, so that misses may be shown (--misses), but only those of one half of it: a sentence
belongs to the development half or the held-out half by a hash of its text, whoever works on the rules looks at the
first half only, and the second says what to expect of other texts. Per half, kind and language:

- characters: the share of the identifiers' characters that any finding covers. This is what a reader could not see.
- F1: a finding counts if its span and kind are exactly those of the identifier (precision and recall beside it).
- touched: the share of identifiers that any finding overlaps.

Over-redaction is the share of the other characters that findings cover, of the sentences without an identifier in
which anything is found, and of the sentences with identifiers and look-alikes in which something beside the identifiers
is found. White space counts nowhere. ORGANISATION is scored apart: it is in no total, and covering it is neither recall
nor over-redaction.

Intervals are Wilson's, 95 %. Their sample is identifiers or sentences, never characters, which stand or fall together;
for F1 it is the identifiers and findings halved, an approximation.
"""

import argparse
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tests.corpus.corpus import Identifier, Kind, Language, Part, Sentence, read_corpus

_Z = 1.959963984540054  # the standard normal's 97.5 % quantile


class Half(StrEnum):
    """The halves of a corpus; the value is what a report calls them."""

    DEVELOPMENT = "development"
    HELD_OUT = "held-out"


def half_of(sentence: Sentence) -> Half:
    """Which half a sentence is in: by its text alone, so that those added or moved leave the others where they are."""
    odd = hashlib.sha256(sentence.text.encode()).digest()[0] & 1
    return Half.HELD_OUT if odd else Half.DEVELOPMENT


class Found(Protocol):
    """What the engine answers for one span; `kind` has the names of the corpus's kinds as values."""

    @property
    def start(self) -> int:
        """Offset of the first code point."""

    @property
    def end(self) -> int:
        """Offset after the last code point."""

    @property
    def kind(self) -> str:
        """What was found."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share and the size of the sample that it speaks for."""

    value: float
    sample: float

    @classmethod
    def of(cls, hits: float, total: float, sample: float | None = None) -> "Share":
        """`hits` of `total`; the sample is `total` where no other is given."""
        return cls(hits / total if total else math.nan, total if sample is None else sample)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval; NaN of nothing."""
        if not self.sample or math.isnan(self.value):
            return math.nan, math.nan
        n, square = self.sample, _Z * _Z
        centre = self.value + square / (2 * n)
        spread = _Z * math.sqrt(self.value * (1 - self.value) / n + square / (4 * n * n))
        return max(0.0, (centre - spread) / (1 + square / n)), min(1.0, (centre + spread) / (1 + square / n))

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"{'-':^20}"
        low, high = self.interval
        return f"{self.value:7.2%} [{low:4.0%},{high:5.0%}]"


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence and what was found in it."""

    sentence: Sentence
    found: tuple[Found, ...]

    def covered(self) -> set[int]:
        """Offsets that findings cover, without white space."""
        return {at for finding in self.found for at in _visible(self.sentence, finding)}

    def touching(self, identifier: Identifier) -> bool:
        """Whether any finding overlaps the identifier."""
        return any(_overlap(finding, identifier) for finding in self.found)

    def exact(self, identifier: Identifier) -> bool:
        """Whether a finding has the identifier's span and kind."""
        wanted = (identifier.start, identifier.end, str(identifier.kind))
        return any((finding.start, finding.end, str(finding.kind)) == wanted for finding in self.found)

    def apart(self, finding: Found, wanted: frozenset[Kind]) -> bool:
        """Whether the finding touches an organisation and nothing else, where those are not asked for."""
        touched = {identifier.kind for identifier in self.sentence.identifiers if _overlap(finding, identifier)}
        return touched == {Kind.ORGANISATION} and Kind.ORGANISATION not in wanted

    def beside(self) -> tuple[Found, ...]:
        """Findings that touch no identifier."""
        return tuple(f for f in self.found if not any(_overlap(f, i) for i in self.sentence.identifiers))


@dataclass(frozen=True, slots=True)
class KindScore:
    """One kind's figures, or all kinds' together."""

    identifiers: int
    characters: Share
    precision: Share
    recall: Share
    f1: Share
    touched: Share


@dataclass(frozen=True, slots=True)
class OverRedaction:
    """What was found and is no identifier."""

    characters: Share
    plain_sentences: Share
    look_alike_sentences: Share


def score(sentences: Iterable[Sentence], find: Callable[[str], Iterable[Found]]) -> tuple[Scored, ...]:
    """Each sentence with what `find` answers for its text."""
    return tuple(Scored(sentence, tuple(find(sentence.text))) for sentence in sentences)


def kind_score(scored: Sequence[Scored], kinds: Iterable[Kind]) -> KindScore:
    """How well identifiers of these kinds were found; a finding of another kind covers, but is not exact."""
    wanted = frozenset(kinds)
    identifiers = characters = covered = exact = touched = findings = 0
    for one in scored:
        seen = one.covered()
        findings += sum(str(finding.kind) in wanted and not one.apart(finding, wanted) for finding in one.found)
        for identifier in one.sentence.identifiers:
            if identifier.kind not in wanted:
                continue
            visible = _visible(one.sentence, identifier)
            identifiers += 1
            characters += len(visible)
            covered += len(visible & seen)
            exact += one.exact(identifier)
            touched += one.touching(identifier)
    return KindScore(
        identifiers,
        Share.of(covered, characters, identifiers),
        Share.of(exact, findings),
        Share.of(exact, identifiers),
        Share.of(2 * exact, findings + identifiers, (findings + identifiers) / 2),
        Share.of(touched, identifiers),
    )


def over_redaction(scored: Sequence[Scored]) -> OverRedaction:
    """How much was found that is no identifier."""
    others = lost = 0
    for one in scored:
        identified = {at for identifier in one.sentence.identifiers for at in _visible(one.sentence, identifier)}
        rest = {at for at, sign in enumerate(one.sentence.text) if not sign.isspace()} - identified
        others += len(rest)
        lost += len(rest & one.covered())
    plain = [one for one in scored if not one.sentence.identifiers]
    look_alike = [one for one in scored if one.sentence.identifiers and one.sentence.look_alike]
    return OverRedaction(
        Share.of(lost, others, len(scored)),
        Share.of(sum(bool(one.found) for one in plain), len(plain)),
        Share.of(sum(bool(one.beside()) for one in look_alike), len(look_alike)),
    )


def _visible(sentence: Sentence, span: Identifier | Found) -> set[int]:
    return {at for at in range(span.start, span.end) if not sentence.text[at].isspace()}


def _overlap(finding: Found, identifier: Identifier) -> bool:
    return finding.start < identifier.end and identifier.start < finding.end


def _print_figures(title: str, scored: Sequence[Scored]) -> None:
    hard = sum(one.sentence.hard_negative for one in scored)
    print(f"{title}: {len(scored)} sentences, {hard} of them with something to leave alone")
    print(f"{'':<18}{'n':>5}  {'characters':<20} {'strict F1':<20} {'precision':<20} {'recall':<20} {'touched':<20}")
    counted = [kind for kind in Kind if kind is not Kind.ORGANISATION]
    by_hand = [one for one in scored if not one.sentence.template]
    rows = [(str(kind), kind_score(scored, [kind])) for kind in counted]
    rows.append(("all", kind_score(scored, counted)))
    rows.append(("all, no templates", kind_score(by_hand, counted)))
    rows.append(("ORGANISATION", kind_score(scored, [Kind.ORGANISATION])))
    for name, row in rows:
        figures = " ".join(
            f"{share!s:<20}" for share in (row.characters, row.f1, row.precision, row.recall, row.touched)
        )
        print(f"{name:<18}{row.identifiers:>5}  {figures}".rstrip())
    lost = over_redaction(scored)
    print(f"over-redacted:  characters {lost.characters},  sentences without identifier {lost.plain_sentences},")
    print(f"                sentences with look-alikes beside identifiers {lost.look_alike_sentences}\n")


def _print_misses(scored: Sequence[Scored]) -> None:
    for one in scored:
        sentence, seen = one.sentence, one.covered()
        for identifier in sentence.identifiers:
            visible = _visible(sentence, identifier)
            if identifier.kind is not Kind.ORGANISATION and not visible <= seen:
                how = "partly" if visible & seen else "missed"
                print(f"{how:<8}{sentence.name} {identifier.kind:<14}{sentence.text_of(identifier)!r}")
        for finding in one.beside():
            print(f"{'false':<8}{sentence.name} {finding.kind!s:<14}{sentence.text[finding.start : finding.end]!r}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of finding identifiers in free text.")
    parser.add_argument("--misses", action="store_true", help="list the development half's failures")
    parser.add_argument("--language", type=Language, choices=list(Language), help="only this one")
    parser.add_argument("--part", type=Part, choices=list(Part), help="only what was written first, or later")
    arguments = parser.parse_args()
    from anonymize.text import find

    for language in [arguments.language] if arguments.language else Language:
        sentences = read_corpus(language, arguments.part)
        find(sentences[0].text)  # its tables are read at first use
        start = time.perf_counter()
        scored = score(sentences, find)
        seconds = time.perf_counter() - start
        print(f"{language.upper()}: {1000 * seconds / len(scored):.2f} ms a sentence\n")
        halves = {half: [one for one in scored if half_of(one.sentence) is half] for half in Half}
        for half, those in halves.items():
            _print_figures(f"{language}, {half} half", those)
        _print_figures(f"{language}, both halves", scored)
        if arguments.misses:
            _print_misses(halves[Half.DEVELOPMENT])


if __name__ == "__main__":
    main()
