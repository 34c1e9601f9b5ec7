"""Whether the corpus itself is sound: size, variety, spans, and check digits that are right where they should be."""

import re
from collections import Counter

import pytest
from stdnum import iban
from stdnum.tr import tckimlik, vkn

from tests.corpus.corpus import CorpusError, Kind, Language, Sentence, parse_marked, read_corpus

CHECKED = {Kind.TCKN: tckimlik, Kind.VKN: vkn, Kind.IBAN: iban}
RARE = {Language.TURKISH: {Kind.SSN}, Language.ENGLISH: {Kind.VKN, Kind.TCKN}}

every_language = pytest.mark.parametrize("language", Language)


def outside(sentence: Sentence) -> str:
    """The sentence with its identifiers blanked."""
    text = sentence.text
    for identifier in sentence.identifiers:
        text = text[: identifier.start] + "\0" * (identifier.end - identifier.start) + text[identifier.end :]
    return text


@every_language
def test_a_corpus_is_large_and_mostly_written_one_by_one(language):
    sentences = read_corpus(language)
    assert len(sentences) >= 420
    assert sum(sentence.template for sentence in sentences) <= len(sentences) / 5


@every_language
def test_a_third_of_a_corpus_holds_something_to_leave_alone(language):
    sentences = read_corpus(language)
    assert sum(sentence.hard_negative for sentence in sentences) >= 0.35 * len(sentences)
    assert sum(bool(sentence.look_alike and sentence.identifiers) for sentence in sentences) >= 30


@every_language
def test_every_kind_occurs_often_enough_to_say_something(language):
    counts = Counter(identifier.kind for sentence in read_corpus(language) for identifier in sentence.identifiers)
    assert {kind for kind in Kind if counts[kind] < 4} <= RARE[language]


@every_language
def test_no_sentence_and_no_checked_number_occurs_twice(language):
    sentences = read_corpus(language)
    texts = Counter(" ".join(sentence.text.casefold().split()) for sentence in sentences)
    assert [text for text, count in texts.items() if count > 1] == []
    numbers = Counter(
        sentence.text_of(identifier).replace(" ", "")
        for sentence in sentences
        for identifier in sentence.identifiers
        if identifier.kind in CHECKED
    )
    assert [number for number, count in numbers.items() if count > 1] == []


@every_language
def test_spans_are_trimmed_in_order_and_apart(language):
    for sentence in read_corpus(language):
        position = 0
        for identifier in sentence.identifiers:
            text = sentence.text_of(identifier)
            assert position <= identifier.start < identifier.end <= len(sentence.text), sentence.name
            assert text[0].isalnum() or text[0] in "@+(", (sentence.name, text)
            assert text[-1].isalnum() or text[-1] in ")/" or re.search(r"\b[^\W\d]{1,4}\.$", text), (
                sentence.name,
                text,
            )
            position = identifier.end


@every_language
def test_check_digits_are_right_unless_they_are_marked_wrong(language):
    for sentence in read_corpus(language):
        for identifier in sentence.identifiers:
            text = sentence.text_of(identifier).replace(" ", "")
            if identifier.kind in CHECKED:
                assert CHECKED[identifier.kind].is_valid(text) is not identifier.check_digits_wrong, (
                    sentence.name,
                    text,
                )
            else:
                assert not identifier.check_digits_wrong, (sentence.name, text)


@every_language
def test_nothing_that_is_plainly_an_identifier_was_left_unmarked(language):
    for sentence in read_corpus(language):
        rest = outside(sentence)
        assert not re.search(r"@|://|www\.", rest), sentence.name
        assert not any(tckimlik.is_valid(number) for number in re.findall(r"\b\d{11}\b", rest)), sentence.name
        assert not re.search(r"\b\d{1,2}[./]\d{1,2}[./](?:19|20)\d{2}\b", rest), sentence.name
        assert not re.search(r"\b\d{3}-\d{2}-\d{4}\b", rest), sentence.name
        assert not re.search(r"\b9\d(?:-year-old| yaşında)", rest), sentence.name


def test_marks_become_offsets_in_code_points():
    text, (name, number) = parse_marked("İlk: [[NAME:Işık 𝒳]]'in TC'si [[TCKN!:12345678901]].")
    assert text == "İlk: Işık 𝒳'in TC'si 12345678901."
    assert (text[name.start : name.end], name.kind, name.check_digits_wrong) == ("Işık 𝒳", Kind.NAME, False)
    assert (text[number.start : number.end], number.kind, number.check_digits_wrong) == ("12345678901", Kind.TCKN, True)


@pytest.mark.parametrize("marked", ["[[NAME:Ayşe", "[[NOBODY:Ayşe]]", "Ayşe]]"])
def test_a_broken_mark_is_refused(marked):
    with pytest.raises(CorpusError):
        parse_marked(marked)
