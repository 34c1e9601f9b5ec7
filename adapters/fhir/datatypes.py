"""FHIR R4 data types as JSON values, for the resources that we send. Nothing empty ever leaves `without_nothing`."""

from datetime import date, datetime
from typing import Any, TypeAlias
from uuid import UUID

from adapters.fhir import codes
from adapters.fhir.errors import ReportError
from adapters.fhir.narrative import clean
from pipelines.results import Coding
from pipelines.results import Quantity as Measure

Resource: TypeAlias = dict[str, Any]


def coding_of(coding: Coding) -> Resource:
    """A Coding."""
    return {"system": coding.system, "code": coding.code, "display": coding.display}


def concept(coding: Coding, text: str | None = None) -> Resource:
    """A CodeableConcept; `text` is what a person reads, the code's display unless given."""
    return {"coding": [coding_of(coding)], "text": clean(text or coding.display)}


def uri_identifier(value: UUID) -> Resource:
    """An Identifier that is a UUID."""
    return {"system": codes.URI_SYSTEM, "value": value.urn}


def ratio(value: float) -> Resource:
    """A Quantity without dimension (UCUM 1), with all digits: the comparison with a threshold can be repeated."""
    return {"value": value, "unit": "1", "system": codes.UCUM, "code": "1"}


def quantity(measured: Measure) -> Resource:
    """A Quantity in a unit of UCUM (FHIR R4 2.24.0.7)."""
    return {"value": measured.value, "unit": measured.unit, "system": codes.UCUM, "code": measured.unit}


def date_time(started: str) -> str | None:
    """A FHIR dateTime: a date, or a time with seconds and offset (FHIR R4 2.24.0.1). Raises `ReportError`."""
    if not started:
        return None
    try:
        if len(started) == len("YYYY-MM-DD"):
            return date.fromisoformat(started).isoformat()
        moment = datetime.fromisoformat(started)
    except ValueError:
        raise ReportError("the start of the study is not an ISO 8601 date or time; correct the source's data") from None
    if moment.utcoffset() is None:
        raise ReportError("the start of the study has no offset from UTC; set the source's time zone")
    return moment.isoformat()


def instant(moment: datetime) -> str:
    """A FHIR instant, to the millisecond."""
    return moment.isoformat(timespec="milliseconds")


def without_nothing(resource: Resource) -> Resource:
    """Without elements that have no value: FHIR JSON knows neither null nor empty arrays (FHIR R4 2.6.2)."""
    return {key: value for key, value in resource.items() if value not in (None, [], {}, "")}
