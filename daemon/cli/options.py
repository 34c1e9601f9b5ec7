"""What every command may be told: which settings file, which values to override, whether to answer in JSON."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from daemon.control import ControlClient
from daemon.control.limits import MOST_ROWS, CloseReason
from daemon.settings import Settings, default_path, load_settings

FAILED, USAGE, QUARANTINED_OR_HELD = 1, 2, 3

Limit = Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many at most.")]
CLOSE_REASONS: Final = ", ".join(CloseReason)
Reference = Annotated[
    str | None, typer.Option(help="The number of a ticket that says more, such as INC-4711; no patient's data.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]


@dataclass(frozen=True)
class Options:
    """The options that stand before the command."""

    config: Path | None = None
    overrides: dict[str, str] = field(default_factory=dict)

    def settings(self, *, secrets: bool = True) -> Settings:
        """The settings, validated. Raises `SettingsError`, which `main` prints.

        A command that only asks the daemon does without secrets: its account need not be able to read them.
        """
        path = self.config or default_path(os.environ)
        return load_settings(path, self.overrides, os.environ, secrets=secrets).settings

    def daemon(self) -> ControlClient:
        """The way to ask the running daemon. Raises `SettingsError`."""
        return ControlClient(self.settings(secrets=False).node.runtime_directory)


def options(context: typer.Context) -> Options:
    """The options of this call."""
    found = context.find_root().obj
    return found if isinstance(found, Options) else Options()
