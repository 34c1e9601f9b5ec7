"""Where reports go, where what was made about a study goes, and where de-identified studies go: an interface each over
the protocols, made from the settings. Adapters do the work; this only chooses.

A FHIR server has patients of its own, so a report's patient must be matched there; a directory has none, so the
report tells the patient itself; a PACS gets instances of a study that it has; an archive (a destination of kind
`dicom`) never learns who the patient is. Errors of a destination's configuration show at start.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from adapters.dicom import MadeInstance, Outgoing
from adapters.dicom.outgoing import Instance
from adapters.directory import DirectoryDestination as Folder
from adapters.fhir import FhirDestination, FhirServerSettings, PatientMatch
from adapters.outcomes import DeliveryOutcome
from anonymize import DeidentifiedInstance
from daemon.database import Database
from daemon.database import schema as t
from daemon.settings import DicomDestination, DirectoryDestination, PacsDestination, Settings, StorageDestination
from daemon.settings import FhirDestination as FhirSettings
from daemon.states import DeliveryState
from pipelines.identity import PatientIdentity

if TYPE_CHECKING:
    from adapters.dicom import DicomDestination as StorageScp


class Destination(Protocol):
    """Takes reports. Both methods answer with a value for whatever the other side does."""

    def match_patient(self, identity: PatientIdentity) -> PatientMatch:
        """The one patient there that this is, or why there is none."""

    def deliver(self, document: bytes) -> DeliveryOutcome:
        """Deliver a document; a second delivery of the same changes nothing."""


class Archive(Protocol):
    """Takes de-identified instances, and answers with a value for whatever the other side does."""

    def store(self, instances: Collection[Outgoing[DeidentifiedInstance]]) -> DeliveryOutcome:
        """Store all of them; storing the same again changes nothing."""


class Pacs(Protocol):
    """Takes instances that name their patient, and answers with a value for whatever the other side does."""

    def store(self, instances: Collection[Outgoing[MadeInstance]]) -> DeliveryOutcome:
        """Store all of them; storing the same again changes nothing."""


def open_destinations(settings: Settings, with_reports: Collection[str] = ()) -> Mapping[str, Destination]:
    """The destinations of reports, by name; to those `with_reports` some were delivered before.

    Raises `adapters.fhir.DestinationSettingsError`.
    """
    return {
        destination.name: _open(destination, destination.name in with_reports)
        for destination in settings.destinations
        if not isinstance(destination, StorageDestination)
    }


def delivered_to(database: Database) -> frozenset[str]:
    """The destinations that something was sent to, and took it."""
    delivery = t.delivery.c
    taken = (delivery.state == DeliveryState.DELIVERED, delivery.attempts > 0)
    with database.read() as connection:
        return frozenset(connection.execute(sa.select(delivery.destination).where(*taken).distinct()).scalars())


def open_archives(settings: Settings) -> Mapping[str, Archive]:
    """The destinations of studies, by name."""
    return {
        destination.name: _scp(destination, settings, DeidentifiedInstance)
        for destination in settings.destinations
        if isinstance(destination, DicomDestination)
    }


def open_pacs(settings: Settings) -> Mapping[str, Pacs]:
    """The destinations of what was made about their studies, by name."""
    return {
        destination.name: _scp(destination, settings, MadeInstance)
        for destination in settings.destinations
        if isinstance(destination, PacsDestination)
    }


def _scp(destination: StorageDestination, settings: Settings, _takes: type[Instance]) -> "StorageScp[Instance]":
    """What sends is loaded where there is somebody to send to: it takes long, and most installations have nobody."""
    from adapters.dicom import DicomDestination as StorageScp
    from adapters.dicom import Peer

    peer = Peer(
        called_ae=destination.ae_title,
        host=destination.address,
        port=destination.port,
        calling_ae=destination.calling_ae_title or settings.dicom.ae_title,
        timeout_seconds=destination.timeout_seconds,
    )
    return StorageScp(peer)


def _open(destination: FhirSettings | DirectoryDestination, has_reports: bool) -> Destination:
    if isinstance(destination, DirectoryDestination):
        return Folder(destination.path, destination.patient_systems, has_reports=has_reports)
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
