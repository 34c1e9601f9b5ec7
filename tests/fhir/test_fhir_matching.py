"""Whose report it is: one patient beyond doubt, or a person decides."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir import Dead, Held, MatchedPatient, Retry
from adapters.fhir.matching import birth_dates_contradict, escaped, match_flow, names_contradict
from tests.fhir.flows import LOST, answer, found, run
from tests.fhir.samples import AYSE, ISSUER, PLANTED, SYSTEM, patient

SYSTEMS = {ISSUER: SYSTEM}
SETTING = "destinations.ehr.patient_systems"


def match(*replies, identity=AYSE, systems=SYSTEMS):
    return run(match_flow(identity, systems, SETTING), *replies)[0]


def ayse(**changes):
    return {"id": "17", **patient(**changes)}


def human(family=None, *given, **more):
    return {"family": family, "given": list(given), **more}


def test_the_one_patient_with_the_identifier_is_taken():
    assert match(found(ayse())) == MatchedPatient("Patient/17", SYSTEM, AYSE.patient_id)


def test_identifiers_travel_in_the_body_not_in_the_url():
    (request,) = run(match_flow(AYSE, SYSTEMS, SETTING), found())[1]
    assert request.resource_type == "Patient"
    assert request.parameters == {"identifier": f"{SYSTEM}|70013377"}
    assert "70013377" not in repr(request)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (found(), "no patient"),
        (found(ayse(), ayse(id="18")), "several patients"),
        (found(ayse(), link=[{"relation": "next", "url": "x"}]), "several patients"),
        (found(ayse(active=False)), "not active"),
        (found(ayse(link=[{"type": "replaced-by", "other": {"reference": "Patient/2"}}])), "replaced"),
        (found(ayse(birthDate="1971-02-04")), "birth date"),
        (found(ayse(name=[human("Örnekoğlu", "Fatma")])), "name"),
        (found(ayse(id="../17")), "no id"),
        (found(ayse(identifier=[{"system": SYSTEM, "value": "70013378"}])), "no patient"),
        (found(ayse(identifier=[{"system": "http://other.example", "value": "70013377"}])), "no patient"),
    ],
)
def test_anything_else_is_held_for_a_person(reply, reason):
    held = match(reply)
    assert isinstance(held, Held)
    assert reason in held.reason
    assert not [planted for planted in PLANTED if planted in str(held)]


def test_without_patient_id_or_known_issuer_nobody_is_asked_for():
    for identity in (replace(AYSE, patient_id=" "), replace(AYSE, issuer="ANDERES HAUS")):
        with pytest.raises(StopIteration) as end:
            next(match_flow(identity, SYSTEMS, SETTING))
        assert isinstance(end.value.value, Held)
        assert "ANDERES" not in end.value.value.reason


def test_what_the_settings_decide_is_said_with_their_key():
    with pytest.raises(StopIteration) as unknown:
        next(match_flow(replace(AYSE, issuer="ANDERES HAUS"), SYSTEMS, SETTING))
    assert SETTING in unknown.value.value.reason
    assert SETTING in match(found()).reason


def test_server_in_trouble_is_asked_again():
    assert isinstance(match(LOST), Retry)
    assert isinstance(match(answer(503)), Retry)
    assert isinstance(match(answer(200, {"resourceType": "Patient"})), Retry)
    assert isinstance(match(answer(403)), Dead)


@pytest.mark.parametrize(
    ("dicom", "fhir", "contradicts"),
    [
        ("19710203", "1971-02-03", False), ("19710203", "1971-02", False), ("19710203", "1971", False),
        ("19710203", "1971-03-02", True), ("19710203", "1972", True), ("19710203", None, False),
        ("", "1971-02-03", False), ("unknown", "1971-02-03", False), ("19710203", "junk", False),
    ],
)  # fmt: skip
def test_birth_dates_are_compared_as_far_as_both_are_known(dicom, fhir, contradicts):
    assert birth_dates_contradict(dicom, fhir) is contradicts


@pytest.mark.parametrize(
    ("dicom", "fhir", "contradicts"),
    [
        ("ÖRNEK^AYŞE", [human("Örnek", "Ayşe")], False),
        ("ORNEK^AYSE", [human("Örnek", "Ayşe")], False),
        ("IŞIK^ILGIN", [human("Işık", "Ilgın")], False),
        ("İNCE^İDİL", [human("İnce", "İdil")], False),
        ("ÖRNEK^AYŞE^NUR", [human("Örnek", "Ayşe")], False),
        ("ÖRNEK^AYŞE", [human("Örnek-Deneme", "Ayşe", "Nur")], False),
        ("ÖRNEK^A", [human("Örnek", "Ayşe")], False),
        ("ÖRNEK", [human("Örnek", "Ayşe")], False),
        ("DENEME^AYŞE", [human("Örnek", "Ayşe"), human("Deneme", "Ayşe", use="maiden")], False),
        ("ÖRNEK^AYŞE", [{"text": "Ayşe Örnek"}], False),
        ("Wang^XiaoDong=王^小東", [human("王", "小東")], False),
        ("", [human("Örnek")], False),
        ("^^", [human("Örnek")], False),
        ("ÖRNEK^AYŞE", [], False),
        ("ÖRNEK^AYŞE", [{"use": "official"}], False),
        ("ÖRNEK^AYŞE", [human("Örnek", "Fatma")], True),  # a twin: same family, same birth date
        ("ÖRNEK^AYŞE", [human("Deneme", "Ayşe")], True),
        ("AYŞE^ÖRNEK", [human("Örnek", "Ayşe")], True),
        ("AL-SAYED^ALI", [human("Al-Hasan", "Ali")], True),
        ("ÖRNEK^AYŞE", [{"text": "Fatma Örnek"}], True),
        ("王^小東", [human("王小", "小東")], True),
    ],
)  # fmt: skip
def test_names_agree_without_accents_case_and_further_names(dicom, fhir, contradicts):
    assert names_contradict(dicom, fhir) is contradicts


@given(st.text(max_size=20), st.lists(st.text(max_size=8), max_size=3))
def test_a_name_never_contradicts_itself(family, given):
    family, given = family.replace("^", "").replace("=", ""), [g.replace("^", "").replace("=", "") for g in given]
    assert not names_contradict(f"{family}^{' '.join(given)}", [human(family, *given)])


@given(st.text(max_size=30))
def test_no_patient_id_can_widen_the_search(value):
    """An unescaped comma would mean "or", a bar would begin another token (FHIR R4 3.1.1.4.4, 3.1.1.5.10)."""
    plain = escaped(value)
    undone, rest = "", plain
    while rest:
        if rest[0] == "\\":
            undone, rest = undone + rest[1], rest[2:]
        else:
            assert rest[0] not in ",|$"
            undone, rest = undone + rest[0], rest[1:]
    assert undone == value
