"""What the outbox holds for those that get instances: which sealed ones are to be there.

For an archive they are de-identified, for a PACS they name the patient: two classes, and the bytes of one are never
read as the other's, so that settings that changed the kind of a destination cannot mix them up.
"""

import json
from dataclasses import asdict, dataclass
from typing import Self


class NotAManifest(Exception):
    """These bytes are no manifest: they were made for a destination of another kind."""


@dataclass(frozen=True, slots=True)
class ListedInstance:
    """One instance: where it lies sealed (`ref`) and what it is."""

    ref: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def context(self) -> tuple[str, str]:
        """The SOP class and transfer syntax in which it is sent."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class CopiedInstance(ListedInstance):
    """One de-identified instance under the destination's policy.

    `digest` is the SHA-256 of its bytes, in hexadecimal digits. One that `differs` was sent there before with other
    bytes, under an earlier policy or by an earlier release.
    """

    digest: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """The de-identified instances of one revision for one archive.

    `gone` are SOP Instance UIDs that were sent there for an earlier revision and are not part of this one.
    """

    copies: tuple[CopiedInstance, ...]
    gone: tuple[str, ...] = ()

    @property
    def listed(self) -> tuple[ListedInstance, ...]:
        """The instances."""
        return self.copies

    def to_json(self) -> bytes:
        """The form in which it is sealed."""
        return _json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises `NotAManifest`."""
        try:
            read = json.loads(data)
            return cls(tuple(CopiedInstance(**copy) for copy in read["copies"]), tuple(read["gone"]))
        except (ValueError, KeyError, TypeError):
            raise NotAManifest("these bytes do not list copied instances") from None


@dataclass(frozen=True, slots=True)
class MadeManifest:
    """What was made about one revision for one PACS; `gone` as in `Manifest`.

    The UID of each follows from its content, so that none was ever sent there with another.
    """

    made: tuple[ListedInstance, ...]
    gone: tuple[str, ...] = ()

    @property
    def listed(self) -> tuple[ListedInstance, ...]:
        """The instances."""
        return self.made

    def to_json(self) -> bytes:
        """The form in which it is sealed."""
        return _json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises `NotAManifest`."""
        try:
            read = json.loads(data)
            return cls(tuple(ListedInstance(**made) for made in read["made"]), tuple(read["gone"]))
        except (ValueError, KeyError, TypeError):
            raise NotAManifest("these bytes do not list instances that were made") from None


def _json(manifest: Manifest | MadeManifest) -> bytes:
    return json.dumps(asdict(manifest), separators=(",", ":")).encode()


def manifest_in(document: bytes) -> Manifest | MadeManifest | None:
    """A document of the outbox that is a manifest, of either kind; None for a report."""
    for kind in (Manifest, MadeManifest):
        try:
            return kind.from_json(document)
        except NotAManifest:
            continue
    return None
