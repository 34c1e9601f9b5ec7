"""Reports at a real FHIR server: found again, changed only by news, there exactly once whatever the network does."""

import base64
import json
import logging
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adapters.fhir import (
    Dead,
    Delivered,
    DestinationSettingsError,
    EmbeddedPatient,
    FhirDestination,
    FhirServerSettings,
    Held,
    MatchedPatient,
    Retry,
    Superseded,
    build_withdrawal,
)  # fmt: skip
from tests.fhir.samples import (
    AYSE,
    HEATMAP,
    ISSUED,
    ISSUER,
    NORMAL,
    PLANTED,
    PNEUMONIA,
    REPORT_ID,
    STUDY,
    SYSTEM,
    document,
    finding,
    image,
    patient,
    resources,
    result,
    unusable,
)  # fmt: skip
from tests.peers.certificates import certificate_for
from tests.peers.fault_proxy import Fault, FaultProxy, Instead, writes
from tests.peers.medplum import FhirServer
from tests.planted import search_bytes

pytestmark = pytest.mark.node

TOKEN = f"urn:ietf:rfc:3986|urn:uuid:{REPORT_ID}"
KINDS = ("Device", "DiagnosticReport", "Media", "Observation", "Provenance")


@pytest.fixture
def destination(fhir_server: FhirServer):
    return FhirDestination(FhirServerSettings("ehr", fhir_server.url, {ISSUER: SYSTEM}))


@pytest.fixture
def proxy(fhir_server: FhirServer):
    with FaultProxy(fhir_server.url) as made:
        yield made


@pytest.fixture
def through_proxy(proxy: FaultProxy):
    settings = FhirServerSettings("ehr", proxy.url, {ISSUER: SYSTEM}, timeout_seconds=1.0)
    return FhirDestination(settings)


def everything(server: FhirServer):
    return {kind: server.search(kind) for kind in KINDS}


def the_report_there(server: FhirServer):
    (report,) = server.search("DiagnosticReport", identifier=TOKEN)
    return report


def test_report_of_the_matched_patient_is_found_again(fhir_server, destination):
    stored = fhir_server.create(patient())
    matched = destination.match_patient(AYSE)
    assert matched == MatchedPatient(f"Patient/{stored['id']}", SYSTEM, AYSE.patient_id)
    assert destination.deliver(document(subject=matched)) == Delivered(200)
    report = the_report_there(fhir_server)
    assert fhir_server.search("DiagnosticReport", subject=f"Patient/{stored['id']}") == [report]
    assert report["status"] == "partial"
    observations = fhir_server.search("Observation", subject=f"Patient/{stored['id']}")
    assert {r["reference"] for r in report["result"]} == {f"Observation/{o['id']}" for o in observations}
    (device,) = fhir_server.search("Device")
    assert {o["device"]["reference"] for o in observations} == {f"Device/{device['id']}"}
    (provenance,) = fhir_server.search("Provenance", target=f"DiagnosticReport/{report['id']}")
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{device['id']}"
    assert "urn:uuid:" not in json.dumps([report["result"], report["subject"], provenance["target"]])


@pytest.mark.parametrize(
    "made",
    [
        document(),
        document(subject=EmbeddedPatient(AYSE, None)),
        document(study_result=result(unusable("lateral image"))),
        document(revision=2, previous=document(), study_result=result(image(finding(PNEUMONIA, 1e-7)))),
        document(study=replace(STUDY, started="", accession_number="")),
        build_withdrawal(document(), 2, ISSUED, STUDY),
        document(heatmaps=(HEATMAP, HEATMAP)),
        document(subject=EmbeddedPatient(AYSE, None), heatmaps=(HEATMAP,)),
        build_withdrawal(document(heatmaps=(HEATMAP,)), 2, ISSUED, STUDY),
    ],
    ids=[
        *("matched", "embedded", "not analysable", "later revision", "little known", "withdrawal"),
        *("heatmaps", "embedded with heatmap", "withdrawal of a heatmap"),
    ],
)
def test_each_kind_of_document_is_valid_by_an_independent_validator(fhir_server, made):
    assert fhir_server.problems(json.loads(made)) == []
    for kind in KINDS:
        for resource in resources(made, kind):
            assert fhir_server.problems(resource) == []


def test_validator_can_find_something(fhir_server):
    (report,) = resources(document(), "DiagnosticReport")
    assert fhir_server.problems(report | {"performer": "x"})
    assert fhir_server.problems({k: v for k, v in report.items() if k != "code"})
    bundle = json.loads(document())
    bundle["entry"][1]["resource"]["surprise"] = 1
    assert fhir_server.problems(bundle)


def test_second_delivery_changes_nothing(fhir_server, destination):
    assert destination.deliver(document()) == Delivered(200)
    before = everything(fhir_server)
    assert destination.deliver(document()) == Delivered(already=True)
    assert FhirDestination(destination.settings).deliver(document()) == Delivered(already=True)  # after a restart
    assert everything(fhir_server) == before  # with meta.versionId and meta.lastUpdated
    assert all(fhir_server.versions(r) == 1 for found in before.values() for r in found)


def test_rest_of_a_report_that_got_lost_is_completed_not_doubled(fhir_server, destination):
    """As on a server that does not keep a transaction whole: all is there but the report, the last to be written."""
    made = document(heatmaps=(HEATMAP,))
    destination.deliver(made)
    fhir_server.delete(the_report_there(fhir_server))
    assert destination.deliver(made) == Delivered(200)
    assert {kind: len(found) for kind, found in everything(fhir_server).items()} == {
        "Device": 1, "DiagnosticReport": 1, "Media": 1, "Observation": 3, "Provenance": 1,
    }  # fmt: skip


def test_later_revision_updates_the_report_and_withdraws_what_it_lacks(fhir_server, destination):
    first = document()
    destination.deliver(first)
    before = the_report_there(fhir_server)
    second = document(revision=2, previous=first, study_result=result(image(finding(PNEUMONIA, 0.6)), forced=True))
    assert destination.deliver(second) == Delivered(200)
    after = the_report_there(fhir_server)
    assert after["id"] == before["id"]
    assert fhir_server.versions(after) == 2
    assert "Revision 2" in after["text"]["div"]
    statuses = {o["code"]["coding"][0]["code"]: o["status"] for o in fhir_server.search("Observation")}
    assert statuses[PNEUMONIA.code] == "preliminary"
    assert statuses[NORMAL.code] == "entered-in-error"
    assert len(fhir_server.search("Observation")) == 3
    assert len(fhir_server.search("Provenance")) == 2
    assert destination.deliver(first) == Superseded(2)
    assert the_report_there(fhir_server) == after


def test_withdrawal_leaves_nothing_standing(fhir_server, destination):
    destination.deliver(document())
    assert destination.deliver(build_withdrawal(document(), 2, ISSUED, STUDY)) == Delivered(200)
    standing = [*fhir_server.search("DiagnosticReport"), *fhir_server.search("Observation")]
    assert {resource["status"] for resource in standing} == {"entered-in-error"}


def test_heatmaps_are_there_once_follow_the_revision_and_are_withdrawn_with_it(fhir_server, destination):
    first = document(heatmaps=(HEATMAP, HEATMAP))
    assert destination.deliver(first) == Delivered(200)
    before = everything(fhir_server)
    assert destination.deliver(first) == Delivered(already=True)
    assert everything(fhir_server) == before
    report = the_report_there(fhir_server)
    assert {m["link"]["reference"] for m in report["media"]} == {f"Media/{m['id']}" for m in before["Media"]}
    assert [base64.b64decode(m["content"]["data"]) for m in before["Media"]] == [HEATMAP.png] * 2
    second = document(revision=2, previous=first, heatmaps=(HEATMAP,))
    assert destination.deliver(second) == Delivered(200)
    assert sorted(m["status"] for m in fhir_server.search("Media")) == ["completed", "entered-in-error"]
    assert destination.deliver(build_withdrawal(second, 3, ISSUED, STUDY)) == Delivered(200)
    left = fhir_server.search("Media")
    assert [m["status"] for m in left] == ["entered-in-error"] * 2
    assert not any("data" in m["content"] for m in left)


def test_heatmap_of_a_report_whose_answer_was_lost_is_there_once(fhir_server, proxy, through_proxy):
    proxy.plan(Fault.DROP_ANSWER)
    assert through_proxy.deliver(document(heatmaps=(HEATMAP,))) == Delivered(already=True)
    assert len(fhir_server.search("Media")) == 1


def test_report_that_a_person_signed_is_left_alone(fhir_server, destination):
    destination.deliver(document())
    signed = the_report_there(fhir_server) | {"status": "final"}
    fhir_server.update(signed)
    assert isinstance(destination.deliver(document(revision=2)), Held)
    assert the_report_there(fhir_server)["status"] == "final"


def test_reports_of_one_model_share_its_device_even_when_they_come_at_once(fhir_server, destination):
    documents = [document(report_id=uuid4()) for _ in range(8)]
    outcomes = []
    threads = [threading.Thread(target=lambda d=d: outcomes.append(destination.deliver(d))) for d in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Delivered(200)] * 8
    assert len(fhir_server.search("Device")) == 1
    assert len(fhir_server.search("DiagnosticReport")) == 8


def test_two_patients_with_one_identifier_are_held(fhir_server, destination):
    fhir_server.create(patient())
    fhir_server.create(patient())
    assert isinstance(destination.match_patient(AYSE), Held)


@pytest.mark.parametrize(
    "changes", [{"birthDate": "1980-01-01"}, {"name": [{"family": "Örnekoğlu", "given": ["Fatma"]}]}, {"active": False}]
)
def test_patient_who_contradicts_the_study_is_held(fhir_server, destination, changes):
    fhir_server.create(patient(**changes))
    held = destination.match_patient(AYSE)
    assert isinstance(held, Held)
    assert not search_bytes(repr(held).encode(), PLANTED, "the reason")


def test_patient_nobody_knows_is_held(destination):
    assert isinstance(destination.match_patient(AYSE), Held)


@pytest.mark.parametrize("fault", [Fault.DROP_ANSWER, Fault.SILENCE, Fault.TRUNCATE])
def test_lost_answer_is_resolved_by_looking_and_the_report_is_there_once(fhir_server, proxy, through_proxy, fault):
    proxy.plan(fault)
    assert through_proxy.deliver(document()) == Delivered(already=True)
    assert sum(writes(request) for request in proxy.seen) == 1
    assert fhir_server.versions(the_report_there(fhir_server)) == 1


def test_request_that_never_arrived_is_sent_again_by_the_next_attempt(fhir_server, proxy, through_proxy):
    proxy.plan(Fault.RESET_BEFORE)
    assert isinstance(through_proxy.deliver(document()), Retry)
    assert fhir_server.search("DiagnosticReport") == []
    assert through_proxy.deliver(document()) == Delivered(200)
    assert len(fhir_server.search("DiagnosticReport")) == 1


def test_network_that_fails_at_every_turn_still_leaves_one_report(fhir_server, proxy, through_proxy):
    faults = [Fault.DROP_ANSWER, Fault.RESET_BEFORE, Instead(503), Fault.TRUNCATE, Fault.DROP_ANSWER, Instead(429)]
    proxy.plan(*faults, picks=lambda _: True)
    outcomes = []
    while not outcomes or isinstance(outcomes[-1], Retry):
        outcomes.append(through_proxy.deliver(document()))
        assert len(outcomes) < 10
    assert isinstance(outcomes[-1], Delivered)
    assert len(fhir_server.search("DiagnosticReport")) == 1
    assert len(fhir_server.search("Observation")) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_handed_on(proxy, through_proxy, status):
    proxy.plan(Instead(status, {"Retry-After": "3600"}))
    before = datetime.now(UTC)
    outcome = through_proxy.deliver(document())
    assert isinstance(outcome, Retry)
    assert outcome.status == status
    assert before + timedelta(hours=1) <= outcome.not_before <= datetime.now(UTC) + timedelta(hours=1)


def test_server_that_is_not_there_means_later():
    nobody = FhirDestination(FhirServerSettings("ehr", "http://127.0.0.1:9/fhir", {ISSUER: SYSTEM}))
    assert isinstance(nobody.deliver(document()), Retry)
    assert isinstance(nobody.match_patient(AYSE), Retry)


def test_redirect_takes_identified_data_nowhere(proxy, through_proxy):
    proxy.plan(Instead(307, {"Location": "http://elsewhere.example/"}))
    assert isinstance(through_proxy.deliver(document()), Dead)
    assert [request.path for request in proxy.seen] == ["/fhir/DiagnosticReport/_search", "/fhir"]


def test_refusal_of_the_real_server_becomes_a_dead_letter_without_identifiers(fhir_server, destination):
    broken = json.loads(document())
    broken["entry"][-1]["resource"][AYSE.patient_id] = "surprise"  # the server names the property in its answer
    outcome = destination.deliver(json.dumps(broken).encode())
    assert isinstance(outcome, Dead)
    assert outcome.outcome.startswith("error structure")
    assert fhir_server.search("Observation") == []  # all or nothing


def test_dead_letter_of_a_server_that_quotes_the_patient_holds_no_identifier(proxy, through_proxy):
    said = {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error", "code": "invalid",
                "diagnostics": " ".join(PLANTED), "details": {"text": "AYŞEGÜL"},
                "expression": ["Bundle.entry[1].resource.ofType(Observation).subject", "Patient.ÖRNEKOĞLU"],
            }
        ],
    }  # fmt: skip
    proxy.plan(Instead(422, {"Content-Type": "application/fhir+json"}, json.dumps(said).encode()))
    outcome = through_proxy.deliver(document())
    assert isinstance(outcome, Dead)
    assert outcome.outcome == "error invalid at Bundle.entry[1].resource.ofType(Observation).subject"
    assert not search_bytes(repr(outcome).encode(), PLANTED, "the outcome")


def test_no_identifier_is_logged_or_stands_in_a_url(fhir_server, proxy, through_proxy, caplog):
    caplog.set_level(logging.DEBUG)
    fhir_server.create(patient())
    proxy.plan(Fault.DROP_ANSWER, Instead(400, body=" ".join(PLANTED).encode()))
    through_proxy.match_patient(AYSE)
    through_proxy.deliver(document())
    through_proxy.deliver(document(revision=2))
    assert proxy.seen
    said = caplog.text + "".join(request.path for request in proxy.seen) + repr(through_proxy.settings)
    assert not search_bytes(said.encode(), PLANTED, "the log")
    bodies = b"".join(request.body for request in proxy.seen)
    assert search_bytes(bodies, PLANTED, "the bodies")  # so the search can find something


def test_bearer_token_is_sent_and_renewed_from_its_file_but_never_shown(proxy, tmp_path):
    file = tmp_path / "token"
    file.write_text("first-token\n")
    settings = FhirServerSettings("ehr", proxy.url, token_file=file)
    destination = FhirDestination(settings)
    destination.deliver(document())
    file.write_text("second-token")
    destination.deliver(document(revision=2))
    sent = [request.headers["Authorization"] for request in proxy.seen]
    assert sent == ["Bearer first-token"] * 2 + ["Bearer second-token"] * 2
    assert "secret-token" not in repr(FhirServerSettings("ehr", proxy.url, token="secret-token"))


def test_unreadable_token_means_later_and_sends_nothing(proxy, tmp_path):
    for settings in (
        FhirServerSettings("ehr", proxy.url, token_file=tmp_path / "missing"),
        FhirServerSettings("ehr", proxy.url, token="two words\r\nX: y"),
    ):
        outcome = FhirDestination(settings).deliver(document())
        assert isinstance(outcome, Retry)
        assert "two words" not in outcome.reason
    assert proxy.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://ehr.example/fhir",
        "ftp://ehr.example",
        "https://user:secret@ehr.example",
        "https://",
        "fhir",
        "https://e/?x",
    ],
)
def test_address_that_would_carry_data_in_the_clear_is_refused(url):
    with pytest.raises(DestinationSettingsError) as error:
        FhirServerSettings("ehr", url)
    assert "secret" not in str(error.value)


def test_certificate_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(DestinationSettingsError, match="ca_file"):
            FhirDestination(FhirServerSettings("ehr", "https://localhost/fhir", ca_file=file))


@pytest.mark.parametrize(
    ("name", "trusted", "delivered"),
    [("localhost", True, True), ("localhost", False, False), ("other.example", True, False)],
)
def test_server_must_prove_who_it_is(fhir_server, tmp_path, name, trusted, delivered):
    certificate = certificate_for(name, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultProxy(fhir_server.url, context) as proxy:
        settings = FhirServerSettings("ehr", proxy.url, ca_file=certificate if trusted else None)
        outcome = FhirDestination(settings).deliver(document())
        assert isinstance(outcome, Delivered if delivered else Retry)
        assert bool(proxy.seen) is delivered
