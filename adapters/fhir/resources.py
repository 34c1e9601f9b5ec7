"""The resources of a report: Device, Observation, Media, DiagnosticReport, Provenance; how they point at each other.

Identifiers and placeholders follow from the report's id alone, so every revision updates what the one before it made.
"""

import base64
import json
from collections import Counter
from uuid import uuid5

from adapters.fhir import codes
from adapters.fhir.codes import MediaStatus, ObservationStatus, ReportStatus
from adapters.fhir.conclusion import conclusions, heading, sentence, series, table, verdict, warnings
from adapters.fhir.datatypes import (
    Resource,
    coding_of,
    concept,
    date_time,
    instant,
    quantity,
    ratio,
    uri_identifier,
    without_nothing,
)
from adapters.fhir.errors import ReportError
from adapters.fhir.findings import StudyFinding
from adapters.fhir.marker import report_identifier
from adapters.fhir.narrative import clean, narrative
from adapters.fhir.request import Heatmap, ReportRequest, Stamp
from adapters.fhir.subjects import EmbeddedPatient, contained, subject_of_observation, subject_of_report
from adapters.fhir.wording import Statement, Wording
from pipelines.identity import StudyDescription
from pipelines.results import Coding, ModelIdentity


def full_url(resource: Resource) -> str:
    """A placeholder within the Bundle; never equal to an identifier: some servers replace it wherever it stands."""
    own = provenance_tag(resource)["code"] if resource["resourceType"] == "Provenance" else own_identifier(resource)
    return uuid5(codes.KOPRU, f"entry {own}").urn


def own_identifier(resource: Resource) -> str:
    """The value of a resource's first identifier, by which the destination is to know it."""
    value: str = resource["identifier"][0]["value"]
    return value


def provenance_tag(provenance: Resource) -> Resource:
    """The tag that stands in for an identifier, which R4 does not give to Provenance."""
    tag: Resource = provenance["meta"]["tag"][0]
    return tag


def device(model: ModelIdentity, words: Wording) -> Resource:
    """The algorithm. Its identifier follows from all that is told of it: one Device never changes its meaning."""
    notes = [words.intended_use.format(text=model.intended_use)]
    if model.research_only:
        notes.append(str(words.research))
    facts = [model.name, model.version, model.weights_sha256, model.intended_use, model.research_only, words.language]
    return {
        "resourceType": "Device",
        "language": words.language,
        "identifier": [uri_identifier(uuid5(codes.KOPRU, json.dumps(["Device", *facts])))],
        "status": "active",
        "deviceName": [{"name": clean(model.name), "type": "model-name"}],
        "type": {"text": words.algorithm},
        "version": [{"value": clean(model.version)}],
        "property": [{"type": {"text": words.weights}, "valueCode": [{"text": model.weights_sha256}]}],
        "note": [{"text": clean(note)} for note in notes],
    }


def observation(
    request: ReportRequest, finding: StudyFinding, algorithm: Resource, measures: list[Resource]
) -> Resource:
    """One finding. The code says what was looked for, the value whether the algorithm detected it; `measures` are the
    Observations of how much.
    """
    analysed, reaching = (
        (codes.SERIES_ANALYSED, codes.SERIES_REACHING)
        if finding.measured
        else (codes.IMAGES_ANALYSED, codes.IMAGES_REACHING)
    )
    said = concept(codes.DETECTED if finding.detected else codes.NOT_DETECTED, verdict(finding, request.wording))
    return without_nothing(
        _said_of(request, finding, algorithm, concept(finding.coding, finding.label))
        | {
            "valueCodeableConcept": said,
            "interpretation": [concept(codes.POSITIVE if finding.detected else codes.NEGATIVE)],
            "hasMember": [{"reference": full_url(measure)} for measure in measures],
            "component": [
                {"code": concept(codes.PROBABILITY), "valueQuantity": ratio(finding.probability)},
                {"code": concept(codes.THRESHOLD), "valueQuantity": ratio(finding.threshold)},
                {"code": concept(analysed), "valueInteger": finding.analysed},
                {"code": concept(reaching), "valueInteger": finding.reaching},
            ],
        }
    )


def measures_of(request: ReportRequest, finding: StudyFinding, algorithm: Resource) -> list[Resource]:
    """How much of a finding there is, an Observation for each series that was measured, in the result's order."""
    words = request.wording
    made = []
    for number, measured in enumerate(finding.measured):
        what = codes.MEASURES[measured.quantity.unit]
        said = words.measure.format(
            label=clean(finding.label), measure=what.display.lower(), series=series(measured, words)
        )
        observed = _said_of(request, finding, algorithm, concept(what, said), what.code, number)
        made.append(without_nothing(observed | {"valueQuantity": quantity(measured.quantity)}))
    return made


def _said_of(
    request: ReportRequest, finding: StudyFinding, algorithm: Resource, code: Resource, *key: str | int
) -> Resource:
    """What all Observations of a finding have in common, with the identifier that `key` gives to one of them."""
    words, stamp = request.wording, request.stamp
    name = json.dumps(["Observation", finding.coding.system, finding.coding.code, *key])
    return {
        "resourceType": "Observation",
        "meta": {"security": [coding_of(codes.AI_ASSERTED)]},
        "language": words.language,
        "text": narrative(sentence(finding, words), warnings(request.result, words)),
        "identifier": [uri_identifier(uuid5(stamp.report_id, name))],
        "status": ObservationStatus.PRELIMINARY.value,
        "category": [concept(codes.IMAGING)],
        "code": code,
        "subject": subject_of_observation(request.subject),
        "effectiveDateTime": date_time(stamp.study.started),
        "issued": instant(stamp.issued),
        "derivedFrom": imaging_study(stamp.study),
        "device": {"reference": full_url(algorithm)},
    }


def withdrawn_observation(observation: Resource, words: Wording) -> Resource:
    """The same Observation as entered in error, without what it said (FHIR R4 10.1.2).

    Its Device is left out: it may be an earlier version of the model, which the new Bundle does not bring along.
    """
    kept = ("resourceType", "meta", "language", "identifier", "category", "code", "subject", "issued")
    return {key: observation[key] for key in kept if key in observation} | {
        "status": ObservationStatus.WITHDRAWN.value,
        "text": narrative(words.withdrawn_finding, []),
    }


def pictures(request: ReportRequest, algorithm: Resource) -> list[Resource]:
    """The heatmaps. Which of a finding's a picture is tells it from the others, in this revision and the next."""
    counted: Counter[tuple[str, str]] = Counter()
    made = []
    for heatmap in request.heatmaps:
        code = (heatmap.coding.system, heatmap.coding.code)
        made.append(_media(request, heatmap, counted[code], algorithm))
        counted[code] += 1
    return made


def _media(request: ReportRequest, heatmap: Heatmap, number: int, algorithm: Resource) -> Resource:
    words, stamp = request.wording, request.stamp
    key = json.dumps(["Media", heatmap.coding.system, heatmap.coding.code, number])
    title = words.heatmap.format(label=clean(heatmap.label))
    return without_nothing(
        {
            "resourceType": "Media",
            "meta": {"security": [coding_of(codes.AI_ASSERTED)]},
            "language": words.language,
            "text": narrative(title, [*warnings(request.result, words), words.heatmap_limits]),
            "identifier": [uri_identifier(uuid5(stamp.report_id, key))],
            "status": MediaStatus.COMPLETED.value,
            "type": concept(codes.IMAGE),
            "subject": subject_of_observation(request.subject),
            "issued": instant(stamp.issued),
            "device": {"reference": full_url(algorithm)},
            "height": heatmap.rows,
            "width": heatmap.columns,
            "content": {
                "contentType": "image/png",
                "language": words.language,
                "data": base64.b64encode(heatmap.png).decode(),
                "title": title,
            },
        }
    )


def withdrawn_media(media: Resource, words: Wording) -> Resource:
    """The same Media as entered in error, without its picture (FHIR R4 8.22). R4 wants a content: it has a title."""
    kept = ("resourceType", "meta", "language", "identifier", "type", "subject", "issued")
    return {key: media[key] for key in kept if key in media} | {
        "status": MediaStatus.WITHDRAWN.value,
        "text": narrative(words.withdrawn_heatmap, []),
        "content": {"title": words.withdrawn_heatmap},
    }


def diagnostic_report(
    request: ReportRequest, findings: list[StudyFinding], observations: list[Resource], media: list[Resource]
) -> Resource:
    """The report. Where nothing could be analysed it is cancelled and says why: there is nothing to wait for."""
    words, stamp, subject, model = request.wording, request.stamp, request.subject, request.result.model
    statements = [*warnings(request.result, words), *conclusions(request.result, findings, words)]
    algorithm = Statement(words.algorithm, f"{model.name} {model.version}")
    return without_nothing(
        {
            "resourceType": "DiagnosticReport",
            "meta": {"security": [coding_of(codes.AI_ASSERTED)]},
            "language": words.language,
            "text": narrative(heading(stamp.revision, words), [*statements, algorithm], table(findings, words)),
            "contained": [contained(subject)] if isinstance(subject, EmbeddedPatient) else None,
            "identifier": [report_identifier(stamp.report_id)],
            "basedOn": _order(stamp.study),
            "status": (request.status if findings else ReportStatus.CANCELLED).value,
            "category": [concept(codes.RADIOLOGY)],
            "code": concept(codes.report_code(request.result.pipeline), words.report),
            "subject": subject_of_report(subject),
            "effectiveDateTime": date_time(stamp.study.started),
            "issued": instant(stamp.issued),
            "result": [{"reference": full_url(observation)} for observation in observations],
            "imagingStudy": imaging_study(stamp.study),
            "media": [{"comment": m["content"]["title"], "link": {"reference": full_url(m)}} for m in media],
            "conclusion": "\n".join(clean(str(statement)) for statement in statements),
        }
    )


def withdrawn_report(report: Resource, stamp: Stamp, words: Wording) -> Resource:
    """The same DiagnosticReport as entered in error, without what it said (FHIR R4 10.3.2)."""
    kept = ("resourceType", "meta", "language", "contained", "basedOn", "category", "code", "subject", "imagingStudy")
    return {key: report[key] for key in kept if key in report} | {
        "identifier": [report_identifier(stamp.report_id)],
        "status": ReportStatus.WITHDRAWN.value,
        "issued": instant(stamp.issued),
        "conclusion": str(words.withdrawn),
        "text": narrative(heading(stamp.revision, words), [words.withdrawn]),
    }


def provenance(stamp: Stamp, algorithm: Resource, targets: list[Resource], activity: Coding) -> Resource:
    """Who made this revision, from what, and when; one for each revision."""
    key = json.dumps(["Provenance", stamp.revision, instant(stamp.issued)])
    return {
        "resourceType": "Provenance",
        "meta": {
            "security": [coding_of(codes.AI_ASSERTED)],
            "tag": [{"system": codes.URI_SYSTEM, "code": uuid5(stamp.report_id, key).urn}],
        },
        "target": [{"reference": full_url(target)} for target in targets],
        "recorded": instant(stamp.issued),
        "activity": concept(activity),
        "agent": [{"type": concept(codes.AUTHOR), "who": {"reference": full_url(algorithm)}}],
        "entity": [{"role": "source", "what": what} for what in imaging_study(stamp.study)],
    }


def imaging_study(study: StudyDescription) -> list[Resource]:
    """The study as a logical reference: it lives in the PACS, not at the FHIR server (FHIR R4 8.21.5)."""
    uid = study.study_instance_uid
    if not uid or len(uid) > 64 or not set(uid) <= set("0123456789."):
        raise ReportError("the Study Instance UID is not a UID (PS3.5 9.1); the study must be held")
    return [{"type": "ImagingStudy", "identifier": {"system": codes.DICOM_UID_SYSTEM, "value": f"urn:oid:{uid}"}}]


def _order(study: StudyDescription) -> list[Resource] | None:
    """The order, known by its accession number (FHIR R4 8.21.5 wants the type ACSN)."""
    if not (accession := clean(study.accession_number)):
        return None
    return [{"type": "ServiceRequest", "identifier": {"type": concept(codes.ACCESSION), "value": accession}}]
