"""Renders a report as one HTML page to be read and printed anywhere: no scripts, not a single outside resource.

Everything shown comes from the FHIR document and is escaped in one place, `_fill`. The page's Content-Security-Policy
forbids all else.
"""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import cast

from adapters.fhir import ReportMarker
from adapters.fhir.codes import (
    DETECTED,
    IMAGES_ANALYSED,
    IMAGES_REACHING,
    PROBABILITY,
    SERIES_ANALYSED,
    SERIES_REACHING,
    THRESHOLD,
)
from adapters.fhir.conclusion import percent, rounded
from adapters.fhir.datatypes import Resource
from adapters.fhir.marker import resources_of
from adapters.fhir.resources import full_url
from adapters.fhir.wording import ENGLISH

_PIECES = files("adapters.directory").joinpath("page")
_STYLE = _PIECES.joinpath("report.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = Template(_PIECES.joinpath("report.html").read_text("utf-8"))
_FINDING = Template(_PIECES.joinpath("finding.html").read_text("utf-8"))
_HEATMAP = Template(_PIECES.joinpath("heatmap.html").read_text("utf-8"))
_FACT = Template("<div><dt>$name</dt><dd>$value</dd></div>\n")
_NOTICE = Template("<p><strong>$title</strong> $body</p>\n")
_LEGEND = "A bar shows the probability, the mark on it the threshold. A probability is a model's output, not a risk."
_CODE_SYSTEMS = {"http://snomed.info/sct": "SNOMED CT", "http://loinc.org": "LOINC", "http://radlex.org": "RadLex"}


class _Html(str):
    """Text that is mark-up already: only `_fill`, `_joined` and the style sheet make it."""

    __slots__ = ()


def render(document: bytes) -> str:
    """The page for a document of `build_report` or `build_withdrawal`. Raises `DocumentError` for other bytes."""
    marker = ReportMarker.of_document(document)
    resources = resources_of(document)
    report = _only(resources, "DiagnosticReport")
    statements = [line.partition(": ") for line in report["conclusion"].split("\n")]
    observations = [r for r in resources if r["resourceType"] == "Observation" and "component" in r]
    patient_facts = _patient_facts(report)
    return _fill(
        _PAGE,
        language=report["language"],
        policy=f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
        " form-action 'none'",
        style=_Html(_STYLE),
        kind=report["code"]["coding"][0]["display"],
        revision=str(marker.revision),
        status=report["status"],
        patient=_name(report),
        whose=", ".join(filter(None, (_name(report), patient_facts["Patient ID"], patient_facts["Record"]))),
        patient_facts=_facts(patient_facts),
        study_facts=_facts(_study_facts(report)),
        notices=_joined(_fill(_NOTICE, title=t, body=b) for t, _, b in statements if t != ENGLISH.findings.title),
        findings=_joined(_finding(observation, _measures(observation, resources)) for observation in observations),
        legend=_LEGEND if observations else "",
        heatmaps=_joined(_heatmap(media) for media in resources if "data" in media.get("content", {})),
        model_facts=_facts(_model_facts(_only(resources, "Device"))),
        report_id=str(marker.report_id),
        issued=_moment(report["issued"]),
    )


def _finding(observation: Resource, measures: list[str]) -> _Html:
    values = {c["code"]["coding"][0]["code"]: c for c in observation["component"]}
    probability = values[PROBABILITY.code]["valueQuantity"]["value"]
    threshold = values[THRESHOLD.code]["valueQuantity"]["value"]
    verdict = observation["valueCodeableConcept"]
    coding = observation["code"]["coding"][0]
    counted, counts = (
        ("series", (SERIES_ANALYSED, SERIES_REACHING)) if measures else ("images", (IMAGES_ANALYSED, IMAGES_REACHING))
    )
    analysed, reaching = (values[code.code]["valueInteger"] for code in counts)
    return _fill(
        _FINDING,
        label=observation["code"]["text"],
        code=f"{_CODE_SYSTEMS.get(coding['system'], coding['system'])} {coding['code']} {coding['display']}",
        kind="detected" if verdict["coding"][0]["code"] == DETECTED.code else "not-detected",
        verdict=verdict["text"],
        probability=percent(float(probability)),
        threshold=percent(float(threshold)),
        width=f"{probability * 100:.2f}",
        mark=f"{threshold * 100:.2f}",
        images=f"{reaching} of {analysed} {counted} reach the threshold" if analysed > 1 else "",
        measures="; ".join(measures),
    )


def _measures(observation: Resource, resources: Iterable[Resource]) -> list[str]:
    """What was measured of a finding, series by series."""
    members = {member["reference"] for member in observation.get("hasMember", [])}
    measured = [r for r in resources if r["resourceType"] == "Observation" and full_url(r) in members]
    quantities = [(r["code"]["text"], r["valueQuantity"]) for r in measured]
    return [f"{text}: {rounded(quantity['value'])} {quantity['unit']}" for text, quantity in quantities]


def _heatmap(media: Resource) -> _Html:
    content = media["content"]
    return _fill(
        _HEATMAP,
        type=content["contentType"],
        data=content["data"],
        title=content["title"],
        rows=str(media["height"]),
        columns=str(media["width"]),
    )


def _patient_facts(report: Resource) -> dict[str, str]:
    patient = _patient(report)
    identifier = (patient.get("identifier") or [report["subject"].get("identifier", {})])[0]
    return {
        "Patient ID": identifier.get("value", ""),
        "Issuer": identifier.get("assigner", {}).get("display", ""),
        "Born": patient.get("birthDate", ""),
        "Sex": patient.get("gender", ""),
        "Record": report["subject"]["reference"] if not patient else "",
    }


def _study_facts(report: Resource) -> dict[str, str]:
    study = report["imagingStudy"][0]["identifier"]
    order = report.get("basedOn", [{}])[0].get("identifier", {})
    return {
        "Study": _moment(report.get("effectiveDateTime", "")),
        "Accession number": order.get("value", ""),
        "Study Instance UID": study["value"].removeprefix("urn:oid:"),
    }


def _model_facts(device: Resource) -> dict[str, str]:
    weights = device["property"][0]
    intended = device["note"][0]["text"].partition(": ")
    return {
        "Model": device["deviceName"][0]["name"],
        "Version": device["version"][0]["value"],
        intended[0]: intended[2],
        weights["type"]["text"]: weights["valueCode"][0]["text"],
    }


def _patient(report: Resource) -> Resource:
    return cast(Resource, report.get("contained", [{}])[0])


def _name(report: Resource) -> str:
    names = _patient(report).get("name", [{}])
    family, given = names[0].get("family", ""), " ".join(names[0].get("given", []))
    return ", ".join(part for part in (family, given) if part) or "Name not told"


def _only(resources: Iterable[Resource], kind: str) -> Resource:
    return next(resource for resource in resources if resource["resourceType"] == kind)


def _moment(value: str) -> str:
    """A FHIR date or dateTime for a reader: to the minute, with its own offset, in the order that nobody misreads."""
    if len(value) <= len("YYYY-MM-DD"):
        return value
    moment = datetime.fromisoformat(value)
    return f"{moment:%Y-%m-%d %H:%M} (UTC{moment.isoformat()[-len('+00:00') :]})"


def _facts(facts: dict[str, str]) -> _Html:
    return _joined(_fill(_FACT, name=name, value=value) for name, value in facts.items() if value)


def _joined(pieces: Iterable[_Html]) -> _Html:
    return _Html("".join(pieces))


def _fill(template: Template, **values: str) -> _Html:
    """Put values into a template, each escaped unless it is mark-up."""
    return _Html(template.substitute({k: v if isinstance(v, _Html) else escape(v) for k, v in values.items()}))
