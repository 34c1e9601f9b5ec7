"""Why settings were refused: every problem at once, each with its key, its place and what is allowed.

Messages never hold a secret: a value is repeated only when its key is not a secret one.

    SettingsError           the settings as a whole cannot be used; `problems` says why
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One value that cannot be used."""

    key: str
    """Dotted key, such as `dicom.port` or `destinations.ehr.url`; empty when the file as a whole is meant."""
    place: str
    """Where the value came from: `/etc/kopru/kopru.toml:12`, `environment KOPRU_DICOM__PORT`, …"""
    message: str
    """What is wrong with it and what to do."""
    allowed: str = ""
    """What the key takes, in words."""

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        allowed = f" Allowed: {self.allowed}." if self.allowed else ""
        return f"{self.place}: {key}{self.message}{allowed}"


class SettingsError(Exception):
    """The settings cannot be used; nothing was started."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))
