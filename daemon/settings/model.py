"""Everything that can be set: the sections of the TOML file together, and what must hold between them.

A value that passed here is one the daemon can work with; nothing downstream checks it again. Keys that are not listed
are refused. Defaults that depend on the machine (folders, cores) are made in `daemon.settings.defaults`.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from daemon.settings.sections.console import ConsoleSettings
from daemon.settings.sections.deidentification import DeidentificationSettings
from daemon.settings.sections.destinations import Destination, StorageDestination
from daemon.settings.sections.host import (
    AuditSettings,
    DatabaseSettings,
    EngineSettings,
    KeySettings,
    LogSettings,
    NodeSettings,
    StoreSettings,
)
from daemon.settings.sections.models import RuntimeSettings
from daemon.settings.sections.receiving import DicomSettings, SourceDefaults, SourceSettings
from daemon.settings.sections.section import Section
from daemon.settings.sections.values import Name


class Settings(Section):
    """Everything that can be set, validated. Made by `daemon.settings.load_settings`."""

    pipelines: tuple[Name, ...] = Field(default=("chest-xray",), description="a list of names of clinical pipelines")
    node: NodeSettings
    database: DatabaseSettings
    store: StoreSettings
    keys: KeySettings
    dicom: DicomSettings
    source_defaults: SourceDefaults = Field(default_factory=SourceDefaults)
    sources: tuple[SourceSettings, ...] = Field(
        default=(), description="tables [[sources]], one for each calling AE title"
    )
    destinations: tuple[Destination, ...] = Field(description="tables [[destinations]], one at least")
    deidentification: DeidentificationSettings = Field(default_factory=DeidentificationSettings)
    runtime: RuntimeSettings
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    engine: EngineSettings
    audit: AuditSettings
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        if not self.destinations:
            yield "destinations: there is none, so no report could go anywhere; name one"
        yield from self._unusable_destinations()
        for what, values in (
            ("sources: the ae_title", [source.ae_title for source in self.sources]),
            ("destinations: the name", [destination.name for destination in self.destinations]),
            ("pipelines: the name", list(self.pipelines)),
            ("console.api_keys: the name", [key.name for key in self.console.api_keys]),
            ("runtime.remotes: the authority", [remote.authority for remote in self.runtime.remotes.values()]),
        ):
            if twice := sorted({value for value in values if values.count(value) > 1}):
                yield f"{what} {twice[0]!r} is used twice"
        if unknown := sorted(set(self.deidentification.pipelines) - set(self.pipelines)):
            yield f"deidentification.pipelines.{unknown[0]}: there is no such pipeline ({', '.join(self.pipelines)})"
        for source in (*self.sources, self.source_for("")):
            if unknown := sorted(set(source.pipeline) - set(self.pipelines)):
                at = f"sources.{source.ae_title}" if source.ae_title else "source_defaults"
                yield f"{at}.pipeline: {unknown[0]!r} is not among the enabled pipelines ({', '.join(self.pipelines)})"

    def _unusable_destinations(self) -> Iterator[str]:
        storing = [destination for destination in self.destinations if isinstance(destination, StorageDestination)]
        for destination in storing:
            if unknown := sorted(set(destination.pipelines) - set(self.pipelines)):
                at = f"destinations.{destination.name}.pipelines"
                yield f"{at}: {unknown[0]!r} is not among the enabled pipelines ({', '.join(self.pipelines)})"
            here = destination.address in {self.dicom.address, "localhost", "127.0.0.1", "::1"}
            if here and destination.port == self.dicom.port:
                yield f"destinations.{destination.name}: is where kopru itself receives, so studies would go round"
        if self.destinations and len(storing) == len(self.destinations):
            for pipeline in self.pipelines:
                if not any(destination.takes(pipeline) for destination in storing):
                    yield f"pipelines: {pipeline!r} has no destination; let one of `destinations` take it"

    def source_for(self, ae_title: str) -> SourceSettings:
        """What holds for the calling AE title: its own table, else `source_defaults`."""
        for source in self.sources:
            if source.ae_title == ae_title.strip(" "):
                return source
        return SourceSettings.model_construct(ae_title=ae_title.strip(" "), **dict(self.source_defaults))

    def destination(self, name: str) -> Destination:
        """The settings of the destination of this name. Raises `KeyError` where it has been taken out."""
        for destination in self.destinations:
            if destination.name == name:
                return destination
        raise KeyError(name)

    def is_source(self, ae_title: str) -> bool:
        """Whether the AE title has a table of its own."""
        return any(source.ae_title == ae_title.strip(" ") for source in self.sources)
