"""What pipelines and archives may see: the options of PS3.15 Annex E."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from anonymize import InvalidPolicy, Option, Policy
from daemon.settings.sections.section import Section
from daemon.settings.sections.values import AbsolutePath, Name, Text

OptionName = Literal[
    "clean-pixel-data",
    "clean-recognizable-visual-features",
    "clean-graphics",
    "clean-structured-content",
    "clean-descriptors",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "retain-patient-characteristics",
    "retain-device-identity",
    "retain-uids",
    "retain-safe-private",
    "retain-institution-identity",
]


class PolicySettings(Section):
    """What a pipeline, or a destination of kind `dicom`, may see beyond the Basic Profile of PS3.15."""

    options: tuple[OptionName, ...] = Field(
        default=("clean-pixel-data",), description=f"a list of options of PS3.15 E.3: {', '.join(get_args(OptionName))}"
    )
    year_only: bool = Field(default=False, description="true or false: of dates, keep the year")

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        try:
            self.policy()
        except InvalidPolicy as error:
            raise ValueError(str(error)) from None
        return self

    def policy(self) -> Policy:
        """The policy that was chosen. Raises `anonymize.InvalidPolicy` for one that cannot be kept."""
        return Policy(frozenset(Option(name) for name in self.options), self.year_only)


class DeidentificationSettings(PolicySettings):
    """`[deidentification]`: what holds for pipelines that have no table of their own, and how pixels are cleaned."""

    pipelines: dict[Name, PolicySettings] = Field(
        default_factory=dict, description="tables [deidentification.pipelines.NAME]"
    )
    markers: tuple[Text, ...] = Field(
        default=(), description="a list of words that may stay in images, beside L, R, AP, PORTABLE and the like"
    )
    pixel_script: AbsolutePath | None = Field(
        default=None, description="the absolute path of a DicomPixelAnonymizer.script of CTP"
    )

    def policy_for(self, pipeline: str) -> Policy:
        """The policy of a pipeline."""
        return self.pipelines.get(pipeline, self).policy()
