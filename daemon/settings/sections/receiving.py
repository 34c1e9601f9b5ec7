"""Who may send, to which application entity, and what holds for what each source sends."""

from typing import Literal

from pydantic import Field

from daemon.settings.sections.section import Section
from daemon.settings.sections.values import AeTitle, Name, Text, TimeZone


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
