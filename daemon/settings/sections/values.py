"""What a single value may be, for the sections. A value that passed needs no second look."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

LONGEST_SOCKET_DIRECTORY_BYTES = 84
"""A Unix socket's path has at most 107 bytes on Linux (unix(7)); names of sockets take up to 23 of them."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    return path


def _short_enough_for_sockets(path: Path) -> Path:
    if len(bytes(path)) > LONGEST_SOCKET_DIRECTORY_BYTES:
        raise ValueError("is too long for a folder of Unix sockets; choose a shorter one, such as /run/kopru")
    return path


def _ae_title(value: str) -> str:
    """VR AE (PS3.5 table 6.2-1): up to 16 printable ASCII characters, no backslash; outer spaces do not count."""
    value = value.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", value):
        raise ValueError("is not an application entity title")
    return value


def _time_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("is not a time zone that this machine knows")
    return value


def _database_url(value: str) -> str:
    import sqlalchemy as sa

    try:
        url = sa.make_url(value)
    except sa.exc.ArgumentError:
        raise ValueError("is not a database URL") from None
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise ValueError(f"names the driver {url.drivername!r}, which is not supported")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_absolute():
        raise ValueError("must name an absolute path (four slashes: sqlite:////var/lib/…); memory is not durable")
    return value


def _fhir_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in {"https", "http"} or not url.hostname or url.query or url.fragment:
        raise ValueError("is not the base URL of a FHIR server")
    if url.username or url.password:
        raise ValueError("holds credentials; a URL is logged and shown, put them into `token_file`")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError("would send identified data unencrypted; only a server on this machine may be reached by http")
    return value.rstrip("/")


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank")
    return value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
SocketDirectory = Annotated[AbsolutePath, AfterValidator(_short_enough_for_sockets)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
FhirUrl = Annotated[str, AfterValidator(_fhir_url)]
Text = Annotated[str, AfterValidator(_not_blank)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
NodeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,18}$")]
"""Short, since it is part of receivers' ids (36 characters) and of audit writers' names (48)."""
