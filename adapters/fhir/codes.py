"""The codes that a report is made of, as values: one place for each code system's URI, code and display.

Nothing here is looked up at run time. Sources: FHIR R4 (terminology.hl7.org), LOINC 2.80, SNOMED CT international.
"""

from enum import StrEnum
from uuid import UUID

from pipelines.results import Coding

KOPRU = UUID("5d1f5c2e-7c57-4d0b-9a55-0a4f5f3a6c11")
"""The name space of everything this project names: version 5 UUIDs and, as 2.25 OIDs (ITU-T X.667), code systems."""

URI_SYSTEM = "urn:ietf:rfc:3986"
"""System of an identifier whose value is a full URI (FHIR R4 2.24.0.13.3)."""
DICOM_UID_SYSTEM = "urn:dicom:uid"
"""System of a Study Instance UID, given as ``urn:oid:…`` (FHIR R4 8.21.5)."""
MODEL_OUTPUT_SYSTEM = f"urn:oid:2.25.{KOPRU.int}"
"""Our own code system: what a model puts out beside its verdict."""
REVISION_SYSTEM = f"urn:oid:2.25.{UUID('b6f0f2b0-2f0e-4b8e-8a58-6a2f9a3a7d52').int}"
"""System of the identifier that says which revision a report is and what exactly was sent (`ReportMarker`)."""


class ReportStatus(StrEnum):
    """DiagnosticReport.status as far as we ever send it: a person, not we, makes a report final (FHIR R4 10.3.2)."""

    PARTIAL = "partial"
    PRELIMINARY = "preliminary"
    CANCELLED = (
        "cancelled"  # "the measurement was not started or not completed": nothing in the study could be analysed
    )
    WITHDRAWN = "entered-in-error"


class MediaStatus(StrEnum):
    """Media.status as far as we ever send it (FHIR R4 8.22)."""

    COMPLETED = "completed"
    WITHDRAWN = "entered-in-error"


class ObservationStatus(StrEnum):
    """Observation.status as far as we ever send it (FHIR R4 10.1.2)."""

    PRELIMINARY = "preliminary"
    WITHDRAWN = "entered-in-error"


DETECTED = Coding("http://snomed.info/sct", "260373001", "Detected")
NOT_DETECTED = Coding("http://snomed.info/sct", "260415000", "Not detected")

_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
POSITIVE = Coding(_INTERPRETATION, "POS", "Positive")
NEGATIVE = Coding(_INTERPRETATION, "NEG", "Negative")

PROBABILITY = Coding(MODEL_OUTPUT_SYSTEM, "probability", "Highest probability over the analysed images")
THRESHOLD = Coding(MODEL_OUTPUT_SYSTEM, "threshold", "Operating threshold of the model")
IMAGES_ANALYSED = Coding(MODEL_OUTPUT_SYSTEM, "images-analysed", "Number of images analysed")
IMAGES_REACHING = Coding(MODEL_OUTPUT_SYSTEM, "images-reaching", "Number of images that reach the threshold")
SERIES_ANALYSED = Coding(MODEL_OUTPUT_SYSTEM, "series-analysed", "Number of series analysed as volumes")
SERIES_REACHING = Coding(MODEL_OUTPUT_SYSTEM, "series-reaching", "Number of series that reach the threshold")

UCUM = "http://unitsofmeasure.org"
MEASURES = {"mL": Coding("http://snomed.info/sct", "118565006", "Volume")}
"""What is measured in a unit of UCUM."""

AI_ASSERTED = Coding(
    "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted"
)
"""The security label by which a reader sees at once that a machine made a resource (AI Transparency on FHIR, STU 1)."""

IMAGING = Coding("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")
IMAGE = Coding("http://terminology.hl7.org/CodeSystem/media-type", "image", "Image")
RADIOLOGY = Coding("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")
ACCESSION = Coding("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID")
AUTHOR = Coding("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author")
CREATE = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")
UPDATE = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "UPDATE", "revise")
NULLIFY = Coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "NULLIFY", "nullify")

_IMAGING_STUDY = Coding("http://loinc.org", "18748-4", "Diagnostic imaging study")
_REPORT_CODES = {
    # How many views there are is not known for certain, so the code without a number of views.
    "chest-xray": Coding("http://loinc.org", "30745-4", "XR Chest Views"),
    "ct-lesion": Coding("http://loinc.org", "24627-2", "CT Chest"),
}


def report_code(pipeline: str) -> Coding:
    """The LOINC code of a pipeline's reports; a pipeline not listed reports as a diagnostic imaging study."""
    return _REPORT_CODES.get(pipeline, _IMAGING_STUDY)
