"""What the outbox holds for those that get instances: which sealed ones are to be there.

For an archive they are de-identified, for a PACS they name the patient: two classes, and the bytes of one are never
read as the other's, so that settings that changed the kind of a destination cannot mix them up.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar


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


_Instance = TypeVar("_Instance", bound=ListedInstance)


@dataclass(frozen=True, slots=True)
class Manifest(Generic[_Instance]):
    """The instances of one revision for one destination.

    `gone` are SOP Instance UIDs that were sent there for an earlier revision and are not part of this one.
    """

    listed: tuple[_Instance, ...]
    gone: tuple[str, ...] = ()

    _key: ClassVar[str]
    """Under which the instances stand in JSON: what tells the kinds apart."""
    _lists: ClassVar[type[Any]]

    def to_json(self) -> bytes:
        """The form in which it is sealed."""
        listed = [asdict(instance) for instance in self.listed]
        return json.dumps({self._key: listed, "gone": self.gone}, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises `NotAManifest`."""
        try:
            read = json.loads(data)
            return cls(tuple(cls._lists(**instance) for instance in read[cls._key]), tuple(read["gone"]))
        except (ValueError, KeyError, TypeError):
            raise NotAManifest("these bytes list no instances for a destination of this kind") from None


class CopyManifest(Manifest[CopiedInstance]):
    """The de-identified instances of one revision for one archive."""

    __slots__ = ()
    _key, _lists = "copies", CopiedInstance


class MadeManifest(Manifest[ListedInstance]):
    """What was made about one revision for one PACS.

    The UID of each follows from its content, so that none was ever sent there with another.
    """

    __slots__ = ()
    _key, _lists = "made", ListedInstance


def manifest_in(document: bytes) -> CopyManifest | MadeManifest | None:
    """A document of the outbox that is a manifest, of either kind; None for a report."""
    for kind in (CopyManifest, MadeManifest):
        try:
            return kind.from_json(document)
        except NotAManifest:
            continue
    return None
