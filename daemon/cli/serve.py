"""`kopru serve`: run the daemon in the foreground, as systemd does."""

import sys

import typer

from daemon.cli.options import FAILED, options
from daemon.cli.output import fail
from daemon.loading import loading


def serve(context: typer.Context) -> None:
    """Run the daemon until SIGTERM; SIGHUP reloads the settings."""
    with loading():
        from daemon.start import StartError, start

    chosen = options(context)
    settings = chosen.settings()
    try:
        start(settings, chosen.settings)
    except StartError as error:
        fail(str(error))
        sys.exit(FAILED)
