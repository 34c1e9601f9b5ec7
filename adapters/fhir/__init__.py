"""FHIR R4: makes reports and delivers them. Only `client` knows a socket; report, matching and delivery are pure.

::

    ReportRequest    ─ build_report ─▶ document (bytes, kept in the outbox) ─ FhirDestination.deliver ─▶ DeliveryOutcome
    PatientIdentity  ─ FhirDestination.match_patient ─▶ MatchedPatient | Held | Retry | Dead

What a server does is never an exception: `match_patient` and `deliver` answer with a value that has a reason. The
errors are for what is wrong on our side::

    FhirError
    ├── ReportError                 no report can be made of these values
    ├── DocumentError               these bytes are no report of ours
    └── DestinationSettingsError    the destination cannot be used as configured
"""

from adapters.fhir.client import FhirDestination, FhirServerSettings
from adapters.fhir.codes import ReportStatus
from adapters.fhir.errors import DestinationSettingsError, DocumentError, FhirError, ReportError
from adapters.fhir.marker import ReportMarker
from adapters.fhir.report import build_report, build_withdrawal
from adapters.fhir.request import Heatmap, ReportRequest, Stamp
from adapters.fhir.subjects import EmbeddedPatient, MatchedPatient, PatientMatch, Subject
from adapters.outcomes import Dead, Delivered, DeliveryOutcome, Held, Retry, Superseded

__all__ = [
    "Dead",
    "Delivered",
    "DeliveryOutcome",
    "DestinationSettingsError",
    "DocumentError",
    "EmbeddedPatient",
    "FhirDestination",
    "FhirError",
    "FhirServerSettings",
    "Heatmap",
    "Held",
    "MatchedPatient",
    "PatientMatch",
    "ReportError",
    "ReportMarker",
    "ReportRequest",
    "ReportStatus",
    "Retry",
    "Stamp",
    "Subject",
    "Superseded",
    "build_report",
    "build_withdrawal",
]
