"""The `runtime` child: sole owner of the models. Knows neither database, nor store, nor any patient's key; of the
master key only what is derived for sealed packages, and only where there are any.
"""

from daemon.models import admission
from daemon.settings import Settings
from daemon.supervision.child import Child
from runtime import serve


def run(settings: Settings, child: Child) -> None:
    """Load the packages, serve them on the socket until told to stop."""
    serve(
        settings.runtime.socket,
        list(settings.runtime.packages),
        admission=admission(settings),
        threads=settings.runtime.threads,
        on_ready=child.ready,
        stop=child.stop,
    )
