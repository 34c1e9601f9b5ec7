"""The benchmark of free text: its figures on finders whose answers are known beforehand."""

import math
from dataclasses import dataclass

import pytest

from benchmarks.text import Share, kind_score, over_redaction, score
from tests.corpus.corpus import Kind, Language, Sentence, parse_marked, read_corpus

SENTENCES = read_corpus(Language.TURKISH)
COUNTED = [kind for kind in Kind if kind is not Kind.ORGANISATION]


@dataclass(frozen=True)
class Span:
    start: int
    end: int
    kind: str


def sentence(marked: str, *, look_alike: bool = False) -> Sentence:
    text, identifiers = parse_marked(marked)
    return Sentence("xx-001", text, identifiers, "made", template=False, look_alike=look_alike)


def test_a_finder_that_knows_the_answers_scores_full_marks():
    answers = {one.text: one.identifiers for one in SENTENCES}
    scored = score(SENTENCES, answers.__getitem__)
    total, lost = kind_score(scored, COUNTED), over_redaction(scored)
    assert total.characters.value == total.f1.value == total.touched.value == 1
    assert lost.characters.value == lost.plain_sentences.value == lost.look_alike_sentences.value == 0


def test_a_finder_of_nothing_scores_nothing():
    total = kind_score(score(SENTENCES, lambda text: ()), COUNTED)
    assert total.characters.value == total.f1.value == total.recall.value == total.touched.value == 0
    assert math.isnan(total.precision.value)


def test_redacting_everything_hides_all_and_loses_all():
    scored = score(SENTENCES, lambda text: (Span(0, len(text), "NAME"),))
    total, lost = kind_score(scored, COUNTED), over_redaction(scored)
    assert total.characters.value == 1
    assert total.f1.value < 0.01
    assert lost.characters.value == lost.plain_sentences.value == 1


def test_half_a_name_under_another_kind_covers_but_is_not_exact():
    scored = score([sentence("Hasta [[NAME:Ayşe Örnek]] geldi")], lambda text: (Span(6, 10, "ADDRESS"),))
    name = kind_score(scored, [Kind.NAME])
    assert (name.characters.value, name.recall.value, name.touched.value) == (
        4 / 9,
        0,
        1,
    )  # white space is no character
    assert over_redaction(scored).characters.value == 0


def test_a_finding_beside_the_identifier_of_a_look_alike_sentence_is_counted():
    one = sentence("[[NAME:Umut]]'un umudu var", look_alike=True)
    lost = over_redaction(score([one], lambda text: (Span(0, 4, "NAME"), Span(8, 13, "NAME"))))
    assert lost.look_alike_sentences.value == 1
    assert lost.characters.value == pytest.approx(5 / 11)


def test_an_organisation_is_neither_recall_nor_over_redaction():
    one = sentence("[[ORGANISATION:Örnek Hastanesi]] yatışı")
    scored = score([one], lambda text: (Span(0, 15, "NAME"),))
    assert kind_score(scored, COUNTED).identifiers == 0
    assert math.isnan(kind_score(scored, COUNTED).precision.value)
    assert over_redaction(scored).characters.value == 0


def test_wilson_interval_is_that_of_the_literature():
    low, high = Share.of(81, 263).interval  # Newcombe, Stat. Med. 1998;17:857-872, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
