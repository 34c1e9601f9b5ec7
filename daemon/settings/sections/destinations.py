"""Where reports, de-identified studies and what was made about a study go."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from daemon.settings.sections.deidentification import PolicySettings
from daemon.settings.sections.section import Section
from daemon.settings.sections.values import AbsolutePath, AeTitle, FhirUrl, Name, Text

_KINDS = "fhir, directory, pacs or dicom"


class DestinationSettings(Section):
    """What all kinds of `[[destinations]]` have."""

    name: Name = Field(description="lower-case letters, digits and hyphens, at most 63")
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600, description="more than 0, at most 3600 seconds")
    maximum_attempts: int = Field(
        default=300, ge=1, le=1000, description="1 to 1000 attempts before a person must look"
    )


class ReportDestination(DestinationSettings):
    """What the destinations of reports have: they are told who the patient is."""

    status: Literal["partial", "preliminary"] = Field(
        default="partial", description="partial or preliminary: the status of a report that no person has signed off"
    )
    confirm_research: bool = Field(
        default=False, description="true: this site wants reports of models meant for research at this destination"
    )
    heatmaps: bool = Field(
        default=False, description="true: reports bring pictures of what raised the model's scores, as Media"
    )
    patient_systems: dict[Text, Text] = Field(
        default_factory=dict, description="a table: issuer = 'system of the FHIR identifier'"
    )


class FhirDestination(ReportDestination):
    """A FHIR R4 server."""

    kind: Literal["fhir"] = Field(description=_KINDS)
    url: FhirUrl = Field(description="an https base URL without credentials")
    token: SecretStr | None = Field(
        default=None, description="a bearer token; from the environment, a credential or `token_file` only"
    )
    token_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a file that others cannot read"
    )
    ca_file: AbsolutePath | None = Field(default=None, description="the absolute path of a PEM file")


class DirectoryDestination(ReportDestination):
    """A folder that gets identified JSON: outside the sealed boundary (DESIGN §5), for demonstration and tests."""

    kind: Literal["directory"] = Field(description=_KINDS)
    path: AbsolutePath = Field(description="an absolute path")
    heatmaps: bool = Field(
        default=True, description="false: reports come without pictures of what raised the model's scores"
    )


class StorageDestination(DestinationSettings):
    """What the application entities have that get instances by C-STORE."""

    address: Text = Field(description="a host name or IP address")
    port: int = Field(ge=1, le=65535, description="1 to 65535")
    ae_title: AeTitle = Field(description="1 to 16 printable ASCII characters, no backslash: whom we call")
    calling_ae_title: AeTitle | None = Field(
        default=None,
        description="1 to 16 printable ASCII characters, no backslash: as whom we call; default: dicom.ae_title",
    )
    pipelines: tuple[Name, ...] = Field(
        default=(), description="a list of enabled pipelines whose studies it is for; empty: all of them"
    )

    def takes(self, pipeline: str) -> bool:
        """Whether it is for studies of the pipeline."""
        return not self.pipelines or pipeline in self.pipelines


class PacsDestination(StorageDestination):
    """A PACS that gets, by C-STORE, what was made about its studies: pictures and outlines, under the real
    patient and study.
    """

    kind: Literal["pacs"] = Field(description=_KINDS)
    confirm_research: bool = Field(
        default=False, description="true: this site wants what models meant for research have made at this destination"
    )


class DicomDestination(StorageDestination):
    """An application entity that gets the de-identified instances of studies by C-STORE, under a policy of its own."""

    kind: Literal["dicom"] = Field(description=_KINDS)
    overwrites: bool = Field(
        default=False,
        description="true if an instance that comes again takes the place of the earlier one there; false: a person"
        " is told when one was sent before with other content",
    )
    segmentations: bool = Field(
        default=False,
        description="true: what models outlined in a study's volumes goes there with it, that of models meant for"
        " research, too; it must take DICOM Segmentations",
    )
    deidentification: PolicySettings = Field(
        default_factory=PolicySettings, description="a table { options = […], year_only = … }, as for a pipeline"
    )


Destination = Annotated[
    FhirDestination | DirectoryDestination | PacsDestination | DicomDestination, Field(discriminator="kind")
]
