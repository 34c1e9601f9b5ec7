"""Says what happens to an element, and which rule says so. Never looks at a value.

An element's rule comes from the first of these that covers it:

1.  STRUCTURE: group lengths (gggg,0000) and the groups 0002 and 0004 have no place in an output: removed.
2.  RECORD: the attributes that record de-identification, (0012,0062) to (0012,0064), (0028,0301) and (0028,0303), are
    written anew.
3.  IDENTITY: Patient ID and Patient's Name become the pseudonym, at every depth.
4.  PRIVATE: attributes of odd groups, private creators among them: removed (the table's own row for them). With Retain
    Safe Private, those of Table E.3.10-1 stay, with their creator (`anonymize.safe_private`).
5.  GRAPHICS: all of the groups 50xx and 60xx: without their data, which the table removes, the rest means nothing.
    With Clean Graphics, an overlay plane that has its own bitmap at the top of the data set is looked at for text as
    the image is, and stays without it; one that cannot be proven clean is removed.
6.  OPTION: what an option of the policy puts in the place of the Basic Profile in PS3.15 Table E.1-1. Of two options
    that cover an attribute, one that keeps it goes before one that cleans it. The text of structured content and of
    graphic annotations, which has no row, is cleaned with what holds it. "Clean" is: for sequences, go on with
    the items; for text, keep the words that anybody may know (`anonymize.vocabulary`); for dates, the patient's
    offset. Where it cannot be done to the value, rule 7 applies.
7.  TABLE: PS3.15 Table E.1-1, Basic Profile. Compound actions are resolved by the Type of the attribute in the IOD
    (`anonymize.attribute_types`), as the table's legend says; where the Type is not known, so that the output stays
    valid whatever it is: Z/D, X/D and X/Z/D become D, X/Z becomes Z; for sequences, where a dummy item says less than
    none, X/D becomes X and X/Z/D becomes Z. Sequences that must have items and have no dummy are cleaned, item by item.
    X/Z/U* cleans the items and maps the UIDs in them. X is D for a date that is Type 1 at the top (when a presentation
    state was made), and Z for a value that is Type 2 in an item (the Requested Procedure ID of a report's request):
    without them the IOD is not kept.
8.  SEALED: attributes that the table misses and that identify or hold what cannot be looked into: removed.
9.  UNKNOWN: not in the dictionary of PS3.6: removed.
10. VR_CONFLICT: encoded with a VR of another family than the dictionary's, or encoded as UN where the dictionary has a
    choice: removed. Standard attributes encoded as UN otherwise get the dictionary's VR.
11. VALUE_REPRESENTATION: what the table does not list goes by its VR:
    - PN, DA, DT, TM, AS, AE: as the table's X/Z/D, since these VRs exist to hold what identifies; with an option that
      retains dates, ages (Patient Characteristics) or devices, as the option treats the table's;
    - UI: mapped (the UIDs of the standard stay, see `anonymize.uids`); kept with Retain UIDs;
    - LO, LT, SH, ST, UC, UR, UT: kept if in `_TECHNICAL_TEXT` (make and technique, written by devices) and of known
      words (`anonymize.vocabulary`); else emptied, or a dummy if it is Type 1; cleaned with Clean Descriptors;
    - OB, UN: kept if in `_TECHNICAL_BYTES`, else removed: bytes can hold anything; a colour profile that is Type 1
      becomes one of sRGB;
    - SQ: cleaned, item by item;
    - CS: kept, if the value proves to be one (`anonymize.proofs`) and is of known words;
    - DS, IS, AT and numbers: kept, if the value proves to be one.

Within items, CODE goes before rules 7 to 11 for the attributes of a coded entry: see `anonymize.codes`.
"""

from enum import StrEnum, unique
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom._dicom_dict import DicomDictionary

from anonymize.attribute_types import AttributeTypes, Type
from anonymize.dummies import ICC_PROFILE, has_dummy
from anonymize.errors import InvalidProfile
from anonymize.options import Dates, Option, Policy
from anonymize.profile import ActionCode, Profile, Row

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
    CLEAN_TEXT = "clean-text"
    CLEAN_PIXELS = "clean-pixels"  # text was blanked, or what is no pixel taken out
    CLEAN_OVERLAY = "clean-overlay"  # to be judged with the rest of its plane; in no trail
    CUT = "cut"  # numbers: kept, and what lies behind the last of them taken off
    SHIFT_DATE = "shift-date"
    KEEP_YEAR = "keep-year"
    GROUP_AGE = "group-age"
    KEEP = "keep"


@unique
class Rule(StrEnum):
    """Where an action comes from. The first eleven are the rules above, in order; the others look at the value."""

    STRUCTURE = "structure"
    RECORD = "record"
    IDENTITY = "identity"
    PRIVATE = "private"
    GRAPHICS = "graphics"
    OPTION = "option"
    TABLE = "table-e.1-1"
    SEALED = "sealed"
    UNKNOWN = "unknown"
    VR_CONFLICT = "vr-conflict"
    VALUE_REPRESENTATION = "value-representation"
    CODE = "code"  # an attribute of a coded entry, judged with the rest of the entry
    UNSOUND_VALUE = "unsound-value"  # the value is not what the VR allows
    PIXEL_DATA = "pixel-data"  # the image itself, or pixel data where no image is


class Verdict(NamedTuple):
    """An action and its rule; what stands in for it where the value does not allow it.

    `vr` is the VR to write with ("" if removed); `max_values` the most values there may be, if bounded; `option` is the
    option of the policy that the action comes from.
    """

    action: Action
    rule: Rule
    vr: str = ""
    max_values: int | None = None
    option: Option | None = None
    instead: Action = Action.REMOVE


_RECORD: Final = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280301, 0x00280303})

_SEALED: Final = frozenset(
    {
        0x00080051,  # Issuer of Accession Number Sequence
        0x00100024,  # Issuer of Patient ID Qualifiers Sequence
        0x00100026,  # Source Patient Group Identification Sequence
        0x00100027,  # Group of Patients Identification Sequence
        0x00101021,  # Patient's Size Code Sequence
        0x00101022,  # Patient's Body Mass Index
        0x00143050,  # Dark Current Counts
        0x00143070,  # Air Counts
        0x00201070,  # Other Study Numbers
        0x00281200,  # Gray Lookup Table Data, and three large ones: retired, so that nothing says how long they are
        *(0x00281211, 0x00281212, 0x00281213),
        0x00321031,  # Requesting Physician Identification Sequence
        0x00720067,  # Selector OF Value, and those of OW, OD, OL and OV: of whatever attribute a display looks for
        *(0x00720069, 0x00720073, 0x00720075, 0x00720081),
        0x04000500,  # Encrypted Attributes Sequence
        0x4FFE0001,  # MAC Parameters Sequence
        *(0x7FE00020, 0x7FE00030, 0x7FE00040),  # Coefficients, retired
    }
)

_TECHNICAL_TEXT: Final = frozenset(
    {
        0x00080070,  # Manufacturer
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

_TECHNICAL_BYTES: Final = frozenset(
    {
        0x54000110,  # Channel Minimum Value
        0x54000112,  # Channel Maximum Value
        0x5400100A,  # Waveform Padding Value
        0x54001010,  # Waveform Data
    }
)

_DATE_VRS: Final = frozenset({"DA", "DT", "TM"})
_TEXT_VRS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_WORDED: Final = _TEXT_VRS | {"CS"}
_NUMBER_VRS: Final = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "DS", "IS"})
_BULK_VRS: Final = frozenset({"OD", "OF", "OL", "OV", "OW"})  # hold any number of values

_REMOVED_BYTES: Final = frozenset({"OB", "UN"})

_TEXT_WITHIN: Final = {  # by sequence and attribute, the option that cleans the text there
    (0x0040A730, 0x0040A160): Option.CLEAN_STRUCTURED_CONTENT,  # Text Value of a content item
    (0x00400555, 0x0040A160): Option.CLEAN_STRUCTURED_CONTENT,  # … of the acquisition context
    (0x00400612, 0x0040A160): Option.CLEAN_STRUCTURED_CONTENT,  # … of a step of specimen preparation
    (0x0040B020, 0x00700006): Option.CLEAN_STRUCTURED_CONTENT,  # Unformatted Text Value of a waveform annotation
    (0x00700008, 0x00700006): Option.CLEAN_GRAPHICS,  # … of a text object
}

_LAST_OVERLAY: Final = 0x601E
_OVERLAY: Final = {  # VR and most values of what describes an overlay plane (PS3.3 C.9.2), by element number
    0x0010: ("US", 1),  # Overlay Rows
    0x0011: ("US", 1),  # Overlay Columns
    0x0015: ("IS", 1),  # Number of Frames in Overlay
    0x0022: ("LO", 1),  # Overlay Description
    0x0040: ("CS", 1),  # Overlay Type
    0x0045: ("LO", 1),  # Overlay Subtype
    0x0050: ("SS", 2),  # Overlay Origin
    0x0051: ("US", 1),  # Image Frame Origin
    0x0100: ("US", 1),  # Overlay Bits Allocated
    0x0102: ("US", 1),  # Overlay Bit Position
    0x1301: ("IS", 1),  # ROI Area
    0x1302: ("DS", 1),  # ROI Mean
    0x1303: ("DS", 1),  # ROI Standard Deviation
    0x1500: ("LO", 1),  # Overlay Label
    0x3000: ("OW", 1),  # Overlay Data
    0x4000: ("LT", 1),  # Overlay Comments
}

_SIMPLE: Final = {
    ActionCode.REMOVE: Action.REMOVE,
    ActionCode.EMPTY: Action.EMPTY,
    ActionCode.DUMMY: Action.DUMMY,
    ActionCode.UID: Action.MAP_UID,
    ActionCode.REMOVE_EMPTY_OR_UIDS: Action.CLEAN,
}
_BY_TYPE: Final = {  # in the order of the Types: a value, presence, nothing demanded
    ActionCode.REMOVE_OR_EMPTY: (Action.DUMMY, Action.EMPTY, Action.REMOVE),
    ActionCode.REMOVE_OR_DUMMY: (Action.DUMMY, Action.DUMMY, Action.REMOVE),
    ActionCode.REMOVE_EMPTY_OR_DUMMY: (Action.DUMMY, Action.EMPTY, Action.REMOVE),
    ActionCode.EMPTY_OR_DUMMY: (Action.DUMMY, Action.EMPTY, Action.EMPTY),
}
_WHATEVER_TYPE: Final = {  # for values, for sequences
    ActionCode.REMOVE_OR_EMPTY: (Action.EMPTY, Action.EMPTY),
    ActionCode.REMOVE_OR_DUMMY: (Action.DUMMY, Action.REMOVE),
    ActionCode.REMOVE_EMPTY_OR_DUMMY: (Action.DUMMY, Action.EMPTY),
    ActionCode.EMPTY_OR_DUMMY: (Action.DUMMY, Action.EMPTY),
}


class Rules:
    """The rules above, for one table, one policy and one IOD. Remembers verdicts; safe to share between threads."""

    def __init__(self, profile: Profile, policy: Policy, types: AttributeTypes) -> None:
        self._profile = profile
        self._policy = policy
        self._types = types
        self.verdict = lru_cache(maxsize=4096)(self._judge)
        """Judge an attribute by its tag, its VR as encoded (None for implicit VR, UN for all that lies in a UN) and the
        tag of the sequence it lies in (0 at the top)."""

    @property
    def edition(self) -> str:
        """The edition of PS3.15 that the table is from."""
        return self._profile.edition

    def _judge(self, tag: int, vr: str | None, parent: int) -> Verdict:
        group = tag >> 16
        if tag & 0xFFFF == 0 or group in (0x0002, 0x0004):
            return Verdict(Action.REMOVE, Rule.STRUCTURE)
        if tag in _RECORD:
            return Verdict(Action.REMOVE, Rule.RECORD)
        if tag in (PATIENT_NAME, PATIENT_ID):
            return Verdict(Action.PSEUDONYM, Rule.IDENTITY, dictionary_vr(tag))
        if group & 1:
            return Verdict(Action.REMOVE, Rule.PRIVATE)
        if group >> 8 in (0x50, 0x60):
            cleans = Option.CLEAN_GRAPHICS in self._policy.options and parent == 0
            if cleans and 0x6000 <= group <= _LAST_OVERLAY and tag & 0xFFFF in _OVERLAY:
                return Verdict(Action.CLEAN_OVERLAY, Rule.OPTION, option=Option.CLEAN_GRAPHICS)
            return Verdict(Action.REMOVE, Rule.GRAPHICS)
        if (option := _TEXT_WITHIN.get((parent, tag))) in self._policy.options:
            return Verdict(Action.CLEAN_TEXT, Rule.OPTION, dictionary_vr(tag), option=option, instead=Action.DUMMY)
        if (row := self._profile.row(tag)) is not None:
            return self._by_table(row, tag, vr, parent)
        if tag in _SEALED:
            return Verdict(Action.REMOVE, Rule.SEALED)
        if not (standard_vr := dictionary_vr(tag)):
            return Verdict(Action.REMOVE, Rule.UNKNOWN)
        settled = _settle(standard_vr, vr)
        if settled is None:
            return Verdict(Action.REMOVE, Rule.VR_CONFLICT)
        return self._by_vr(tag, settled, parent)

    def _by_table(self, row: Row, tag: int, vr: str | None, parent: int) -> Verdict:
        standard_vr = dictionary_vr(tag)
        type_ = self._types.of(tag, parent)
        basic = resolve(row.basic, tag, standard_vr, type_)
        if basic is Action.REMOVE:
            basic = _demanded(standard_vr, type_, parent)
        settled = _settle(standard_vr, vr) if standard_vr else vr  # the table may be newer than the dictionary
        chosen = self._chosen(row)
        if chosen is not None and settled and settled != "UN":
            option, code = chosen
            action = _optional(option, code, settled, self._policy)
            if action is not None:
                return Verdict(action, Rule.OPTION, settled, _max_values(tag), option, basic)
        return Verdict(basic, Rule.TABLE, standard_vr)

    def _chosen(self, row: Row) -> tuple[Option, ActionCode] | None:
        """The option of the policy that covers the row, and what it asks for."""
        if self._policy.year_only and Option.RETAIN_LONGITUDINAL_MODIFIED_DATES in row.options:
            return Option.RETAIN_LONGITUDINAL_MODIFIED_DATES, ActionCode.CLEAN
        asked = [(option, code) for option, code in row.options.items() if option in self._policy.options]
        return next((pair for pair in asked if pair[1] is ActionCode.KEEP), asked[0] if asked else None)

    def _by_vr(self, tag: int, vr: str, parent: int) -> Verdict:
        rule, options, most = Rule.VALUE_REPRESENTATION, self._policy.options, _max_values(tag)
        type_ = self._types.of(tag, parent)
        if vr == "SQ":
            return Verdict(Action.CLEAN, rule, vr)
        if vr == "UI":
            kept = Option.RETAIN_UIDS in options
            return Verdict(Action.KEEP if kept else Action.MAP_UID, rule, vr, most, instead=Action.MAP_UID)
        if vr in _DATE_VRS or vr in ("PN", "AS", "AE"):
            gone = resolve(ActionCode.REMOVE_EMPTY_OR_DUMMY, tag, vr, type_) if type_ else Action.REMOVE
            action = _retained(vr, self._policy)
            return Verdict(action or gone, rule, vr, most, instead=gone)
        if vr in _REMOVED_BYTES and tag not in _TECHNICAL_BYTES:
            demanded = tag == ICC_PROFILE and type_ is Type.VALUE
            return Verdict(Action.DUMMY, rule, vr) if demanded else Verdict(Action.REMOVE, rule)
        if vr in _TEXT_VRS and tag not in _TECHNICAL_TEXT:
            gone = Action.DUMMY if type_ is Type.VALUE else Action.EMPTY
            cleaned = Option.CLEAN_DESCRIPTORS in options
            return Verdict(Action.CLEAN_TEXT if cleaned else gone, rule, vr, most, instead=gone)
        gone = resolve(ActionCode.REMOVE_EMPTY_OR_DUMMY, tag, vr, type_) if type_ and vr in _WORDED else Action.REMOVE
        return Verdict(Action.KEEP, rule, vr, most, instead=gone)


def of_overlay(number: int) -> Verdict:
    """Judge an attribute of an overlay plane that stays, but for its data, by the number of the element."""
    vr, most = _OVERLAY[number]
    action = Action.CLEAN_TEXT if vr in _TEXT_VRS else Action.KEEP
    return Verdict(action, Rule.OPTION, vr, most, Option.CLEAN_GRAPHICS)


def check(profile: Profile) -> None:
    """Refuse, with `InvalidProfile`, a table that asks for what we cannot do."""
    for tag, row in profile.rows.items():
        for type_ in (None, *Type):
            resolve(row.basic, tag, dictionary_vr(tag), type_)


def resolve(code: ActionCode, tag: int, vr: str, type_: Type | None) -> Action:
    """Turn the Basic Profile's action into ours, for an attribute of `vr` whose Type may be unknown (None).

    Raises `InvalidProfile` for an action that cannot be applied to the VR.
    """
    if code in _BY_TYPE:
        by_type, whatever = _BY_TYPE[code], _WHATEVER_TYPE[code]
        action = whatever[vr == "SQ"] if type_ is None else by_type[type_ - 1]
        if action is Action.DUMMY and vr == "SQ" and not has_dummy(tag, vr):
            action = Action.CLEAN  # its items, by the rules for what is in them, are dummies
    elif code in _SIMPLE:
        action = _SIMPLE[code]
    else:
        raise InvalidProfile(f"the Basic Profile has no action {code}; make the table anew")
    if action is Action.DUMMY and vr == "UI":
        action = Action.MAP_UID
    able = {Action.CLEAN: vr == "SQ", Action.MAP_UID: vr == "UI", Action.DUMMY: has_dummy(tag, vr)}
    if action is not Action.REMOVE and not (vr and able.get(action, True)):
        raise InvalidProfile(f"the action {code} cannot be applied to {tag:08X} with VR {vr or 'unknown'}")
    return action


def _demanded(vr: str, type_: Type | None, parent: int) -> Action:
    """What is done in place of removing, where without the attribute the IOD is not kept.

    Types count conditional ones as if the condition were met, and within a sequence those of other IODs, so a dummy is
    made only where the Type is known to hold.
    """
    if vr in _DATE_VRS and type_ is Type.VALUE and not parent:
        return Action.DUMMY
    return Action.EMPTY if vr and vr != "SQ" and type_ is Type.PRESENCE and parent else Action.REMOVE


def _optional(option: Option, code: ActionCode, vr: str, policy: Policy) -> Action | None:
    """What an option does to a value of `vr`; None where it can do nothing that the Basic Profile does not do."""
    if vr == "SQ":
        return Action.CLEAN
    if option in _LONGITUDINAL:
        if vr == "SH":  # Timezone Offset From UTC: of no use without times
            return Action.KEEP if policy.dates in (Dates.FULL, Dates.SHIFTED) else None
        return _dates(vr, policy)
    if vr in _REMOVED_BYTES:
        return None
    if code is ActionCode.KEEP:
        if option is Option.RETAIN_PATIENT_CHARACTERISTICS and vr in _TEXT_VRS:  # Ethnic Group: somebody typed it
            return Action.CLEAN_TEXT
        return Action.GROUP_AGE if vr == "AS" else Action.KEEP
    return Action.CLEAN_TEXT if vr in _TEXT_VRS else Action.KEEP


def _retained(vr: str, policy: Policy) -> Action | None:
    """What the policy retains of an attribute that the table does not list and whose VR identifies."""
    if vr in _DATE_VRS:
        return _dates(vr, policy)
    if vr == "AS":
        return Action.GROUP_AGE if Option.RETAIN_PATIENT_CHARACTERISTICS in policy.options else None
    if vr == "AE":
        return Action.KEEP if Option.RETAIN_DEVICE_IDENTITY in policy.options else None
    return None


def _dates(vr: str, policy: Policy) -> Action | None:
    if vr not in _DATE_VRS or (vr == "TM" and policy.dates is Dates.YEAR):
        return None
    return _DATE_ACTIONS[policy.dates]


_LONGITUDINAL: Final = frozenset({Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES})
_DATE_ACTIONS: Final = {
    Dates.REMOVED: None,
    Dates.YEAR: Action.KEEP_YEAR,
    Dates.SHIFTED: Action.SHIFT_DATE,
    Dates.FULL: Action.KEEP,
}


def dictionary_vr(tag: int) -> str:
    """The VR that PS3.6 gives an attribute, "US or SS" where it leaves a choice; "" for one that it lacks."""
    entry = DicomDictionary.get(tag)
    return entry[0] if entry else ""


def _settle(standard_vr: str, vr: str | None) -> str | None:
    """Choose the VR to judge and write by; None where encoding and dictionary do not go together."""
    alternatives = standard_vr.split(" or ")
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
    return "bulk" if vr in _BULK_VRS else vr


def _max_values(tag: int) -> int | None:
    """Read the most values that the dictionary's multiplicity ("1", "2-3", "1-n") allows; None if it sets no bound."""
    if tag not in DicomDictionary:
        return None
    most = DicomDictionary[tag][1].rpartition("-")[2]
    return int(most) if most.isdigit() else None
