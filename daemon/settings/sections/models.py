"""Where models run: packages, devices, routes and servers elsewhere."""

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon.settings.sections.section import Section
from daemon.settings.sections.values import AbsolutePath, Name, Text

if TYPE_CHECKING:
    from runtime.package import Route


class MemorySettings(Section):
    """`[runtime.memory_bytes]`: what loaded models may hold of each device."""

    cpu: int | None = Field(default=None, ge=1, description="a number of bytes; not set: no limit")
    cuda: int | None = Field(default=None, ge=1, description="a number of bytes; not set: 80 % of the GPU's memory")


class RouteSettings(Section):
    """One of `[[runtime.routes.MODEL]]`: see `runtime.package.Route`."""

    on: Literal["cuda", "tensorrt", "cpu", "remote"] = Field(description="cuda, tensorrt, cpu or remote")
    precision: Literal["float32", "float16", "bfloat16", "int8"] | None = Field(
        default=None, description="float32, float16, bfloat16 or int8"
    )
    file: str | None = Field(default=None, description="the name of a file of the package")
    min_samples: int | None = Field(default=None, ge=1, description="only requests of so many samples or more")
    max_samples: int | None = Field(default=None, ge=1, description="only requests of so many samples at most")
    priority_at_most: int | None = Field(default=None, description="only requests so urgent; smaller is more urgent")
    waiting_at_least: int | None = Field(
        default=None, ge=0, description="only while so many samples wait for the route before it"
    )

    @model_validator(mode="after")
    def _is_a_route(self) -> Self:
        self.route()
        return self

    def route(self) -> "Route":
        """The route, as the runtime takes it."""
        from runtime.package import Route  # late: most commands read settings, and few of them need numpy

        return Route.model_validate_json(self.model_dump_json())


class RemoteSettings(Section):
    """`[runtime.remotes.NAME]`: a server that packages name in their `[remote]`, and what it demands of us."""

    authority: Annotated[str, Field(pattern=r"^[^\s/@]+$"), AfterValidator(str.lower)] = Field(
        description="host:port as the packages' URLs have it; a token goes nowhere else"
    )
    token: SecretStr | None = Field(
        default=None, description="a bearer token; from the environment, a credential or `token_file` only"
    )
    token_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a file that others cannot read"
    )
    ca_file: AbsolutePath | None = Field(default=None, description="the absolute path of a PEM file")
    timeout_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="more than 0, at most 3600 seconds for one request"
    )

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.token is not None and not re.fullmatch("[!-~]+", self.token.get_secret_value()):
            raise ValueError("the token must be one word of printable ASCII characters")
        return self


class RuntimeSettings(Section):
    """`[runtime]`: the process that owns the models."""

    packages: tuple[AbsolutePath, ...] = Field(description="a list of absolute paths of model packages")
    trusted_keys: tuple[AbsolutePath, ...] = Field(
        default=(), description="a list of absolute paths of public keys (PEM) that sign packages"
    )
    require_signatures: bool = Field(default=False, description="true or false; true wants runtime.trusted_keys")
    threads: int = Field(ge=1, le=1024, description="1 to 1024 threads for one inference on the CPU")
    lazy: bool = Field(default=False, description="true or false; true loads a model when it is first needed")
    memory_bytes: MemorySettings = Field(default_factory=MemorySettings)
    cache_bytes: int = Field(
        default=64 << 20, ge=0, description="a number of bytes for answers to identical inputs; 0: none are kept"
    )
    routes: dict[Text, tuple[RouteSettings, ...]] = Field(
        default_factory=dict, description="for a model by name, tables in the place of its package's [[routes]]"
    )
    remotes: dict[Name, RemoteSettings] = Field(
        default_factory=dict, description="tables [runtime.remotes.NAME], one for each server that models are on"
    )
    run_limit_seconds: float = Field(
        default=120.0, ge=1, le=86_400, description="1 to 86400 seconds until a run counts as hanging"
    )
    socket: AbsolutePath = Field(description="an absolute path, by default in node.runtime_directory")
    result_key_file: AbsolutePath = Field(
        description="the absolute path of a file with mode 0600: the key that signs results"
    )

    @model_validator(mode="after")
    def _someone_can_sign(self) -> Self:
        if self.require_signatures and not self.trusted_keys:
            raise ValueError("require_signatures: is true, but no key is trusted (runtime.trusted_keys)")
        return self
