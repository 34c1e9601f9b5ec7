"""What a report says, and what it must never say."""

import base64
import json
import re
from dataclasses import replace
from uuid import UUID
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir import (
    DocumentError,
    EmbeddedPatient,
    ReportError,
    ReportMarker,
    ReportStatus,
    Stamp,
    build_report,
    build_withdrawal,
)
from adapters.fhir.conclusion import percent
from adapters.fhir.wording import ENGLISH
from pipelines.results import Coding, Finding
from tests.fhir.samples import (
    AYSE,
    COVID,
    HEATMAP,
    ISSUED,
    MODEL,
    NORMAL,
    PNEUMONIA,
    REPORT_ID,
    STUDY,
    document,
    finding,
    image,
    request,
    resources,
    result,
    the_report,
    unusable,
)  # fmt: skip


def component(observation, code):
    (found,) = [c for c in observation["component"] if c["code"]["coding"][0]["code"] == code]
    return found.get("valueQuantity", {}).get("value", found.get("valueInteger"))


def test_same_request_gives_the_same_bytes():
    assert document() == document()


def test_report_is_partial_or_preliminary_as_the_destination_wants():
    assert the_report(document())["status"] == "partial"
    assert the_report(document(status=ReportStatus.PRELIMINARY))["status"] == "preliminary"


def test_no_request_can_ask_for_another_status():
    for status in (ReportStatus.CANCELLED, ReportStatus.WITHDRAWN):
        with pytest.raises(ReportError, match="until a person signs off"):
            request(status=status)


def test_each_finding_is_an_observation_with_verdict_probability_and_threshold():
    observations = resources(document(), "Observation")
    assert [o["code"]["coding"][0]["code"] for o in observations] == [NORMAL.code, PNEUMONIA.code, COVID.code]
    assert [o["valueCodeableConcept"]["text"] for o in observations] == ["not detected", "detected", "not detected"]
    assert [o["interpretation"][0]["coding"][0]["code"] for o in observations] == ["NEG", "POS", "NEG"]
    assert [component(o, "probability") for o in observations] == [0.08, 0.87, 0.05]
    assert [component(o, "threshold") for o in observations] == [0.5, 0.5, 0.5]
    assert {o["status"] for o in observations} == {"preliminary"}


def test_findings_of_several_images_become_one_observation_with_the_highest_probability():
    several = result(image(finding(PNEUMONIA, 0.2), number=1), image(finding(PNEUMONIA, 0.7), number=2))
    (observation,) = resources(document(study_result=several), "Observation")
    assert component(observation, "probability") == 0.7
    assert (component(observation, "images-analysed"), component(observation, "images-reaching")) == (2, 1)
    assert "on 1 of 2 images" in observation["text"]["div"]


def test_report_names_no_pseudonymous_uid():
    several = result(image(finding(PNEUMONIA, 0.2), number=778899), unusable("lateral image", number=665544))
    text = document(study_result=several).decode()
    assert "778899" not in text
    assert "665544" not in text


def test_report_points_at_study_order_patient_and_algorithm():
    made = document()
    report, (device,) = the_report(made), resources(made, "Device")
    assert report["imagingStudy"][0]["identifier"] == {
        "system": "urn:dicom:uid", "value": f"urn:oid:{STUDY.study_instance_uid}",
    }  # fmt: skip
    assert report["basedOn"][0]["identifier"]["value"] == STUDY.accession_number
    assert report["subject"]["reference"] == "Patient/ayse"
    assert report["code"]["coding"][0]["code"] == "30745-4"
    assert report["effectiveDateTime"] == STUDY.started
    assert device["version"] == [{"value": "1.0.0"}]
    assert device["property"][0]["valueCode"] == [{"text": MODEL.weights_sha256}]


def test_every_reference_within_the_bundle_leads_somewhere():
    newer = result(image(finding(PNEUMONIA, 0.9)), model=replace(MODEL, version="2.0.0"))
    made = document(previous=document(), study_result=newer)
    bundle = json.loads(made)
    there = {entry["fullUrl"] for entry in bundle["entry"]}
    asked = set(re.findall(r'"reference":"(urn:uuid:[^"]+)"', made.decode()))
    assert asked
    assert asked <= there


def test_placeholders_differ_from_all_identifiers():
    made = document()
    placeholders = {entry["fullUrl"] for entry in json.loads(made)["entry"]}
    assert not placeholders & set(re.findall(r'"(?:value|code)":"(urn:uuid:[^"]+)"', made.decode()))


def test_report_is_the_last_entry_to_be_written():
    assert json.loads(document())["entry"][-1]["resource"]["resourceType"] == "DiagnosticReport"


def test_narrative_and_conclusion_say_that_no_person_has_reviewed_the_result():
    for resource in [the_report(document()), *resources(document(), "Observation")]:
        assert ENGLISH.unreviewed.body in resource["text"]["div"]
    assert str(ENGLISH.unreviewed) in the_report(document())["conclusion"]


@pytest.mark.parametrize("research", [True, False])
def test_research_model_is_called_one_everywhere(research):
    made = document(study_result=result(model=replace(MODEL, research_only=research)))
    said = [the_report(made)["conclusion"], the_report(made)["text"]["div"], json.dumps(resources(made, "Device"))]
    said += [o["text"]["div"] for o in resources(made, "Observation")]
    assert all((ENGLISH.research.body in text) is research for text in said)


@pytest.mark.parametrize("forced", [True, False])
def test_study_closed_by_a_limit_is_called_incomplete(forced):
    conclusion = the_report(document(study_result=result(forced=forced)))["conclusion"]
    assert (str(ENGLISH.incomplete) in conclusion) is forced


def test_study_that_could_not_be_analysed_is_reported_as_cancelled_with_the_reasons():
    report = the_report(document(study_result=result(unusable("lateral image"), unusable("lateral image", 3))))
    assert report["status"] == "cancelled"
    assert "result" not in report
    assert "gave no answer about this study. Lateral image." in report["conclusion"]


def test_images_left_out_are_told():
    report = the_report(document(study_result=result(image(finding(NORMAL, 0.9)), unusable("lateral image"))))
    assert report["status"] == "partial"
    assert "1 of 2 could not be analysed. Lateral image." in report["conclusion"]


def test_images_that_the_algorithm_does_not_take_are_told():
    of_one = result(image(finding(NORMAL, 0.9)))
    assert "does not take" not in the_report(document(study_result=of_one))["conclusion"]
    report = the_report(document(study_result=replace(of_one, received_instances=3)))
    assert "2 of 3 received are of a kind that the algorithm does not take." in report["conclusion"]


def test_later_revision_keeps_identifiers_and_shows_its_number():
    first = document()
    second = document(revision=2, previous=first)
    assert [o["identifier"] for o in resources(first, "Observation")] == [
        o["identifier"] for o in resources(second, "Observation")
    ]
    assert the_report(first)["identifier"][0] == the_report(second)["identifier"][0]
    assert the_report(second)["identifier"][1]["value"].startswith("r2-")
    assert "Revision 2" in the_report(second)["text"]["div"]
    assert ReportMarker.of_document(second).revision == 2


def test_finding_that_a_later_revision_lacks_is_withdrawn_and_stays_so():
    first = document()
    second = document(revision=2, previous=first, study_result=result(image(finding(PNEUMONIA, 0.9))))
    third = document(revision=3, previous=second, study_result=result(image(finding(PNEUMONIA, 0.6))))
    for made in (second, third):
        statuses = {o["code"]["coding"][0]["code"]: o["status"] for o in resources(made, "Observation")}
        assert statuses == {
            PNEUMONIA.code: "preliminary", NORMAL.code: "entered-in-error", COVID.code: "entered-in-error",
        }  # fmt: skip
        assert len(the_report(made)["result"]) == 1
        assert not any("component" in o for o in resources(made, "Observation") if o["status"] == "entered-in-error")
    fourth = document(revision=4, previous=third)
    assert {o["status"] for o in resources(fourth, "Observation")} == {"preliminary"}


def test_withdrawal_takes_back_report_and_findings():
    made = build_withdrawal(document(), 2, ISSUED, STUDY)
    report = the_report(made)
    assert report["status"] == "entered-in-error"
    assert report["subject"]["reference"] == "Patient/ayse"
    assert {o["status"] for o in resources(made, "Observation")} == {"entered-in-error"}
    assert "probability" not in json.dumps([report, *resources(made, "Observation")])
    assert ReportMarker.of_document(made).report_id == REPORT_ID


def test_marker_changes_with_the_content():
    assert ReportMarker.of_document(document()) == ReportMarker.of_document(document())
    changed = document(study_result=result(forced=True))
    assert ReportMarker.of_document(changed) != ReportMarker.of_document(document())


def test_other_bytes_are_no_document_and_the_error_does_not_quote_them():
    for data in (b"", b"ORNEK", b"[]", b'{"type":"transaction","entry":[]}', b"\xff", b'{"entry":[{"resource":{}}]}'):
        with pytest.raises(DocumentError) as error:
            ReportMarker.of_document(data)
        assert "ORNEK" not in str(error.value)


def test_embedded_patient_is_told_within_the_report():
    report = the_report(document(subject=EmbeddedPatient(AYSE, None)))
    (patient,) = report["contained"]
    assert patient["name"] == [{"family": "ÖRNEKOĞLU", "given": ["AYŞEGÜL"], "text": "AYŞEGÜL ÖRNEKOĞLU"}]
    assert (patient["birthDate"], patient["gender"]) == ("1971-02-03", "female")
    assert report["subject"] == {"reference": "#patient"}


def test_embedded_patient_of_whom_nothing_is_known_makes_a_valid_report():
    nobody = replace(AYSE, patient_id="", issuer="", name="^^^", birth_date="1971", sex="")
    made = document(subject=EmbeddedPatient(nobody, None))
    assert the_report(made)["contained"] == [{"resourceType": "Patient", "id": "patient"}]
    assert not any("subject" in o for o in resources(made, "Observation"))


@pytest.mark.parametrize("started", ["", "2026-03-01", "2026-03-01T11:58:07.123456+03:00", "2026-03-01T11:58:07+00:00"])
def test_start_of_the_study_is_kept_as_far_as_it_is_known(started):
    report = the_report(document(study=replace(STUDY, started=started)))
    assert report.get("effectiveDateTime", "").replace("Z", "+00:00") == started


@pytest.mark.parametrize("started", ["2026-03-01T11:58:07", "01.03.2026", "ÖRNEK"])
def test_time_without_offset_or_sense_makes_no_report(started):
    with pytest.raises(ReportError) as error:
        document(study=replace(STUDY, started=started))
    assert started not in str(error.value)


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2.3 ", "1" * 65])
def test_study_without_a_proper_uid_makes_no_report(uid):
    with pytest.raises(ReportError) as error:
        document(study=replace(STUDY, study_instance_uid=uid))
    assert uid == "" or uid not in str(error.value)


def test_time_of_issue_needs_an_offset():
    with pytest.raises(ReportError, match="offset"):
        Stamp(REPORT_ID, 1, ISSUED.replace(tzinfo=None), STUDY)


@pytest.mark.parametrize("probability", [-0.1, 1.01, float("nan"), float("inf")])
def test_probability_outside_its_range_makes_no_report(probability):
    with pytest.raises(ReportError, match="outside 0 to 1"):
        document(study_result=result(image(finding(NORMAL, probability))))


def test_model_with_an_empty_text_makes_no_report_and_the_error_quotes_nothing():
    with pytest.raises(ReportError) as error:
        document(study_result=result(image(finding(Coding("http://snomed.info/sct", "", "Örnek bulgu"), 0.5))))
    assert "Örnek" not in str(error.value)


texts = st.text(min_size=1, max_size=40)


@given(label=texts, reason=texts, name=texts, accession=texts, report_id=st.uuids(version=4))
def test_no_text_breaks_the_narrative_or_becomes_markup(label, reason, name, accession, report_id: UUID):
    odd = Finding("x" + label, PNEUMONIA, 0.5, 0.5)
    made = build_report(
        request(
            result(image(odd), unusable(reason)),
            report_id=report_id,
            subject=EmbeddedPatient(replace(AYSE, name=name), None),
            study=replace(STUDY, accession_number=accession),
        )
    )
    allowed = {"div", "p", "b", "table", "tr", "td", "th"}
    for resource in [the_report(made), *resources(made, "Observation")]:
        tree = ElementTree.fromstring(resource["text"]["div"])
        assert {element.tag.removeprefix("{http://www.w3.org/1999/xhtml}") for element in tree.iter()} <= allowed
    assert ReportMarker.of_document(made).report_id == report_id


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_is_shown_never_reaches_a_threshold_that_was_missed_by_what_can_be_seen(probability, threshold):
    shown = float(percent(probability).removesuffix(" %")), float(percent(threshold).removesuffix(" %"))
    if probability >= threshold:
        assert shown[0] >= shown[1]
    elif threshold - probability >= 0.001:
        assert shown[0] < shown[1]


@given(st.floats(0, 1))
def test_numbers_reach_the_document_with_all_their_digits(probability):
    made = document(study_result=result(image(finding(PNEUMONIA, probability))))
    assert component(resources(made, "Observation")[0], "probability") == probability


def test_heatmap_is_a_media_that_the_report_links_and_that_says_what_it_is():
    made = document(heatmaps=(HEATMAP, HEATMAP))
    first, second = resources(made, "Media")
    assert first["identifier"] != second["identifier"]
    assert first["status"] == "completed"
    assert base64.b64decode(first["content"]["data"]) == HEATMAP.png
    assert "not where a disease is" in first["text"]["div"]
    assert "meant for research" in first["text"]["div"]
    links = [media["link"]["reference"] for media in the_report(made)["media"]]
    urls = [e["fullUrl"] for e in json.loads(made)["entry"] if e["resource"]["resourceType"] == "Media"]
    assert links == urls
    assert resources(document(revision=2, heatmaps=(HEATMAP,)), "Media")[0]["identifier"] == first["identifier"]
    assert "media" not in the_report(document())


def test_heatmap_that_a_later_revision_lacks_is_withdrawn_without_its_picture():
    first = document(heatmaps=(HEATMAP, HEATMAP))
    for made in (
        document(revision=2, previous=first, heatmaps=(HEATMAP,)),
        document(revision=3, previous=document(revision=2, previous=first, heatmaps=(HEATMAP,)), heatmaps=(HEATMAP,)),
    ):
        kept, gone = resources(made, "Media")
        assert (kept["status"], gone["status"]) == ("completed", "entered-in-error")
        assert "data" not in gone["content"]
        assert len(the_report(made)["media"]) == 1


def test_withdrawal_takes_back_heatmaps():
    made = build_withdrawal(document(heatmaps=(HEATMAP,)), 2, ISSUED, STUDY)
    (gone,) = resources(made, "Media")
    assert gone["status"] == "entered-in-error"
    assert "data" not in gone["content"]
    assert "media" not in the_report(made)
    assert HEATMAP.label not in json.dumps(gone)
