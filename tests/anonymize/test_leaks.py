"""Nothing planted in the hiding places of `benchmarks/leak_places` survives, and nothing technical is lost.

The places are written from the standard, not from the engine. The short form takes a few files of each place from a
fixed seed; the long form every combination of syntax, character set and depth.
"""

from collections import Counter
from pathlib import Path

import pytest

from anonymize import Option, Policy
from benchmarks import leaks
from benchmarks.leak_places import PLACES, Place, kept, listing, study, whole_files
from benchmarks.leak_places.encoding import EXPLICIT_LITTLE, Element, Syntax, encode, numbers, text
from benchmarks.leak_places.search import survivors
from benchmarks.leak_places.trial import PATIENT, Outcome, cases, plant, run

SEED = 1
FILES = 6
NAMES = [place.name for place in PLACES]
OVERLAYS = [place for place in PLACES if "overlay" in place.name]


def _what_is_wrong(outcomes: list[Outcome]) -> list[str]:
    wrong = [f"{o.case.name}: {s.label} survived, {s.view}: {s.form!r}" for o in outcomes for s in o.survivors]
    wrong += [f"{o.case.name}: raised {o.broken}" for o in outcomes if o.broken]
    wrong += [f"{o.case.name}: lost {name}" for o in outcomes for name in o.lost]
    wrong += [f"{o.case.name}: quarantined ({o.refused})" for o in outcomes if o.refused and o.case.place.provable]
    return wrong


def _as_file(data_set: bytes, syntax: Syntax) -> bytes:
    meta = encode([Element(0x00020001, "OB", b"\0\1"), text(0x00020010, "UI", syntax.value)], EXPLICIT_LITTLE)
    length = encode([numbers(0x00020000, "UL", len(meta))], EXPLICIT_LITTLE)
    return bytes(128) + b"DICM" + length + meta + data_set


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_nothing_planted_there_survives(place: Place) -> None:
    wrong = _what_is_wrong([run(case) for case in cases(place, SEED, FILES)])
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("place", OVERLAYS, ids=[place.name for place in OVERLAYS])
def test_nothing_planted_in_an_overlay_survives_where_graphics_are_cleaned(place: Place) -> None:
    policy = Policy(frozenset({Option.CLEAN_GRAPHICS}))
    wrong = _what_is_wrong([run(case, policy) for case in cases(place, SEED, FILES)])
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_nothing_planted_there_survives_in_any_combination(place: Place) -> None:
    wrong = _what_is_wrong([run(case) for case in cases(place, SEED + 1, None)])
    assert not wrong, "\n".join(wrong[:20])


def test_nothing_of_a_files_header_survives_the_command() -> None:
    wrong = _what_is_wrong(list(whole_files.run_all([c for p in whole_files.PLACES for c in cases(p, SEED, 2)])))
    assert not wrong, "\n".join(wrong[:20])


def test_the_search_finds_every_token_where_nothing_was_removed() -> None:
    missed = []
    for place in PLACES:
        for case in cases(place, SEED, 2):
            instance, witnesses = plant(case)
            found = {s.label for s in survivors(_as_file(instance.data_set(case.syntax), case.syntax), witnesses)}
            # A place may put its own attribute where the base had one.
            missed += [f"{case.name}: {w.label}" for w in witnesses if w.label not in found and "base: " not in w.label]
    assert not missed, "\n".join(missed[:20])


def test_the_document_lists_the_places() -> None:
    document = Path(__file__).parents[2] / "docs" / "hiding-places.md"
    assert document.read_text(encoding="utf-8") == listing.markdown(leaks.ALL_PLACES)


def test_places_cover_the_syntaxes_character_sets_and_depths() -> None:
    taken = [case for place in PLACES for case in cases(place, SEED, FILES)]
    assert len(PLACES) >= 70
    assert len({place.name for place in PLACES}) == len(PLACES)
    assert {case.syntax for case in taken} == set(Syntax)
    assert len({case.character_set for case in taken}) >= 5
    assert set(Counter(case.depth for case in taken)) == {0, 1, 2, 3}


@pytest.mark.parametrize("syntax", [Syntax.IMPLICIT, Syntax.EXPLICIT, Syntax.BIG_ENDIAN])
def test_no_technical_attribute_is_lost(syntax: Syntax) -> None:
    survey = kept.survey(syntax)
    assert not survey.lost, "\n".join(survey.lost)


def test_references_of_a_study_lead_where_they_led() -> None:
    graph = study.follow(SEED)
    assert not graph.wrong
    assert graph.kept > 100
    assert graph.uids >= 14  # the study, 4 series, 8 instances, a frame of reference


def test_dates_of_a_study_keep_their_intervals_where_modified_dates_are_retained() -> None:
    graph = study.follow(SEED, Policy(frozenset({Option.RETAIN_LONGITUDINAL_MODIFIED_DATES})))
    assert not graph.wrong
    assert graph.dates_kept > 20
    assert graph.offsets == {PATIENT.date_offset_days}
