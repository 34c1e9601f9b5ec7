"""What runs a model on one route: the protocol, and the choice of the backend by the route and the kind of its file."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from runtime.errors import RouteUnavailable
from runtime.inference import Array, Device
from runtime.package import Format, ModelPackage, Place, Precision, Route


class Backend(Protocol):
    """One model, loaded on one route. Opened by any thread, then used by one thread at a time."""

    @property
    def device(self) -> Device:
        """Where the model really runs; never `AUTO`."""

    @property
    def precision(self) -> Precision | None:
        """In which numbers it computes; None where only a server knows."""

    @property
    def tolerance(self) -> float:
        """The largest absolute difference from the package's own answers that the package declares for this route."""

    @property
    def memory_bytes(self) -> int:
        """The memory of `device` that it holds, as far as it can tell; grows with the batches it has seen."""

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run checked inputs, (samples, …) each, and return the declared outputs by name.

        Raises `BackendFailure`; `OutOfMemory` where fewer samples may fit; `BackendLost` once the device cannot be used
        again by this process; `RemoteUnavailable` while a server does not answer. What it returns is checked by the
        caller, who may keep it.
        """

    def close(self) -> None:
        """Let go of memory and connections. It is not used afterwards."""


@runtime_checkable
class Joining(Protocol):
    """A backend that puts batches together itself, where its device reads them."""

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """The inputs of several requests, one after the other, for the next `run`; what the last one gave is gone."""


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """What servers demand of a client, and how long it waits for them. It comes from the site, never from a package."""

    bearer_token: str | None = field(default=None, repr=False)
    authorities: Path | None = None  # PEM file of the certificate authorities to trust instead of the usual ones
    timeout_seconds: float = 30.0  # of one request, from its start to its last byte

    def __post_init__(self) -> None:
        """Raise `ValueError`, which never quotes the token, for what cannot be one."""
        token = self.bearer_token
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise ValueError("the bearer token must be one word of printable ASCII characters")


def open_backend(
    package: ModelPackage, route: Route, *, threads: int, access: RemoteAccess = RemoteAccess()
) -> Backend:
    """Load what the package has for this route; `threads` share one run on the CPU.

    Raises `RouteUnavailable` if this machine has no such device or library, `PackageError` if the file or the server is
    not what the package declares, and what `Backend.run` raises.
    """
    # Imported late: most users of this package are clients, and loading these libraries takes longer than they live.
    if route.on is Place.REMOTE:
        with _installed(package, "remote"):
            from runtime.backends.remote import RemoteBackend
        return RemoteBackend(package, access)
    form = package.form_of(route)
    match form.format:
        case Format.ONNX:
            from runtime.backends.onnx import OnnxBackend

            return OnnxBackend(package, form, route.on, threads=threads)
        case Format.RULES:
            from runtime.backends.rules import RulesBackend

            return RulesBackend(package, form, route.on)
        case Format.TORCHSCRIPT | Format.TORCH_EXPORT:
            with _installed(package, "torch"):
                from runtime.backends.torch import TorchBackend
            return TorchBackend(package, form, route.on, threads=threads)


@contextlib.contextmanager
def _installed(package: ModelPackage, extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RouteUnavailable(
            f"{package.name}: {error.name or 'a library'} cannot be imported; install the extra kopru[{extra}]"
        ) from None
