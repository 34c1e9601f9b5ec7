"""The daemon's settings: one TOML file, the environment and the command line, checked before anything starts.

`load_settings` gives `Settings` (frozen) with the origin of each value, or raises `SettingsError` with every problem.
"""

from daemon.settings.errors import Problem, SettingsError
from daemon.settings.handing_down import hand_down, load_handed_down
from daemon.settings.loading import Loaded, default_path, load_settings
from daemon.settings.model import Settings
from daemon.settings.origin import Origin, OriginKind
from daemon.settings.sections.console import ApiKeySettings, ConsoleSettings
from daemon.settings.sections.destinations import (
    Destination,
    DestinationSettings,
    DicomDestination,
    DirectoryDestination,
    FhirDestination,
    PacsDestination,
    ReportDestination,
    StorageDestination,
)
from daemon.settings.sections.receiving import SourceDefaults, SourceSettings

__all__ = [
    "ApiKeySettings",
    "ConsoleSettings",
    "Destination",
    "DestinationSettings",
    "DicomDestination",
    "DirectoryDestination",
    "FhirDestination",
    "Loaded",
    "Origin",
    "OriginKind",
    "PacsDestination",
    "Problem",
    "ReportDestination",
    "Settings",
    "SettingsError",
    "SourceDefaults",
    "SourceSettings",
    "StorageDestination",
    "default_path",
    "hand_down",
    "load_handed_down",
    "load_settings",
]
