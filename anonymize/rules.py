"""Says what happens to an element, and which rule says so. Never looks at a value.

An element's rule comes from the first of these that covers it:

1.  STRUCTURE: group lengths (gggg,0000) and the groups 0002 and 0004 have no place in an output: removed.
2.  RECORD: the attributes that record de-identification, (0012,0062) to (0012,0064) and (0028,0303), are written anew.
3.  IDENTITY: Patient ID and Patient's Name become the pseudonym, at every depth.
4.  PRIVATE: attributes of odd groups, private creators among them: removed (the table's own row for them).
5.  GRAPHICS: all of the groups 50xx and 60xx: without their data, which the table removes, the rest means nothing.
6.  TABLE: PS3.15 Table E.1-1, Basic Profile. Compound actions are resolved so that the output stays valid whatever
    the attribute's Type in the IOD: Z/D, X/D and X/Z/D become D (valid for every Type), X/Z becomes Z (valid for
    Types 2 and 3), X/Z/U* cleans the items and maps the UIDs in them. For sequences, where a dummy item says less
    than none, X/D becomes X and X/Z/D becomes Z.
7.  SEALED: sequences that the table misses and that identify persons or hold what cannot be looked into: removed.
8.  UNKNOWN: not in the dictionary of PS3.6: removed.
9.  VR_CONFLICT: encoded with a VR of another family than the dictionary's, or encoded as UN where the dictionary has a
    choice: removed. Standard attributes encoded as UN otherwise get the dictionary's VR.
10. VALUE_REPRESENTATION: what the table does not list goes by its VR:
    - PN, DA, DT, TM, AS, AE: removed; these VRs exist to hold what identifies;
    - UI: mapped (the UIDs of the standard stay, see `anonymize.uids`);
    - LO, LT, SH, ST, UC, UR, UT: kept if in `_TECHNICAL_TEXT` (codes, make and technique, written by devices); a dummy
      if in `_REQUIRED_TEXT` (Type 1, typed by people); else emptied, which is valid for Types 2 and 3;
    - OB, UN: kept if in `_TECHNICAL_BYTES`, else removed: bytes can hold anything;
    - SQ: cleaned, item by item;
    - CS, DS, IS, AT and numbers: kept, if the value proves to be one (`anonymize.proofs`).
"""

from enum import StrEnum, unique
from typing import Final, NamedTuple

from pydicom._dicom_dict import DicomDictionary

from anonymize.dummies import has_dummy
from anonymize.errors import InvalidProfile
from anonymize.profile import ActionCode, Profile

PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020


@unique
class Action(StrEnum):
    """What is done to an element."""

    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    MAP_UID = "map-uid"
    PSEUDONYM = "pseudonym"
    CLEAN = "clean"  # a sequence: go on with its items
    KEEP = "keep"


@unique
class Rule(StrEnum):
    """Where an action comes from. The first ten are the rules above, in their order; the others look at the value."""

    STRUCTURE = "structure"
    RECORD = "record"
    IDENTITY = "identity"
    PRIVATE = "private"
    GRAPHICS = "graphics"
    TABLE = "table-e.1-1"
    SEALED = "sealed"
    UNKNOWN = "unknown"
    VR_CONFLICT = "vr-conflict"
    VALUE_REPRESENTATION = "value-representation"
    UNSOUND_VALUE = "unsound-value"  # the value is not what the VR allows
    PIXEL_DATA = "pixel-data"  # the image itself, or pixel data where no image is


class Verdict(NamedTuple):
    """An action and its rule; the `vr` to write with ("" if removed); the most values it may have, if bounded."""

    action: Action
    rule: Rule
    vr: str = ""
    max_values: int | None = None


_RECORD: Final = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})

_SEALED: Final = frozenset(
    {
        0x00080051,  # Issuer of Accession Number Sequence
        0x00100024,  # Issuer of Patient ID Qualifiers Sequence
        0x00100026,  # Source Patient Group Identification Sequence
        0x00100027,  # Group of Patients Identification Sequence
        0x00101021,  # Patient's Size Code Sequence
        0x00101022,  # Patient's Body Mass Index
        0x00321031,  # Requesting Physician Identification Sequence
        0x04000500,  # Encrypted Attributes Sequence
        0x4FFE0001,  # MAC Parameters Sequence
    }
)

_TECHNICAL_TEXT: Final = frozenset(
    {
        0x00080070,  # Manufacturer
        0x00080100,  # Code Value
        0x00080102,  # Coding Scheme Designator
        0x00080103,  # Coding Scheme Version
        0x00080104,  # Code Meaning
        0x00080119,  # Long Code Value
        0x00080120,  # URN Code Value
        0x00081090,  # Manufacturer's Model Name
        0x00180024,  # Sequence Name
        0x00180085,  # Imaged Nucleus
        0x00181016,  # Secondary Capture Device Manufacturer
        0x00181018,  # Secondary Capture Device Manufacturer's Model Name
        0x00181019,  # Secondary Capture Device Software Versions
        0x00181020,  # Software Versions
        0x00181022,  # Video Image Format Acquired
        0x00181023,  # Digital Image Format Acquired
        0x00181160,  # Filter Type
        0x00181180,  # Collimator/grid Name
        0x001811A4,  # Paddle Description
        0x00181210,  # Convolution Kernel
        0x00181250,  # Receive Coil Name
        0x00181251,  # Transmit Coil Name
        0x00181260,  # Plate Type
        0x00181261,  # Phosphor Type
        0x00181401,  # Acquisition Device Processing Code
        0x00185020,  # Processing Function
        0x0018702A,  # Detector Manufacturer Name
        0x0018702B,  # Detector Manufacturer's Model Name
        0x00189005,  # Pulse Sequence Name
        0x00189320,  # Image Filter
        0x00189525,  # Application Version
        0x00189526,  # Application Manufacturer
        0x00209056,  # Stack ID
        0x00281054,  # Rescale Type
        0x00283004,  # Modality LUT Type
        0x00409210,  # LUT Label
        0x00420012,  # MIME Type of Encapsulated Document
        0x00480106,  # Optical Path Identifier
        0x00541101,  # Attenuation Correction Method
        0x00541103,  # Reconstruction Method
        0x00541105,  # Scatter Correction Method
        0x00620009,  # Segment Algorithm Name
        0x00660031,  # Algorithm Version
        0x00660036,  # Algorithm Name
        0x006A000E,  # Referenced Optical Path Identifier
    }
)

_REQUIRED_TEXT: Final = frozenset(
    {
        0x0040A160,  # Text Value
        0x00620005,  # Segment Label
        0x00620020,  # Tracking ID
    }
)

_TECHNICAL_BYTES: Final = frozenset(
    {
        0x54000110,  # Channel Minimum Value
        0x54000112,  # Channel Maximum Value
        0x5400100A,  # Waveform Padding Value
        0x54001010,  # Waveform Data
    }
)

_IDENTIFYING_VRS: Final = frozenset({"AE", "AS", "DA", "DT", "PN", "TM"})
_TEXT_VRS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_NUMBER_VRS: Final = frozenset(
    {"AT", "FD", "FL", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "SV", "UL", "US", "UV", "DS", "IS"}
)

_BASIC: Final = {  # values of any VR but SQ
    ActionCode.REMOVE: Action.REMOVE,
    ActionCode.EMPTY: Action.EMPTY,
    ActionCode.DUMMY: Action.DUMMY,
    ActionCode.UID: Action.MAP_UID,
    ActionCode.REMOVE_OR_EMPTY: Action.EMPTY,
    ActionCode.REMOVE_OR_DUMMY: Action.DUMMY,
    ActionCode.REMOVE_EMPTY_OR_DUMMY: Action.DUMMY,
    ActionCode.EMPTY_OR_DUMMY: Action.DUMMY,
}
_BASIC_SEQUENCES: Final = {
    ActionCode.REMOVE: Action.REMOVE,
    ActionCode.EMPTY: Action.EMPTY,
    ActionCode.DUMMY: Action.DUMMY,
    ActionCode.REMOVE_OR_EMPTY: Action.EMPTY,
    ActionCode.REMOVE_OR_DUMMY: Action.REMOVE,
    ActionCode.REMOVE_EMPTY_OR_DUMMY: Action.EMPTY,
    ActionCode.REMOVE_EMPTY_OR_UIDS: Action.CLEAN,
}


class Rules:
    """The rules above, for one table. Verdicts about the attributes of the dictionary are remembered."""

    def __init__(self, profile: Profile) -> None:
        """Refuse, with `InvalidProfile`, a table that asks for what we cannot do."""
        self._profile = profile
        self._verdicts: dict[tuple[int, str | None], Verdict] = {}
        for tag, row in profile.rows.items():
            vr = _dictionary_vr(tag)
            if not _can_do(tag, vr, row.basic):
                raise InvalidProfile(f"the action {row.basic} cannot be applied to {tag:08X} with VR {vr or 'unknown'}")

    @property
    def edition(self) -> str:
        """The edition of PS3.15 that the table is from."""
        return self._profile.edition

    def verdict(self, tag: int, vr: str | None) -> Verdict:
        """Judge an attribute by its tag and its VR as encoded: None for implicit VR, UN for all that lies in a UN."""
        known = self._verdicts.get((tag, vr))
        if known is None:
            known = self._judge(tag, vr)
            if tag in DicomDictionary:  # so that what we remember is bounded
                self._verdicts[tag, vr] = known
        return known

    def _judge(self, tag: int, vr: str | None) -> Verdict:
        group = tag >> 16
        dictionary_vr = _dictionary_vr(tag)
        if tag & 0xFFFF == 0 or group in (0x0002, 0x0004):
            return Verdict(Action.REMOVE, Rule.STRUCTURE)
        if tag in _RECORD:
            return Verdict(Action.REMOVE, Rule.RECORD)
        if tag in (PATIENT_NAME, PATIENT_ID):
            return Verdict(Action.PSEUDONYM, Rule.IDENTITY, dictionary_vr)
        if group & 1:
            return Verdict(Action.REMOVE, Rule.PRIVATE)
        if group >> 8 in (0x50, 0x60):
            return Verdict(Action.REMOVE, Rule.GRAPHICS)
        if (row := self._profile.row(tag)) is not None:
            return Verdict(_resolve(row.basic, dictionary_vr), Rule.TABLE, dictionary_vr)
        if tag in _SEALED:
            return Verdict(Action.REMOVE, Rule.SEALED)
        if not dictionary_vr:
            return Verdict(Action.REMOVE, Rule.UNKNOWN)
        settled = _settle(dictionary_vr, vr)
        if settled is None:
            return Verdict(Action.REMOVE, Rule.VR_CONFLICT)
        return _by_vr(tag, settled)


def _dictionary_vr(tag: int) -> str:
    entry = DicomDictionary.get(tag)
    return entry[0] if entry else ""


def _resolve(code: ActionCode, vr: str) -> Action:
    """Turn the table's action into ours. Raises KeyError for one that cannot be applied to the VR."""
    if vr == "SQ":
        return _BASIC_SEQUENCES[code]
    action = _BASIC[code]
    return Action.MAP_UID if action is Action.DUMMY and vr == "UI" else action


def _can_do(tag: int, vr: str, code: ActionCode) -> bool:
    try:
        action = _resolve(code, vr)
    except KeyError:
        return False
    return action is Action.REMOVE or (bool(vr) and (action is not Action.DUMMY or has_dummy(tag, vr)))


def _settle(dictionary_vr: str, vr: str | None) -> str | None:
    """Choose the VR to judge and write by; None where encoding and dictionary do not go together."""
    alternatives = dictionary_vr.split(" or ")
    if vr == "UN":
        return alternatives[0] if len(alternatives) == 1 else None
    if vr is None:
        return alternatives[-1]  # implicit VR: never written, and the last (OW, SS) is of the family of all
    if vr in alternatives:
        return vr
    return vr if any(_family(vr) == _family(alternative) for alternative in alternatives) else None


def _family(vr: str) -> str:
    if vr in _TEXT_VRS:
        return "text"
    if vr in _NUMBER_VRS:
        return "number"
    return vr


def _by_vr(tag: int, vr: str) -> Verdict:
    rule = Rule.VALUE_REPRESENTATION
    if vr == "SQ":
        return Verdict(Action.CLEAN, rule, vr)
    if vr == "UI":
        return Verdict(Action.MAP_UID, rule, vr)
    if vr in _IDENTIFYING_VRS or (vr in ("OB", "UN") and tag not in _TECHNICAL_BYTES):
        return Verdict(Action.REMOVE, rule)
    if tag in _REQUIRED_TEXT:
        return Verdict(Action.DUMMY, rule, vr)
    if vr in _TEXT_VRS and tag not in _TECHNICAL_TEXT:
        return Verdict(Action.EMPTY, rule, vr)
    return Verdict(Action.KEEP, rule, vr, _max_values(tag))


def _max_values(tag: int) -> int | None:
    """Read the most values that the dictionary's multiplicity ("1", "2-3", "1-n") allows; None if it sets no bound."""
    most = DicomDictionary[tag][1].rpartition("-")[2]
    return int(most) if most.isdigit() else None
