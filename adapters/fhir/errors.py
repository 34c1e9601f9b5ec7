"""The errors of this package; the tree is drawn in `adapters.fhir`. No message holds a patient's data."""


class FhirError(Exception):
    """Anything that this package raises."""


class ReportError(FhirError):
    """A report cannot be made of the given values; nothing was sent."""


class DocumentError(FhirError):
    """Bytes that should be a report made here are not: the outbox row is damaged or from elsewhere."""


class DestinationSettingsError(FhirError):
    """A destination cannot be used as it is configured."""
