"""`kopru serve`: run the daemon in the foreground, as systemd does."""

import sys

import typer

from daemon.cli.options import FAILED, USAGE, options
from daemon.cli.output import fail


def serve(context: typer.Context) -> None:
    """Run the daemon until SIGTERM; SIGHUP reloads the settings."""
    from daemon.start import StartError, start

    chosen = options(context)
    settings = chosen.settings()
    try:
        start(settings, chosen.settings)
    except StartError as error:
        fail(str(error))
        sys.exit(FAILED)
    except PermissionError as error:
        fail(
            f"{error.filename or 'a port below 1024'}: {error.strerror}; run as the service's account, "
            "or use systemd's socket"
        )
        sys.exit(USAGE)
