"""Where reports go: one interface over the protocols, made from the settings. Adapters do the work; this only chooses.

A FHIR server has patients of its own, so a report's patient must be matched there; a directory has none, so the
report tells the patient itself. Errors of a destination's configuration show at start.
"""

from collections.abc import Mapping
from typing import Protocol

from adapters.directory import DirectoryDestination as Folder
from adapters.fhir import DeliveryOutcome, FhirDestination, FhirServerSettings, PatientMatch
from daemon.settings import Destination as DestinationSettings
from daemon.settings import DirectoryDestination, Settings
from pipelines.identity import PatientIdentity


class Destination(Protocol):
    """Takes reports. Both methods answer with a value for whatever the other side does."""

    def match_patient(self, identity: PatientIdentity) -> PatientMatch:
        """The one patient there that this is, or why there is none."""

    def deliver(self, document: bytes) -> DeliveryOutcome:
        """Deliver a document; a second delivery of the same changes nothing."""


def open_destinations(settings: Settings) -> Mapping[str, Destination]:
    """The destinations of the settings, by name. Raises `adapters.fhir.DestinationSettingsError`."""
    return {destination.name: _open(destination) for destination in settings.destinations}


def _open(destination: DestinationSettings) -> Destination:
    if isinstance(destination, DirectoryDestination):
        return Folder(destination.path, destination.patient_systems)
    return FhirDestination(
        FhirServerSettings(
            name=destination.name,
            url=destination.url,
            patient_systems=destination.patient_systems,
            timeout_seconds=destination.timeout_seconds,
            token=destination.token.get_secret_value() if destination.token else None,
            token_file=destination.token_file,
            ca_file=destination.ca_file,
        )
    )
