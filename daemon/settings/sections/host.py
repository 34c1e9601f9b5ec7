"""What a host keeps and runs: its name, database, store, keys, engine, audit log and log."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from daemon.settings.sections.section import Section
from daemon.settings.sections.values import (
    LONGEST_SOCKET_DIRECTORY_BYTES,
    AbsolutePath,
    DatabaseUrl,
    NodeName,
    SocketDirectory,
)


class NodeSettings(Section):
    """`[node]`: this installation."""

    name: NodeName = Field(default="kopru", description="lower-case letters, digits and hyphens, at most 19")
    data: AbsolutePath = Field(
        description="an absolute path; everything that is kept lies under it unless set elsewhere"
    )
    runtime_directory: SocketDirectory = Field(
        description=f"an absolute path of at most {LONGEST_SOCKET_DIRECTORY_BYTES} bytes, for the Unix sockets"
    )


class DatabaseSettings(Section):
    """`[database]`: where rows are kept. `url` holds the password, too, once loaded: never log it."""

    url: DatabaseUrl = Field(
        repr=False,
        description="sqlite:////absolute/path or postgresql+psycopg://user@host:port/name, without a password",
    )
    password: SecretStr | None = Field(
        default=None, description="the password of `url`; from the environment, a credential or `password_file` only"
    )
    password_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a file that others cannot read"
    )

    @property
    def shown_url(self) -> str:
        """The URL as it can be shown and logged: without the password."""
        import sqlalchemy as sa

        return sa.make_url(self.url).render_as_string(hide_password=True)


class StoreSettings(Section):
    """`[store]`: the sealed object store."""

    path: AbsolutePath = Field(description="an absolute path")
    minimum_free_bytes: int = Field(
        default=1 << 30, ge=0, description="a number of bytes; with less free space, instances are refused (0xA700)"
    )


class KeySettings(Section):
    """`[keys]`: the key store, apart from database and objects."""

    master_key_file: AbsolutePath = Field(description="the absolute path of a file with mode 0600")
    mirrors: tuple[AbsolutePath, AbsolutePath] = Field(description="two different absolute paths, best on two disks")
    epoch_hours: int = Field(
        default=24, ge=1, le=24 * 31, description="1 to 744 hours for which one intake key is used"
    )

    @model_validator(mode="after")
    def _mirrors_differ(self) -> Self:
        if self.mirrors[0] == self.mirrors[1]:
            raise ValueError("mirrors: both are the same folder")
        return self


class EngineSettings(Section):
    """`[engine]`: the process that runs tasks."""

    workers: int = Field(default=4, ge=1, le=256, description="1 to 256 threads")
    pixel_workers: int = Field(ge=1, le=256, description="1 to 256 processes that decode pixels")
    lease_seconds: float = Field(
        default=60.0, ge=1, le=3600, description="1 to 3600 seconds until a silent worker's task returns"
    )


class AuditSettings(Section):
    """`[audit]`: the log's signed heads."""

    heads_directory: AbsolutePath = Field(description="an absolute path, best on another machine")
    signing_key_file: AbsolutePath = Field(description="the absolute path of a file with mode 0600")


class LogSettings(Section):
    """`[log]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["json", "console"] = Field(default="json", description="json or console")
