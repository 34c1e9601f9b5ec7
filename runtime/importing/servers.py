"""What a server says of one of its models (Open Inference Protocol v2, "Model Metadata")."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from runtime.backend import RemoteAccess
from runtime.errors import PackageError, RemoteUnavailable
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

    `details` fixes what the server leaves open. Raises `PackageError`, `RemoteUnavailable`.
    """
    place = server_place(url)
    remote = _remote(place, url)
    metadata = _over_grpc(remote, access) if remote.url.startswith("grpc") else _over_rest(remote, access)
    says: dict[str, Any] = {"name": as_name(remote.model), "remote": remote.model_dump(exclude_none=True)}
    for key in ("inputs", "outputs"):
        if metadata.get(key) and key not in details:
            says[key] = [_tensor(place, key, each) for each in metadata[key]]
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


def _over_rest(remote: Remote, access: RemoteAccess) -> dict[str, Any]:
    import httpx

    version = f"/versions/{quote(remote.version, safe='')}" if remote.version else ""
    address = f"{remote.url.rstrip('/')}{_REST_PATH}{quote(remote.model, safe='')}{version}"
    headers = {"Authorization": f"Bearer {access.bearer_token}"} if access.bearer_token else {}
    trusted = _trusted(access.authorities) if access.authorities else True
    try:
        answer = httpx.get(address, headers=headers, timeout=access.timeout_seconds, trust_env=False, verify=trusted)
        answer.raise_for_status()
        metadata = answer.json()
    except httpx.HTTPStatusError as error:
        raise RemoteUnavailable(f"{address}: the server answers {error.response.status_code}") from None
    except (httpx.HTTPError, ValueError) as error:
        raise RemoteUnavailable(f"{address}: no answer that can be read ({type(error).__name__})") from None
    return metadata if isinstance(metadata, dict) else {}


def _trusted(authorities: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError:  # what `ssl` raises is one, too
        raise PackageError(authorities, "", "cannot be read, or holds no certificates in PEM form") from None


def _over_grpc(remote: Remote, access: RemoteAccess) -> dict[str, Any]:
    import grpc
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    where = urlsplit(remote.url)
    secure = where.scheme == "grpcs"
    authorities = access.authorities.read_bytes() if access.authorities else None
    credentials = grpc.ssl_channel_credentials(root_certificates=authorities) if secure else None
    client = tritonclient.grpc.InferenceServerClient(where.netloc, creds=credentials)
    headers = {"authorization": f"Bearer {access.bearer_token}"} if access.bearer_token else {}
    try:
        found: dict[str, Any] = client.get_model_metadata(
            remote.model, remote.version or "", headers=headers, as_json=True, client_timeout=access.timeout_seconds
        )
    except InferenceServerException as error:
        raise RemoteUnavailable(
            f"{where.netloc}: the server does not describe {remote.model} ({error.status()})"
        ) from None
    finally:
        client.close()
    return found


def _tensor(place: Path, key: str, said: Any) -> dict[str, Any]:
    name, dtype = str(said.get("name")), _DTYPES.get(str(said.get("datatype")))
    if dtype is None:
        raise PackageError(place, f"{key}.{name}", f"has the type {said.get('datatype')}, which no package can have")
    shape = [int(size) for size in said.get("shape") or ()]
    if any(size < 1 for size in shape[1:]) or not shape:
        raise PackageError(place, f"{key}.{name}", f"leaves its size open ({shape}); fix it with [[{key}]]")
    return {"name": name, "dtype": dtype, "shape": ["batch", *shape[1:]]}
