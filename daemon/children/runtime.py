"""The `runtime` child: sole owner of the models. Knows neither database, nor store, nor keys."""

from daemon.settings import Settings
from daemon.supervision.child import Child
from runtime import serve


def run(settings: Settings, child: Child) -> None:
    """Load the packages, serve them on the socket until told to stop."""
    serve(
        settings.runtime.socket,
        list(settings.runtime.packages),
        threads=settings.runtime.threads,
        on_ready=child.ready,
        stop=child.stop,
    )
