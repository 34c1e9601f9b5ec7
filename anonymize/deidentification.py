"""De-identifies one instance by the Basic Application Confidentiality Profile (PS3.15 E.2), raw element by raw element.

Builds a new Part 10 file from what `anonymize.rules` lets through; nothing gets into it by not being noticed. Values
that stay are copied as they are encoded, pixel data once and unseen. What cannot be proven clean raises `Quarantine`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from pydicom.uid import UID

from anonymize.character_sets import character_sets_of
from anonymize.dummies import dummy
from anonymize.elements import PIXEL_DATA, SHORT_VRS, Element, Encoding, Kind, walk, walk_unknown
from anonymize.encoding import LONGEST_SHORT_VALUE, encode, encode_head, encode_item, part10_head
from anonymize.errors import MalformedDataSet, Quarantine, QuarantineReason
from anonymize.instances import DeidentifiedInstance, PatientPseudonym, ReceivedInstance
from anonymize.profile import load_profile
from anonymize.proofs import UNIT_BYTES, is_sound_binary, sound_text
from anonymize.rules import Action, Rule, Rules, Verdict
from anonymize.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, JPIP_REFERENCED, KNOWN, encoded_data_set
from anonymize.uids import SOP_CLASSES, map_uid

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_BURNED_IN_ANNOTATION: Final = 0x00280301
_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_PIXEL_VRS: Final = frozenset({"OB", "OW", "OF", "OD", None})

_PSEUDONYM: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what fits LO and PN in every character set


class Decision(NamedTuple):
    """What was done to one element, and by which rule: the trail holds one for each, never a value.

    `path` is the tags from the top down, each sequence followed by the number of the item, from 1.
    """

    path: tuple[int, ...]
    action: Action
    rule: Rule

    def __str__(self) -> str:
        steps = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in self.path[::2]]
        items = [f"[{number}]." for number in self.path[1::2]]
        where = "".join(step + item for step, item in zip(steps, [*items, ""], strict=True))
        return f"{where} {self.action.value} ({self.rule.value})"


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A clean instance, and what was done to every element of the received one, in the order of its bytes.

    Of a sequence that is not gone into, the sequence alone is listed.
    """

    instance: DeidentifiedInstance
    trail: tuple[Decision, ...] = field(repr=False)


@cache
def _basic_profile() -> Rules:
    return Rules(load_profile())


def deidentify(received: ReceivedInstance, patient: PatientPseudonym) -> Deidentified:
    """De-identify one instance of `patient`. The same input gives the same bytes.

    The transfer syntax stays, save that a deflated data set becomes Explicit VR Little Endian; so do all bytes of the
    pixel data. Raises `Quarantine` where the outcome could not be proven clean, and `ValueError` for a pseudonym that
    fits no DICOM text (1 to 64 of A-Z a-z 0-9 . _ -).
    """
    if not _PSEUDONYM.fullmatch(patient.pseudonym):
        raise ValueError("the pseudonym must be 1 to 64 of A-Z a-z 0-9 . _ -; make another in the vault")
    if received.transfer_syntax_uid not in KNOWN:
        raise Quarantine(QuarantineReason.UNKNOWN_TRANSFER_SYNTAX)
    if received.transfer_syntax_uid in JPIP_REFERENCED:
        raise Quarantine(QuarantineReason.REMOTE_PIXEL_DATA)
    if received.sop_class_uid not in SOP_CLASSES:
        raise Quarantine(QuarantineReason.UNKNOWN_SOP_CLASS)
    try:
        encoded = encoded_data_set(received.data_set, received.transfer_syntax_uid)
        run = _Run(encoded.data, encoded.encoding, patient, _basic_profile())
        run.consume(walk(encoded.data, encoded.encoding))
    except MalformedDataSet as error:
        raise Quarantine(QuarantineReason.MALFORMED_DATA_SET) from error
    transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN if encoded.deflated else received.transfer_syntax_uid
    if run.has_fragments and not UID(transfer_syntax_uid).is_encapsulated:
        raise Quarantine(QuarantineReason.MALFORMED_DATA_SET)
    return Deidentified(_instance(received, transfer_syntax_uid, run), tuple(run.trail))


def _instance(received: ReceivedInstance, transfer_syntax_uid: str, run: "_Run") -> DeidentifiedInstance:
    originals = run.originals
    wanted = (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)
    if not all(originals.get(tag) for tag in wanted):
        raise Quarantine(QuarantineReason.MISSING_UID)
    announced = (received.sop_class_uid, received.sop_instance_uid)
    if (originals[_SOP_CLASS_UID], originals[_SOP_INSTANCE_UID]) != announced:
        raise Quarantine(QuarantineReason.IDENTITY_MISMATCH)
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid = (
        run.map_uid(originals[tag]) for tag in wanted
    )
    head = part10_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    return DeidentifiedInstance(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        file=b"".join([head, *run.data_set()]),
    )


class _Container:
    """A sequence or a data set that is being written: its finished parts, by tag or, for items, by number."""

    __slots__ = ("parts", "path", "tag")

    def __init__(self, tag: int, path: tuple[int, ...]) -> None:
        self.tag = tag
        self.path = path
        self.parts: list[tuple[int, bytes | memoryview]] = []

    def chunks(self) -> list[bytes | memoryview]:
        """Give the parts in ascending order (PS3.5 7.1), whatever order the sender had."""
        return [chunk for _, chunk in sorted(self.parts, key=lambda part: part[0])]


class _Run:
    """One pass over one data set. Holds identified values while it lasts; never handed out."""

    def __init__(self, data: bytes, encoding: Encoding, patient: PatientPseudonym, rules: Rules) -> None:
        self._data = data
        self._view = memoryview(data)
        self._encoding = encoding
        self._patient = patient
        self._rules = rules
        self._uids: dict[str, str] = {}
        self._character_sets: tuple[str, ...] = ()
        self._open = [_Container(0, ())]
        self.trail: list[Decision] = []
        self.originals: dict[int, str] = {}
        self.has_fragments = False
        for tag, vr, value in _record(rules.edition, patient.pseudonym, encoding):
            self._write(tag, vr, value)

    def data_set(self) -> list[bytes | memoryview]:
        """Give the de-identified data set in pieces."""
        return self._open[0].chunks()

    def map_uid(self, uid: str) -> str:
        """Map a UID under the patient's key."""
        mapped = self._uids.get(uid)
        if mapped is None:
            mapped = self._uids[uid] = map_uid(self._patient.uid_key, uid)
        return mapped

    def consume(self, elements: Iterator[Element]) -> None:
        """Write what may stay of `elements`, to the end of the iterator."""
        for element in elements:
            kind = element.kind
            if kind is Kind.VALUE:
                self._value(element)
            elif kind is Kind.SEQUENCE:
                self._sequence(element, elements)
            elif kind is Kind.ITEM:
                sequence = self._open[-1]
                self._open.append(_Container(element.tag, (*sequence.path, len(sequence.parts) + 1)))
            elif kind is Kind.FRAGMENTS:
                self._pixels(element)
            else:
                self._close(kind)

    def _close(self, kind: Kind) -> None:
        done = self._open.pop()
        content = b"".join(done.chunks())
        if kind is Kind.ITEM_END:
            sequence = self._open[-1]
            sequence.parts.append((len(sequence.parts), encode_item(content, self._encoding)))
        else:
            self._write(done.tag, "SQ", content)

    def _sequence(self, element: Element, elements: Iterator[Element]) -> None:
        verdict = self._verdict(element)
        if verdict.action is Action.CLEAN and verdict.vr == "SQ":
            path = self._decide(element, verdict.action, verdict.rule)
            self._open.append(_Container(element.tag, path))
            return
        for inner in elements:  # over all of it
            if inner.kind is Kind.SEQUENCE_END and inner.depth == element.depth:
                break
        if verdict.action in (Action.KEEP, Action.MAP_UID):  # actions on a value, and this has none
            verdict = Verdict(Action.REMOVE, Rule.VR_CONFLICT)
        self._apply(element, verdict)

    def _value(self, element: Element) -> None:
        if element.tag in _PIXELS:
            self._pixels(element)
            return
        if element.depth == 0:
            self._look_at(element)
        verdict = self._verdict(element)
        action = verdict.action
        if action is Action.KEEP:
            self._keep(element, verdict)
        elif action is Action.MAP_UID:
            self._map_uids(element, verdict)
        elif action is Action.CLEAN:
            self._unknown_sequence(element)
        else:
            self._apply(element, verdict)

    def _apply(self, element: Element, verdict: Verdict) -> None:
        """Do what does not depend on the value."""
        tag, vr = element.tag, verdict.vr
        self._decide(element, verdict.action, verdict.rule)
        if verdict.action is Action.EMPTY:
            self._write(tag, vr, b"")
        elif verdict.action is Action.DUMMY:
            self._write(tag, vr, dummy(tag, vr, self._encoding))
        elif verdict.action is Action.PSEUDONYM and element.depth > 0:  # at the top it is there already
            self._write(tag, vr, self._patient.pseudonym.encode("ascii"))

    def _keep(self, element: Element, verdict: Verdict) -> None:
        vr, length, encoding = verdict.vr, element.length, self._encoding
        end = element.value + length
        if vr in UNIT_BYTES:
            little = element.vr == "UN" or element.encoding.order == "<"  # within UN always (PS3.5 6.2.2)
            in_order = UNIT_BYTES[vr] == 1 or little == (encoding.order == "<")
            value = self._bytes(element) if in_order and is_sound_binary(vr, length, verdict.max_values) else None
        else:
            value = sound_text(vr, self._bytes(element), self._character_sets)
        if value is None or (length > LONGEST_SHORT_VALUE and encoding.explicit and vr in SHORT_VRS):
            self._decide(element, Action.REMOVE, Rule.UNSOUND_VALUE)
            return
        self._decide(element, Action.KEEP, verdict.rule)
        as_it_is = len(value) == length and not length & 1 and element.encoding is encoding and element.vr in (vr, None)
        if as_it_is:
            self._open[-1].parts.append((element.tag, self._data[element.start : end]))
        else:
            self._write(element.tag, vr, value)

    def _look_at(self, element: Element) -> None:
        """Take note of the values of the top level that decide about the rest, whatever VR they are sent in."""
        if element.tag == _SPECIFIC_CHARACTER_SET:
            self._character_sets = character_sets_of(self._bytes(element))
        elif element.tag == _BURNED_IN_ANNOTATION and self._bytes(element).strip(b" \0").upper() not in (b"NO", b""):
            raise Quarantine(QuarantineReason.BURNED_IN_ANNOTATION)

    def _bytes(self, element: Element) -> bytes:
        return self._data[element.value : element.value + element.length]

    def _map_uids(self, element: Element, verdict: Verdict) -> None:
        uids = self._bytes(element).decode("ascii", errors="surrogateescape").strip(" \0").split("\\")
        if element.depth == 0 and len(uids) == 1:
            self.originals[element.tag] = uids[0]
        mapped = "\\".join(self.map_uid(uid) if uid.strip(" \0") else "" for uid in uids).encode("ascii")
        if len(mapped) > LONGEST_SHORT_VALUE:
            self._decide(element, Action.REMOVE, Rule.UNSOUND_VALUE)
            return
        self._decide(element, Action.MAP_UID, verdict.rule)
        self._write(element.tag, "UI", mapped)

    def _unknown_sequence(self, element: Element) -> None:
        """Go into a sequence that is encoded as UN of known length, if it proves to be one."""
        try:
            for _ in walk_unknown(self._data, element):
                pass
        except MalformedDataSet:
            self._decide(element, Action.REMOVE, Rule.UNSOUND_VALUE)
            return
        self.consume(walk_unknown(self._data, element))  # once: what lies within is implicit VR and has no UN

    def _pixels(self, element: Element) -> None:
        encapsulated = element.kind is Kind.FRAGMENTS
        if element.depth > 0 or element.tag not in _PIXELS or element.vr not in _PIXEL_VRS:
            self._decide(element, Action.REMOVE, Rule.PIXEL_DATA)
            return
        self._decide(element, Action.KEEP, Rule.PIXEL_DATA)
        self.has_fragments = self.has_fragments or encapsulated
        end = element.value + element.length
        if not element.length & 1:
            self._open[-1].parts.append((element.tag, self._view[element.start : end]))
            return
        head = encode_head(element.tag, element.vr or "OW", element.length + 1, self._encoding)
        self._open[-1].parts += [
            (element.tag, head),
            (element.tag, self._view[element.value : end]),
            (element.tag, b"\0"),
        ]

    def _verdict(self, element: Element) -> Verdict:
        vr = element.vr if element.encoding is self._encoding else "UN"
        return self._rules.verdict(element.tag, vr)

    def _decide(self, element: Element, action: Action, rule: Rule) -> tuple[int, ...]:
        path = (*self._open[-1].path, element.tag)
        self.trail.append(Decision(path, action, rule))
        return path

    def _write(self, tag: int, vr: str, value: bytes) -> None:
        self._open[-1].parts.append((tag, encode(tag, vr, value, self._encoding)))


def _record(edition: str, pseudonym: str, encoding: Encoding) -> tuple[tuple[int, str, bytes], ...]:
    """Attributes of every output: the pseudonym, and what was done to get it (PS3.15 E.2 and CID 7050)."""
    method = (
        encode(0x00080100, "SH", b"113100", encoding)
        + encode(0x00080102, "SH", b"DCM", encoding)
        + encode(0x00080104, "LO", b"Basic Application Confidentiality Profile", encoding)
    )
    return (
        (0x00100010, "PN", pseudonym.encode("ascii")),
        (0x00100020, "LO", pseudonym.encode("ascii")),
        (0x00120062, "CS", b"YES"),
        (0x00120063, "LO", f"Basic Application Confidentiality Profile PS3.15 {edition}".encode("ascii")),
        (0x00120064, "SQ", encode_item(method, encoding)),
        (0x00280303, "CS", b"REMOVED"),
    )
