"""What can be set: one frozen model for each section of the TOML file, with each key's meaning and allowed values.

A value that passed here is one the daemon can work with; nothing downstream checks it again. Keys that are not listed
are refused. Defaults that depend on the machine (folders, cores) are made in `daemon.settings.defaults`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from anonymize import InvalidPolicy, Option, Policy

if TYPE_CHECKING:
    from runtime.package import Route

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_LONGEST_SOCKET_DIRECTORY_BYTES = 84
"""A Unix socket's path has at most 107 bytes on Linux (unix(7)); names of sockets take up to 23 of them."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    return path


def _short_enough_for_sockets(path: Path) -> Path:
    if len(bytes(path)) > _LONGEST_SOCKET_DIRECTORY_BYTES:
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
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
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
_KINDS = "fhir, directory, pacs or dicom"


class Section(BaseModel):
    """A table of the settings: frozen, and only with the keys it lists."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NodeSettings(Section):
    """`[node]`: this installation."""

    name: NodeName = Field(default="kopru", description="lower-case letters, digits and hyphens, at most 19")
    data: AbsolutePath = Field(
        description="an absolute path; everything that is kept lies under it unless set elsewhere"
    )
    runtime_directory: SocketDirectory = Field(
        description=f"an absolute path of at most {_LONGEST_SOCKET_DIRECTORY_BYTES} bytes, for the Unix sockets"
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


class DicomSettings(Section):
    """`[dicom]`: the C-STORE receiver."""

    address: Text = Field(default="127.0.0.1", description="an address of this machine; 0.0.0.0 or :: for all of them")
    port: int = Field(default=11112, ge=0, le=65535, description="a TCP port, 1 to 65535; 0 takes any free one")
    ae_title: AeTitle = Field(default="KOPRU", description="1 to 16 printable ASCII characters, no backslash")
    receivers: int = Field(ge=1, le=256, description="1 to 256 processes")
    maximum_associations: int = Field(default=64, ge=1, le=10_000, description="1 to 10000, all receivers together")
    maximum_pdu_bytes: int = Field(default=1 << 20, ge=4096, le=1 << 27, description="4096 to 134217728 bytes")
    accept_any_calling: bool = Field(
        default=False, description="true or false; false admits only the AE titles listed as `sources`"
    )
    accept_any_called: bool = Field(default=False, description="true or false; false admits only calls to `ae_title`")
    network_timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="more than 0, at most 3600 seconds")
    maximum_object_bytes: int = Field(
        default=2 << 30, ge=1 << 20, le=1 << 40, description="1048576 to 1099511627776 bytes for one instance"
    )


class SourceDefaults(Section):
    """`[source_defaults]`: what holds for a source unless its own table says otherwise."""

    issuer: Text = Field(
        default="local",
        description="who issued the patient IDs of instances without (0010,0021); sources with the same issuer are "
        "taken to speak of the same patients",
    )
    timezone: TimeZone = Field(default="UTC", description="an IANA time zone, such as Europe/Istanbul")
    settle_seconds: float = Field(
        default=10.0, ge=0, le=86_400, description="0 to 86400 seconds of quiet after the association was released"
    )
    timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        le=7 * 86_400,
        description="more than 0, at most 604800 seconds of quiet on an open association",
    )
    force_seconds: float = Field(
        default=3600.0,
        gt=0,
        le=30 * 86_400,
        description="more than 0, at most 2592000 seconds from a study's first instance",
    )
    force_instances: int = Field(default=20_000, ge=1, description="1 or more instances")
    expected_count: bool = Field(default=True, description="true or false: believe (0020,1208) where it is sent")
    pipeline: tuple[Name, ...] = Field(
        default=(), description="a list of pipelines that are enabled; empty: all of them"
    )
    look_for_text: Literal["never", "when-suspect", "always"] = Field(
        default="when-suspect", description="never, when-suspect or always: look for text burned into images"
    )


class SourceSettings(SourceDefaults):
    """`[[sources]]`: one application entity that sends to us."""

    ae_title: AeTitle = Field(description="1 to 16 printable ASCII characters, no backslash")
    issuer: Text = Field(description="who issued this source's patient IDs; also to be set once in [source_defaults]")


OptionName = Literal[
    "clean-pixel-data",
    "clean-recognizable-visual-features",
    "clean-graphics",
    "clean-structured-content",
    "clean-descriptors",
    "retain-longitudinal-full-dates",
    "retain-longitudinal-modified-dates",
    "retain-patient-characteristics",
    "retain-device-identity",
    "retain-uids",
    "retain-safe-private",
    "retain-institution-identity",
]


class PolicySettings(Section):
    """What a pipeline, or a destination of kind `dicom`, may see beyond the Basic Profile of PS3.15."""

    options: tuple[OptionName, ...] = Field(
        default=("clean-pixel-data",), description=f"a list of options of PS3.15 E.3: {', '.join(get_args(OptionName))}"
    )
    year_only: bool = Field(default=False, description="true or false: of dates, keep the year")

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        try:
            self.policy()
        except InvalidPolicy as error:
            raise ValueError(str(error)) from None
        return self

    def policy(self) -> Policy:
        """The policy that was chosen. Raises `anonymize.InvalidPolicy` for one that cannot be kept."""
        return Policy(frozenset(Option(name) for name in self.options), self.year_only)


class DestinationSettings(Section):
    """What all kinds of `[[destinations]]` have."""

    name: Name = Field(description="lower-case letters, digits and hyphens, at most 63")
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600, description="more than 0, at most 3600 seconds")
    maximum_attempts: int = Field(
        default=300, ge=1, le=1000, description="1 to 1000 attempts before a person must look"
    )


class ReportDestination(DestinationSettings):
    """What the destinations of reports have: they are told who the patient is."""

    status: Literal["partial", "preliminary"] = Field(
        default="partial", description="partial or preliminary: the status of a report that no person has signed off"
    )
    confirm_research: bool = Field(
        default=False, description="true: this site wants reports of models meant for research at this destination"
    )
    heatmaps: bool = Field(
        default=False, description="true: reports bring pictures of what raised the model's scores, as Media"
    )
    patient_systems: dict[Text, Text] = Field(
        default_factory=dict, description="a table: issuer = 'system of the FHIR identifier'"
    )


class FhirDestination(ReportDestination):
    """A FHIR R4 server."""

    kind: Literal["fhir"] = Field(description=_KINDS)
    url: FhirUrl = Field(description="an https base URL without credentials")
    token: SecretStr | None = Field(
        default=None, description="a bearer token; from the environment, a credential or `token_file` only"
    )
    token_file: AbsolutePath | None = Field(
        default=None, description="the absolute path of a file that others cannot read"
    )
    ca_file: AbsolutePath | None = Field(default=None, description="the absolute path of a PEM file")


class DirectoryDestination(ReportDestination):
    """A folder that gets identified JSON: outside the sealed boundary (DESIGN §5), for demonstration and tests."""

    kind: Literal["directory"] = Field(description=_KINDS)
    path: AbsolutePath = Field(description="an absolute path")
    heatmaps: bool = Field(
        default=True, description="false: reports come without pictures of what raised the model's scores"
    )


class StorageDestination(DestinationSettings):
    """What the application entities have that get instances by C-STORE."""

    address: Text = Field(description="a host name or IP address")
    port: int = Field(ge=1, le=65535, description="1 to 65535")
    ae_title: AeTitle = Field(description="1 to 16 printable ASCII characters, no backslash: whom we call")
    calling_ae_title: AeTitle | None = Field(
        default=None,
        description="1 to 16 printable ASCII characters, no backslash: as whom we call; default: dicom.ae_title",
    )
    pipelines: tuple[Name, ...] = Field(
        default=(), description="a list of enabled pipelines whose studies it is for; empty: all of them"
    )

    def takes(self, pipeline: str) -> bool:
        """Whether it is for studies of the pipeline."""
        return not self.pipelines or pipeline in self.pipelines


class PacsDestination(StorageDestination):
    """A PACS that gets, by C-STORE, what was made about its studies: pictures and outlines, under the real
    patient and study.
    """

    kind: Literal["pacs"] = Field(description=_KINDS)
    confirm_research: bool = Field(
        default=False, description="true: this site wants what models meant for research have made at this destination"
    )


class DicomDestination(StorageDestination):
    """An application entity that gets the de-identified instances of studies by C-STORE, under a policy of its own."""

    kind: Literal["dicom"] = Field(description=_KINDS)
    overwrites: bool = Field(
        default=False,
        description="true if an instance that comes again takes the place of the earlier one there; false: a person"
        " is told when one was sent before with other content",
    )
    segmentations: bool = Field(
        default=False,
        description="true: what models outlined in a study's volumes goes there with it, that of models meant for"
        " research, too; it must take DICOM Segmentations",
    )
    deidentification: PolicySettings = Field(
        default_factory=PolicySettings, description="a table { options = […], year_only = … }, as for a pipeline"
    )


Destination = Annotated[
    FhirDestination | DirectoryDestination | PacsDestination | DicomDestination, Field(discriminator="kind")
]


class DeidentificationSettings(PolicySettings):
    """`[deidentification]`: what holds for pipelines that have no table of their own, and how pixels are cleaned."""

    pipelines: dict[Name, PolicySettings] = Field(
        default_factory=dict, description="tables [deidentification.pipelines.NAME]"
    )
    markers: tuple[Text, ...] = Field(
        default=(), description="a list of words that may stay in images, beside L, R, AP, PORTABLE and the like"
    )
    pixel_script: AbsolutePath | None = Field(
        default=None, description="the absolute path of a DicomPixelAnonymizer.script of CTP"
    )

    def policy_for(self, pipeline: str) -> Policy:
        """The policy of a pipeline."""
        return self.pipelines.get(pipeline, self).policy()


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
        if self.port and not self.certificate_file and self.address not in _LOOPBACK:
            raise ValueError(
                "tensors of patients' images would be sent unencrypted; set certificate_file and private_key_file, or"
                " listen on 127.0.0.1 behind a proxy that does this"
            )
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


class Settings(Section):
    """Everything that can be set, validated. Made by `daemon.settings.load_settings`."""

    pipelines: tuple[Name, ...] = Field(default=("chest-xray",), description="a list of names of clinical pipelines")
    node: NodeSettings
    database: DatabaseSettings
    store: StoreSettings
    keys: KeySettings
    dicom: DicomSettings
    source_defaults: SourceDefaults = Field(default_factory=SourceDefaults)
    sources: tuple[SourceSettings, ...] = Field(
        default=(), description="tables [[sources]], one for each calling AE title"
    )
    destinations: tuple[Destination, ...] = Field(description="tables [[destinations]], one at least")
    deidentification: DeidentificationSettings = Field(default_factory=DeidentificationSettings)
    runtime: RuntimeSettings
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    engine: EngineSettings
    audit: AuditSettings
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        if not self.destinations:
            yield "destinations: there is none, so no report could go anywhere; name one"
        yield from self._unusable_destinations()
        for what, values in (
            ("sources: the ae_title", [source.ae_title for source in self.sources]),
            ("destinations: the name", [destination.name for destination in self.destinations]),
            ("pipelines: the name", list(self.pipelines)),
            ("console.api_keys: the name", [key.name for key in self.console.api_keys]),
            ("runtime.remotes: the authority", [remote.authority for remote in self.runtime.remotes.values()]),
        ):
            if twice := sorted({value for value in values if values.count(value) > 1}):
                yield f"{what} {twice[0]!r} is used twice"
        if unknown := sorted(set(self.deidentification.pipelines) - set(self.pipelines)):
            yield f"deidentification.pipelines.{unknown[0]}: there is no such pipeline ({', '.join(self.pipelines)})"
        for source in (*self.sources, self.source_for("")):
            if unknown := sorted(set(source.pipeline) - set(self.pipelines)):
                at = f"sources.{source.ae_title}" if source.ae_title else "source_defaults"
                yield f"{at}.pipeline: {unknown[0]!r} is not among the enabled pipelines ({', '.join(self.pipelines)})"

    def _unusable_destinations(self) -> Iterator[str]:
        storing = [destination for destination in self.destinations if isinstance(destination, StorageDestination)]
        for destination in storing:
            if unknown := sorted(set(destination.pipelines) - set(self.pipelines)):
                at = f"destinations.{destination.name}.pipelines"
                yield f"{at}: {unknown[0]!r} is not among the enabled pipelines ({', '.join(self.pipelines)})"
            here = destination.address in {self.dicom.address, "localhost", "127.0.0.1", "::1"}
            if here and destination.port == self.dicom.port:
                yield f"destinations.{destination.name}: is where kopru itself receives, so studies would go round"
        if self.destinations and len(storing) == len(self.destinations):
            for pipeline in self.pipelines:
                if not any(destination.takes(pipeline) for destination in storing):
                    yield f"pipelines: {pipeline!r} has no destination; let one of `destinations` take it"

    def source_for(self, ae_title: str) -> SourceSettings:
        """What holds for the calling AE title: its own table, else `source_defaults`."""
        for source in self.sources:
            if source.ae_title == ae_title.strip(" "):
                return source
        return SourceSettings.model_construct(ae_title=ae_title.strip(" "), **dict(self.source_defaults))

    def destination(self, name: str) -> Destination:
        """The settings of the destination of this name. Raises `KeyError` where it has been taken out."""
        for destination in self.destinations:
            if destination.name == name:
                return destination
        raise KeyError(name)

    def is_source(self, ae_title: str) -> bool:
        """Whether the AE title has a table of its own."""
        return any(source.ae_title == ae_title.strip(" ") for source in self.sources)


def sections_of(section: type[Section], key: str) -> list[type[Section]]:
    """The models of the tables that `key` of a section can hold; empty if it holds a plain value or does not exist."""
    field = section.model_fields.get(key)
    return list(_sections_in(field.annotation)) if field else []


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)
