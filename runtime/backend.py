"""What runs a package's weights: the protocol, and the choice of the backend by the kind of the weights file."""

from typing import Protocol

from runtime.inference import Array, Device
from runtime.package import ModelPackage


class Backend(Protocol):
    """One model, loaded. Used by one thread at a time."""

    @property
    def device(self) -> Device:
        """Where the model really runs; never `AUTO`."""

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run checked inputs, (samples, …) each, and return the declared outputs by name.

        Raises `BackendFailure`, and `BackendLost` once the device cannot be used again by this process. What it returns
        is checked by the caller.
        """


def open_backend(package: ModelPackage, *, threads: int, device: Device) -> Backend:
    """Load the package's weights. Raises `PackageError` if they are not what the package declares, and `BackendFailure`
    if `device` is demanded and not there.
    """
    # Imported late: most users of this package are clients, and loading this library takes longer than they live.
    from runtime.onnx_backend import OnnxBackend

    return OnnxBackend(package, threads=threads, device=device)
