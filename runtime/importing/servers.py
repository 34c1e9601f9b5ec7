"""What a server says of one of its models (Open Inference Protocol v2, "Model Metadata")."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from runtime.backend import RemoteAccess
from runtime.errors import PackageError
from runtime.importing.sources import Source, as_name
from runtime.package.parts import Remote

_DTYPES: Final = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "INT8": "int8",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "INT32": "int32",
    "INT64": "int64",
}
_TOLERANCE: Final = 1e-3
_REST_PATH: Final = "/v2/models/"


def ask_server(url: str, details: Mapping[str, Any], access: RemoteAccess) -> Source:
    """The model at ``http(s)://host/v2/models/NAME[/versions/V]`` or ``grpc(s)://host:port/NAME[/versions/V]``.

    `details` fixes what the server leaves open. Raises `PackageError`, and what `describe` raises.
    """
    place = server_place(url)
    remote = _remote(place, url)
    says: dict[str, Any] = {"name": as_name(remote.model), "remote": remote.model_dump(exclude_none=True)}
    for key, tensors in zip(("inputs", "outputs"), _described(place, remote, access), strict=True):
        if tensors and key not in details:
            says[key] = [_tensor(place, key, *each) for each in tensors]
    return Source(place, None, {}, says)


def server_place(url: str) -> Path:
    """The server as errors name it: never with what stands before an ``@``."""
    return Path(url.partition("://")[2].rpartition("@")[2].partition("?")[0] or "the server")


def _remote(place: Path, url: str) -> Remote:
    try:
        parts = urlsplit(url)
        prefix, found, rest = (
            parts.path.rpartition(_REST_PATH) if parts.scheme.startswith("http") else ("", "/", parts.path[1:])
        )
        model, _, version = rest.strip("/").partition("/versions/")
        server = urlunsplit((parts.scheme, parts.netloc, prefix, "", ""))
        if not found or not model or "/" in model:
            raise ValueError("name the model: https://host/v2/models/NAME or grpcs://host:port/NAME")
        return Remote(url=server, model=unquote(model), version=unquote(version) or None, tolerance=_TOLERANCE)
    except ValueError as error:
        problem = str(getattr(error, "errors", list)()[0]["msg"] if hasattr(error, "errors") else error)
        raise PackageError(place, "", problem.removeprefix("Value error, ")) from None


def _tensor(place: Path, key: str, name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise PackageError(place, f"{key}.{name}", f"has the type {datatype}, which no package can have")
    if any(size < 1 for size in shape[1:]) or not shape:
        raise PackageError(place, f"{key}.{name}", f"leaves its size open ({list(shape)}); fix it with [[{key}]]")
    return {"name": name, "dtype": dtype, "shape": ["batch", *shape[1:]]}


def _described(place: Path, remote: Remote, access: RemoteAccess) -> Any:
    try:
        from runtime.backends.remote import describe
    except ImportError as error:
        problem = f"{error.name or 'a library'} cannot be imported; install the extra kopru[remote]"
        raise PackageError(place, "", problem) from None
    return describe(remote, access)
