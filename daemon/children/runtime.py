"""The `runtime` child: sole owner of the models. Knows neither database, nor store, nor any patient's key; of the
master key only what is derived for sealed packages, and only where there are any.
"""

from typing import Final

from daemon.models import admission, remote_access
from daemon.settings import Settings
from daemon.supervision.child import Child
from runtime import Device, serve

_LOADING_SECONDS: Final = 1800.0  # TensorRT plans a model for minutes


def run(settings: Settings, child: Child) -> None:
    """Load the packages, serve them on the socket until told to stop."""
    child.loading(_LOADING_SECONDS)
    limits = {Device.CPU: settings.runtime.memory_bytes.cpu, Device.CUDA: settings.runtime.memory_bytes.cuda}
    serve(
        settings.runtime.socket,
        list(settings.runtime.packages),
        admission=admission(settings),
        threads=settings.runtime.threads,
        lazy=settings.runtime.lazy,
        memory_bytes={device: limit for device, limit in limits.items() if limit is not None},
        cache_bytes=settings.runtime.cache_bytes,
        routes={model: [each.route() for each in routes] for model, routes in settings.runtime.routes.items()},
        access=remote_access(settings),
        run_limit_seconds=settings.runtime.run_limit_seconds,
        on_ready=child.ready,
        stop=child.stop,
    )
