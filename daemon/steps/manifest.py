"""What the outbox holds for a DICOM destination: which sealed, de-identified instances are to be there."""

import json
from dataclasses import asdict, dataclass
from typing import Self


class NotAManifest(Exception):
    """These bytes are no manifest: they were made for a destination of another kind."""


@dataclass(frozen=True, slots=True)
class CopiedInstance:
    """One instance under the destination's policy: where it lies sealed (`ref`) and what it is.

    `digest` is the SHA-256 of its bytes, in hexadecimal digits. One that `differs` was sent there before with other
    bytes, under an earlier policy or by an earlier release.
    """

    ref: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    digest: str = ""
    differs: bool = False

    @property
    def context(self) -> tuple[str, str]:
        """The SOP class and transfer syntax in which it is sent."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Manifest:
    """The instances of one revision for one destination.

    `gone` are SOP Instance UIDs that were sent there for an earlier revision and are not part of this one.
    """

    copies: tuple[CopiedInstance, ...]
    gone: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The form in which it is sealed."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises `NotAManifest`."""
        try:
            read = json.loads(data)
            return cls(tuple(CopiedInstance(**copy) for copy in read["copies"]), tuple(read["gone"]))
        except (ValueError, KeyError, TypeError):
            raise NotAManifest("these bytes do not list copied instances") from None
