"""Instances that kopru makes for a PACS: they name the real patient, and are of a study there (PS3.3 C.7.1, C.7.2).

Who the patient is and which study it is stand in them byte for byte as in the image that they are about, in its own
character set, so that no reader sees another name or number. What kopru adds is ASCII, which every character set holds.
They are another class than a `DeidentifiedInstance`, and neither is ever read as the other: an archive that must not
know the patient cannot be given one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from anonymize import ReceivedInstance, map_uid
from anonymize.elements import Element, Encoding, Kind, walk
from anonymize.encoding import encode, encode_head, encode_item, part10_head
from anonymize.transfer_syntaxes import encoded_data_set

_CHARACTER_SET: Final = 0x00080005
_SOP_INSTANCE_UID: Final = 0x00080018
_DEVICE_UID: Final = 0x00181002
_ALWAYS: Final = (
    0x00080020,  # Study Date
    0x00080030,  # Study Time
    0x00080050,  # Accession Number
    0x00080090,  # Referring Physician's Name
    0x00100010,  # Patient's Name
    0x00100020,  # Patient ID
    0x00100030,  # Patient's Birth Date
    0x00100040,  # Patient's Sex
    0x0020000D,  # Study Instance UID
    0x00200010,  # Study ID
)
"""Of Type 1 or 2: empty where the image has them not."""
_WHERE_THERE: Final = (
    _CHARACTER_SET,
    0x00080051,  # Issuer of Accession Number Sequence
    0x00080201,  # Timezone Offset From UTC
    0x00081030,  # Study Description
    0x00100021,  # Issuer of Patient ID
    0x00100022,  # Type of Patient ID
    0x00100024,  # Issuer of Patient ID Qualifiers Sequence
    0x00101010,  # Patient's Age
    0x00101020,  # Patient's Size
    0x00101030,  # Patient's Weight
)
_FRAME_OF_REFERENCE: Final[tuple[int, ...]] = (0x00200052, 0x00201040)
"""Frame of Reference UID, Position Reference Indicator (PS3.3 C.7.4.1)."""
_LOSSY: Final = (0x00282110, 0x00282112, 0x00282114)
"""Lossy Image Compression, Ratio and Method: once lossy, always lossy, in what is derived, too (PS3.3 C.7.6.1.1.5)."""

_TEXT: Final = frozenset({"AS", "CS", "DA", "DS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
"""Values of these are the same bytes in every encoding."""
_ENCODING: Final = Encoding.IMPLICIT_LITTLE
TRANSFER_SYNTAX_UID: Final = str(ImplicitVRLittleEndian)
"""Every SCP that takes a SOP class takes it in this one (PS3.5 10.1)."""

_WHEN_AND_WHERE: Final = frozenset({0x00080023, 0x00080033, 0x00200013})
"""Content Date and Time, Instance Number: two that differ in nothing else say the same."""


@dataclass(frozen=True, slots=True)
class StudyContext:
    """Whose and which study something is, as one received image says, and which image that is. Identified.

    `elements` are encoded elements by their tag, in implicit VR; `frame_of_reference` are those that say in whose
    coordinates the image lies.
    """

    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    elements: Mapping[int, bytes] = field(repr=False)
    frame_of_reference: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, image: ReceivedInstance) -> Self:
        """Take it out of an image. Raises `anonymize.MalformedDataSet`."""
        found = _copied(image.data_set, image.transfer_syntax_uid)
        if b"01" not in found.get(_LOSSY[0], b""):
            found = {tag: encoded for tag, encoded in found.items() if tag not in _LOSSY}
        frame_of_reference = {tag: found.pop(tag) for tag in _FRAME_OF_REFERENCE if tag in found}
        nothing = {tag: encode(tag, dictionary_VR(tag), b"", _ENCODING) for tag in _ALWAYS}
        return cls(image.sop_class_uid, image.sop_instance_uid, nothing | found, frame_of_reference)

    def in_its_frame(self) -> Self:
        """The same for what is in the image's coordinates, and so of its frame of reference."""
        return replace(self, elements={**self.elements, **self.frame_of_reference})


@dataclass(frozen=True, slots=True)
class MadeInstance:
    """One SOP instance that kopru made about a study and that names its patient; `file` is a Part 10 file.

    Only `make` and `from_bytes` make one.
    """

    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    file: bytes = field(repr=False)

    transfer_syntax_uid = TRANSFER_SYNTAX_UID

    @classmethod
    def make(cls, data_set: Dataset, study: StudyContext, uid_key: bytes, device_uid: str) -> Self:
        """Complete a data set, in ASCII and without a SOP Instance UID, by whose and which study it is, and by what
        device it was made.

        The SOP Instance UID follows from all the rest (but for when it was made, and its number in the series) under
        the 32-byte key: the same content has the same, and whatever differs has another. A PACS that keeps the first
        of what it gets under a UID can so never show what is outdated in the place of what is new.
        """
        elements = {**_own(data_set), **study.elements}
        elements[_DEVICE_UID] = encode(_DEVICE_UID, "UI", device_uid.encode(), _ENCODING)
        content = hashlib.sha256()
        for tag in sorted(elements.keys() - _WHEN_AND_WHERE):
            content.update(elements[tag])
        uid = map_uid(uid_key, f"instance {content.hexdigest()}")
        elements[_SOP_INSTANCE_UID] = encode(_SOP_INSTANCE_UID, "UI", uid.encode(), _ENCODING)
        head = part10_head(data_set.SOPClassUID, uid, TRANSFER_SYNTAX_UID)
        return cls(str(data_set.SOPClassUID), uid, head + b"".join(elements[tag] for tag in sorted(elements)))

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The file, as what is sent gives it."""
        return (self.file,)

    def to_bytes(self) -> bytes:
        """The form in which it is kept, sealed: its UIDs as a line of JSON, then the file."""
        line = {"made": [self.sop_class_uid, self.sop_instance_uid]}
        return json.dumps(line, separators=(",", ":")).encode() + b"\n" + self.file

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises ValueError for anything else, a de-identified instance above all."""
        line, _, file = data.partition(b"\n")
        said = json.loads(line)
        if not isinstance(said, dict) or said.keys() != {"made"}:
            raise ValueError("these bytes are no instance that was made for a PACS")
        sop_class_uid, sop_instance_uid = said["made"]
        return cls(sop_class_uid, sop_instance_uid, file)


def _own(data_set: Dataset) -> dict[int, bytes]:
    """The elements that kopru adds, encoded one by one."""
    encoded = {}
    for element in data_set:
        alone, buffer = Dataset(), DicomBytesIO()
        alone.add(element)
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        write_dataset(buffer, alone)
        encoded[int(element.tag)] = buffer.getvalue()
    return encoded


def _copied(data_set: bytes, transfer_syntax_uid: str) -> dict[int, bytes]:
    """What is taken over, by tag, with the bytes of its values."""
    wanted = {*_ALWAYS, *_WHERE_THERE, *_FRAME_OF_REFERENCE, *_LOSSY}
    received = encoded_data_set(data_set, transfer_syntax_uid)
    steps = walk(received.data, received.encoding)
    copies = ((step.tag, _copy(received.data, step, steps)) for step in steps if step.tag in wanted and not step.depth)
    return {tag: encoded for tag, encoded in copies if encoded}


def _copy(data: bytes, step: Element, steps: Iterator[Element]) -> bytes:
    """One element in implicit VR, its sequences with all that is text in them; b"" for what cannot be taken over."""
    if step.kind is Kind.SEQUENCE:
        content = b"".join(_items(data, steps))
        return encode_head(step.tag, "SQ", len(content), _ENCODING) + content
    vr = _vr(step.tag)  # whatever the sender says that it is
    if step.kind is not Kind.VALUE or vr not in _TEXT:
        return b""
    return encode(step.tag, vr, bytes(data[step.value : step.value + step.length]), _ENCODING)


def _items(data: bytes, steps: Iterator[Element]) -> Iterator[bytes]:
    for step in steps:
        if step.kind is Kind.SEQUENCE_END:
            return
        yield encode_item(b"".join(_elements(data, steps)), _ENCODING)


def _elements(data: bytes, steps: Iterator[Element]) -> Iterator[bytes]:
    for step in steps:
        if step.kind is Kind.ITEM_END:
            return
        yield _copy(data, step, steps)


def _vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:  # a private element
        return "UN"
