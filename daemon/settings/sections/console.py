"""What answers over HTTP, and to whom."""

from typing import Self

from pydantic import Field, model_validator

from daemon.settings.sections.section import Section
from daemon.settings.sections.values import LOOPBACK, AbsolutePath, Name, Text


class ApiKeySettings(Section):
    """`[[console.api_keys]]`: one client of the inference API. `kopru config api-key NAME` makes one."""

    name: Name = Field(description="lower-case letters, digits and hyphens, at most 63")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="the SHA-256 of the key: 64 lower-case hex digits")
    requests_per_minute: int = Field(default=600, ge=1, le=1_000_000, description="1 to 1000000 requests in a minute")


class ConsoleSettings(Section):
    """`[console]`: HTTP. Off unless a port is set."""

    address: Text = Field(default="127.0.0.1", description="an address of this machine; 0.0.0.0 or :: for all of them")
    port: int | None = Field(default=None, ge=1, le=65535, description="a TCP port, 1 to 65535; not set: no HTTP")
    certificate_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a PEM file: this server's certificate, then its issuers'"
    )
    private_key_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a PEM file that others cannot read"
    )
    api_keys: tuple[ApiKeySettings, ...] = Field(
        default=(), description="tables [[console.api_keys]], one for each client of the inference API"
    )

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file go together; one of them is not set")
        if self.port and not self.certificate_file and self.address not in LOOPBACK:
            raise ValueError(
                "tensors of patients' images would be sent unencrypted; set certificate_file and private_key_file, or"
                " listen on 127.0.0.1 behind a proxy that does this"
            )
        return self
