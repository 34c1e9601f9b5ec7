"""Writes the de-identified form of one data set, element by element, as `anonymize.rules` says.

Nothing gets into the output by not being noticed: each element is written by one of the methods here, or not at all.
Holds identified values while it lasts; its owner must never hand it out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Final, NamedTuple

from anonymize import codes, measured_ages, values
from anonymize.bulk_search import SHORTEST
from anonymize.character_sets import character_sets_of, decode
from anonymize.defined_terms import without_terms
from anonymize.dummies import dummy
from anonymize.elements import PIXEL_DATA, SHORT_VRS, UNDEFINED_LENGTH, Element, Encoding, Kind, walk_unknown
from anonymize.encoding import LONGEST_SHORT_VALUE, encode, encode_head, encode_item
from anonymize.errors import MalformedDataSet, QuarantineReason
from anonymize.facts import DECISIVE, SPECIFIC_CHARACTER_SET, Facts
from anonymize.identifiers import SOURCES
from anonymize.image_cleaning import (
    IMAGE_TAGS,
    OFFSET_TABLES,
    REGION_TAGS,
    ULTRASOUND_REGIONS,
    ImageNotes,
    PixelCleaning,
    clean_overlay,
)
from anonymize.instances import PatientPseudonym
from anonymize.look_up_tables import DESCRIPTORS, TABLES, read_table
from anonymize.options import Dates, Option, Policy
from anonymize.pixels import OVERLAY_DATA, PixelOutcome
from anonymize.pixels.words import Bytes
from anonymize.proofs import UNIT_BYTES, are_attribute_tags, is_sound_binary
from anonymize.record import BURNED_IN_ANNOTATION, METHOD, blanked, methods, record
from anonymize.rules import PATIENT_ID, PATIENT_NAME, Action, Rule, Rules, Verdict, of_overlay
from anonymize.safe_private import block_of, load_safe_private, reserved_block
from anonymize.spelled import spells_text
from anonymize.trail import Decision
from anonymize.transfer_syntaxes import NATIVE
from anonymize.uids import map_uid
from anonymize.waveforms import LONGEST_SAMPLE, SAMPLES, WAVEFORM_DATA, WAVEFORM_TAGS, WaveformShape

PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
"""Pixel Data, Float Pixel Data and Double Float Pixel Data."""

# For each element: Python 3.11 takes as long to find a member of an enumeration as for all the rest of a question.
_VALUE: Final = Kind.VALUE
_decision: Final = tuple.__new__  # as Decision(…), without its Python function
_TIMEZONE_OFFSET: Final = 0x00080201
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_BYTES: Final = frozenset({"OB", "OW", "UN"})  # can hold anything, whatever the table says of it
_NOTED: Final = DECISIVE | IMAGE_TAGS | WAVEFORM_TAGS | REGION_TAGS | DESCRIPTORS
_NOT_ONLY_RULED: Final = PIXELS | codes.CODE_ATTRIBUTES | _NOTED  # something is done with them before they are judged
_DECIMALS: Final = frozenset({"DS", "IS"})
_TELLING_DIGITS: Final = 8  # a shorter number is that of a patient by chance only
_RUNS_OF_DIGITS: Final = re.compile(rb"[1-9]\d{4,}")  # four are met by chance, behind a decimal point above all
_SHORT_HEAD: Final = 8  # bytes, of an element whose length has 16 bits, and of any in implicit VR
_PIXEL_VRS: Final = frozenset({"OB", "OW", "OF", "OD", None})


class _Container:
    """A sequence or a data set that is being written: its finished parts, by tag or, for items, by number."""

    __slots__ = (
        *("character_sets", "code", "creators", "descriptors", "parent", "parts", "path", "tag", "unit", "waveform"),
    )

    def __init__(self, tag: int, path: tuple[int, ...], parent: int, character_sets: tuple[str, ...] = ()) -> None:
        self.tag = tag
        self.character_sets = character_sets  # of its text: its own, else those around it (PS3.3 C.12.1.1.2)
        self.path = path
        self.parent = parent  # the sequence around an item, 0 at the top
        self.parts: list[tuple[int, Bytes]] = []
        self.code: dict[int, Element] = {}
        self.creators: dict[tuple[int, int], _Creator] = {}
        self.waveform = WaveformShape()
        self.descriptors: dict[int, bytes] = {}  # of look-up tables
        self.unit = ""  # of a measured value

    def chunks(self) -> list[Bytes]:
        """Give the parts in ascending order (PS3.5 7.1), whatever order the sender had."""
        return [chunk for _, chunk in sorted(self.parts, key=itemgetter(0))]


class _Creator(NamedTuple):
    """Who reserved a private block of one data set."""

    tag: int
    name: str


class DataSetWriter:
    """One pass over one data set. Holds identified values while it lasts; never handed out."""

    def __init__(
        self,
        data: bytes,
        encoding: Encoding,
        patient: PatientPseudonym,
        policy: Policy,
        rules: Rules,
        facts: Facts,
        names: frozenset[str] = frozenset(),
    ) -> None:
        """`names` are words that cleaned text must not hold, though anybody may know them."""
        self._data = data
        self._view = memoryview(data)
        self._encoding = encoding
        self._patient = patient
        self._policy = policy
        self._rules = rules
        self._facts = facts
        self._names = names
        self._keeps_safe_private = Option.RETAIN_SAFE_PRIVATE in policy.options
        self._days = patient.date_offset_days if policy.dates is Dates.SHIFTED else None
        self._mapped: dict[str, str] = {}
        self._open = [_Container(0, (), 0)]
        self.trail: list[Decision] = []
        self.uids: dict[int, tuple[str, str]] = {}
        """Of the top level: the UID as it was, and as it is written."""
        self.texts: list[bytes] = []
        """What was written of text that no option retains."""
        self.texts_of_items: list[str] = []
        """The same, decoded, of items whose character sets are not those of the top level."""
        self.bulk: list[bytes] = []
        """What was written of values that can hold any bytes, but for the image."""
        self.doubts: set[QuarantineReason] = set()
        """Why values of numbers that were written are not proven to be such."""
        self.pixels: Element | None = None
        """The image, if there is one; not yet written."""
        self.image = ImageNotes()
        self._overlays: dict[int, dict[int, Element]] = {}  # by group and element number
        self._open[0].parts += record(rules.edition, policy, encoding)
        pseudonym = patient.pseudonym.encode("ascii")
        self._write(PATIENT_NAME, "PN", pseudonym)
        self._write(PATIENT_ID, "LO", pseudonym)

    def data_set(self) -> list[Bytes]:
        """Give the de-identified data set in pieces."""
        return self._open[0].chunks()

    def consume(self, elements: Iterator[Element]) -> None:
        """Write what may stay of `elements`, to the end of the iterator."""
        for element in elements:
            kind = element.kind
            if kind is _VALUE:
                self._value(element)
            elif kind is Kind.SEQUENCE:
                self._sequence(element, elements)
            elif kind is Kind.ITEM:
                sequence = self._open[-1]
                path = (*sequence.path, len(sequence.parts) + 1)
                self._open.append(_Container(element.tag, path, sequence.tag, sequence.character_sets))
            elif kind is Kind.FRAGMENTS:
                self._pixels(element)
            else:
                self._close(kind)

    # --- containers -----------------------------------------------------------------------------------------------

    def _close(self, kind: Kind) -> None:
        done = self._open[-1]
        self._finish(done)
        self._open.pop()
        content = b"".join(done.chunks())
        if kind is Kind.ITEM_END:
            sequence = self._open[-1]
            sequence.parts.append((len(sequence.parts), encode_item(content, self._encoding)))
        else:
            self._write(done.tag, "SQ", content)

    def finish(self) -> None:
        """Write what could only be judged at the end of the data set."""
        self._finish(self._open[0])

    def _finish(self, container: _Container) -> None:
        if container.code:
            self._coded_entry(container.code)
        if container.parent == measured_ages.MEASURED_VALUES:
            self._group_measured_age(container)
        kept_blocks = {block_of(tag) for tag, _ in container.parts} if container.creators else set()
        for block, creator in container.creators.items():
            if block in kept_blocks:
                self._decide_tag(creator.tag, Action.KEEP, Rule.OPTION, Option.RETAIN_SAFE_PRIVATE)
                self._write(creator.tag, "LO", creator.name.encode("ascii"))
            else:
                self._decide_tag(creator.tag, Action.REMOVE, Rule.PRIVATE)

    def _sequence(self, element: Element, elements: Iterator[Element]) -> None:
        verdict = self._verdict(element)
        if verdict.action is Action.CLEAN and verdict.vr == "SQ":
            self._decide(element, verdict)
            around = self._open[-1]
            self._open.append(_Container(element.tag, (*around.path, element.tag), 0, around.character_sets))
            return
        for inner in elements:  # over all of it
            if inner.kind is Kind.SEQUENCE_END and inner.depth == element.depth:
                break
            if inner.tag in SOURCES and inner.kind is _VALUE:
                self._facts.note_within(inner.tag, self._bytes(inner))
        if verdict.action not in _WITHOUT_VALUE:  # and this has no value
            verdict = Verdict(Action.REMOVE, Rule.VR_CONFLICT)
        _DONE_BY[verdict.action](self, element, verdict)

    def _group_measured_age(self, measured: _Container) -> None:
        """Tell an age over 89 as 90, in whatever form the number is given."""
        values = {tag: bytes(part)[_SHORT_HEAD:] for tag, part in measured.parts if tag in measured_ages.VALUES}
        told = measured_ages.told(measured.unit, values, self._encoding.order)
        if told is None:
            return
        measured.parts[:] = [part for part in measured.parts if part[0] not in values]
        self._write(measured_ages.NUMERIC_VALUE, "DS", told)
        for at, decision in enumerate(self.trail):
            if decision.path == measured.path and decision.tag in values:
                stays = decision.tag == measured_ages.NUMERIC_VALUE
                self.trail[at] = decision._replace(action=Action.GROUP_AGE if stays else Action.REMOVE)

    def _unknown_sequence(self, element: Element, _verdict: Verdict) -> None:
        """Go into a sequence that is encoded as UN of known length, if it proves to be one."""
        try:
            for _ in walk_unknown(self._data, element):
                pass
        except MalformedDataSet:
            self._decide_tag(element.tag, Action.REMOVE, Rule.UNSOUND_VALUE)
            return
        self.consume(walk_unknown(self._data, element))  # once: what lies within is implicit VR and has no UN

    # --- values ---------------------------------------------------------------------------------------------------

    def _value(self, element: Element) -> None:
        tag = element.tag
        if tag in _NOT_ONLY_RULED:
            if tag in PIXELS:
                self._pixels(element)
                return
            if element.depth > 0 and tag in codes.CODE_ATTRIBUTES:
                self._open[-1].code[tag] = element
                return
            if tag in _NOTED:
                self._note(element)
        elif self._keeps_safe_private and (block := reserved_block(tag)):
            self._open[-1].creators[block] = _Creator(tag, self._text(element))
            return
        verdict = self._verdict(element)
        _DONE_BY[verdict.action](self, element, verdict)

    def _note(self, element: Element) -> None:
        """Note what is needed to judge other elements, or the image."""
        tag, container, value = element.tag, self._open[-1], self._bytes(element)
        if tag in DESCRIPTORS:
            container.descriptors[tag] = value
        elif tag == SPECIFIC_CHARACTER_SET:
            container.character_sets = character_sets_of(value)
        if element.depth == 0:
            self._facts.note(tag, value)
            self.image.note(tag, value)
        elif tag in SOURCES:
            self._facts.note_within(tag, value)
        elif tag in WAVEFORM_TAGS:
            container.waveform.note(tag, value, element.encoding.order)
        elif container.parent == ULTRASOUND_REGIONS and element.depth == 1:
            self.image.note_region(container.path[-1], tag, value)

    def _empty(self, element: Element, verdict: Verdict) -> None:
        self._decide(element, verdict)
        self._write(element.tag, verdict.vr, b"")

    def _put_dummy(self, element: Element, verdict: Verdict) -> None:
        self._decide(element, verdict)
        self._write(element.tag, verdict.vr, dummy(element.tag, verdict.vr, self._encoding))
        if element.tag == _ENCAPSULATED_DOCUMENT and element.depth == 0:
            self._write(BURNED_IN_ANNOTATION, "CS", b"NO")  # Type 1 with it (PS3.3 C.24.2)

    def _pseudonymise(self, element: Element, verdict: Verdict) -> None:
        self._decide(element, verdict)
        if element.depth > 0:  # at the top it is there already
            self._write(element.tag, verdict.vr, self._patient.pseudonym.encode("ascii"))

    def _note_overlay(self, element: Element, _verdict: Verdict) -> None:
        self._overlays.setdefault(element.tag >> 16, {})[element.tag & 0xFFFF] = element

    def _instead(self, element: Element, verdict: Verdict) -> None:
        """Do what stands in for an action that the value does not allow."""
        if verdict.instead is Action.MAP_UID:
            self._map_uids(element, verdict)
        else:
            _DONE_BY[verdict.instead](self, element, Verdict(verdict.instead, Rule.UNSOUND_VALUE, verdict.vr))

    def _keep(self, element: Element, verdict: Verdict) -> None:
        _, tag, received_vr, start, at, length, depth, received_encoding = element
        vr, encoding = verdict.vr, self._encoding
        is_binary = vr in UNIT_BYTES
        raw = self._data[at : at + length]
        value = (self._kept_numbers if is_binary else self._kept_characters)(element, verdict, raw)
        if value is None or (length > LONGEST_SHORT_VALUE and encoding.explicit and vr in SHORT_VRS):
            self._instead(element, verdict)
            return
        is_cut = is_binary and len(value) < length
        self._decide(element, verdict._replace(action=Action.CUT) if is_cut else verdict)
        as_it_is = (
            value == raw
            and not length & 1
            and received_encoding is encoding
            and (received_vr is None or (received_vr == vr and vr in SHORT_VRS))  # others have two bytes unread
        )
        if as_it_is:
            self._open[-1].parts.append((tag, self._data[start : at + length]))
        else:
            self._write(tag, vr, value)
        if vr == "UI" and depth == 0:
            uid = value.decode("ascii").strip(" \0")
            self.uids[tag] = (uid, uid)

    def _kept_numbers(self, element: Element, verdict: Verdict, value: bytes) -> bytes | None:
        """What may stay of a binary value: it is never turned round, so it must be in the output's byte order."""
        vr, order = verdict.vr, self._encoding.order
        little = element.vr == "UN" or element.encoding.order == "<"  # within UN always (PS3.5 6.2.2)
        if UNIT_BYTES[vr] > 1 and little != (order == "<"):
            return None
        if not is_sound_binary(vr, element.length, verdict.max_values):
            return None
        if element.tag in SAMPLES and element.length > LONGEST_SAMPLE:
            return None
        if vr == "AT" and not are_attribute_tags(value, order):
            return None
        is_table = element.tag in TABLES
        if element.tag == WAVEFORM_DATA:
            samples = self._open[-1].waveform.samples_of(value)
            if samples is None:
                return None
            value = samples
        elif is_table:
            descriptor = self._open[-1].descriptors.get(TABLES[element.tag])
            value, is_sound = read_table(element.tag, value, descriptor, order)
            if not is_sound:
                self.doubts.add(QuarantineReason.UNSOUND_LOOK_UP_TABLE)
        if len(value) >= SHORTEST:
            self.bulk.append(value)
            if spells_text(value, UNIT_BYTES[vr], order, is_table=is_table):
                self.doubts.add(QuarantineReason.TEXT_IN_NUMBERS)
        return value

    def _kept_characters(self, element: Element, verdict: Verdict, raw: bytes) -> bytes | None:
        """What may stay of a value of characters. What a site retains by an option need not be of known words, but for
        code strings, which say one of a few things.
        """
        vr, character_sets = verdict.vr, self._open[-1].character_sets
        value = values.kept(vr, raw, character_sets, is_time_zone=element.tag == _TIMEZONE_OFFSET)
        if not value or (verdict.option not in _SWEPT and vr != "CS"):
            return value
        if vr in _DECIMALS:
            if len(value) >= _TELLING_DIGITS:
                self.texts += _RUNS_OF_DIGITS.findall(value)
            return value
        value = values.of_known_words(element.tag, vr, value, character_sets)
        if value and verdict.option in _SWEPT:
            self._note_text(without_terms(element.tag, value))
        return value

    def _note_text(self, value: bytes) -> None:
        """Note a text that is written, for the last look."""
        character_sets = self._open[-1].character_sets
        if value.isascii() or character_sets == self._facts.character_sets:
            self.texts.append(value)
        else:
            self.texts_of_items.append(decode(value, character_sets) or "")

    def _change(self, element: Element, verdict: Verdict) -> None:
        """Write what an option makes of the value."""
        action, vr, raw = verdict.action, verdict.vr, self._bytes(element)
        if action is Action.CLEAN_TEXT:
            value = values.cleaned(vr, raw, self._open[-1].character_sets, self._days, self._names)
            if value:
                self._note_text(value)
        else:
            value = values.redated(action, vr, raw, self._patient.date_offset_days)
        if value is None or (len(value) > LONGEST_SHORT_VALUE and self._encoding.explicit and vr in SHORT_VRS):
            self._instead(element, verdict)
            return
        self._decide(element, verdict)
        self._write(element.tag, vr, value)

    def _map_uids(self, element: Element, verdict: Verdict) -> None:
        uids = self._bytes(element).decode("ascii", errors="surrogateescape").strip(" \0").split("\\")
        mapped = [self._map_uid(uid) if uid.strip(" \0") else "" for uid in uids]
        if element.depth == 0 and len(uids) == 1:
            self.uids[element.tag] = (uids[0], mapped[0])
        value = "\\".join(mapped).encode("ascii")
        if len(value) > LONGEST_SHORT_VALUE:
            self._decide_tag(element.tag, Action.REMOVE, Rule.UNSOUND_VALUE)
            return
        self._decide_tag(element.tag, Action.MAP_UID, verdict.rule)
        self._write(element.tag, "UI", value)

    def _map_uid(self, uid: str) -> str:
        mapped = self._mapped.get(uid)
        if mapped is None:
            mapped = self._mapped[uid] = map_uid(self._patient.uid_key, uid)
        return mapped

    def _bytes(self, element: Element) -> bytes:
        return self._data[element.value : element.value + element.length]

    # --- coded entries and private blocks ---------------------------------------------------------------------------

    def _coded_entry(self, code: dict[int, Element]) -> None:
        texts = {tag: self._text(element) for tag, element in code.items()}
        if self._open[-1].parent == measured_ages.UNITS:
            self._open[-3].unit = texts.get(codes.CODE_VALUE, "")
        value_tag = next((tag for tag in _CODE_VALUES if tag in texts), codes.CODE_VALUE)
        judged = codes.judge(
            texts.get(value_tag, ""),
            texts.get(codes.CODING_SCHEME_DESIGNATOR, ""),
            texts.get(codes.CODING_SCHEME_VERSION, ""),
            texts.get(codes.CODE_MEANING, ""),
        )
        stays = {
            value_tag: judged.code,
            codes.CODING_SCHEME_DESIGNATOR: judged.code,
            codes.CODING_SCHEME_VERSION: judged.version,
            codes.CODE_MEANING: judged.meaning,
        }
        for tag, element in code.items():
            vr = _CODE_VRS[tag]
            if stays.get(tag, False):
                if tag != codes.CODE_MEANING:  # a published one says what its code says
                    self.texts.append(texts[tag].encode("ascii"))
                self._decide_tag(tag, Action.KEEP, Rule.CODE)
                self._write(tag, vr, texts[tag].encode("ascii"))
            elif tag == codes.CODE_MEANING and Option.CLEAN_DESCRIPTORS in self._policy.options:
                verdict = Verdict(Action.CLEAN_TEXT, Rule.CODE, vr, instead=Action.DUMMY)
                self._change(element, verdict)
            elif tag == codes.CODING_SCHEME_VERSION:
                self._decide_tag(tag, Action.REMOVE, Rule.CODE)
            else:
                self._decide_tag(tag, Action.DUMMY, Rule.CODE)
                scheme = tag == codes.CODING_SCHEME_DESIGNATOR
                self._write(tag, vr, b"99KOPRU" if scheme else dummy(tag, vr, self._encoding))

    def _text(self, element: Element) -> str:
        """A coded entry's value; "" where it is not ASCII, which no standard's code is."""
        raw = self._bytes(element)
        return raw.decode("ascii").strip(" \0") if raw.isascii() else ""

    def _private(self, element: Element) -> Verdict:
        """The verdict on a private attribute where safe ones stay."""
        creator = self._open[-1].creators.get(block_of(element.tag))
        known = load_safe_private().get((creator.name, element.tag >> 16, element.tag & 0xFF)) if creator else None
        if creator is None or known is None or known.vr in _BYTES or element.vr not in (known.vr, "UN", None):
            return Verdict(Action.REMOVE, Rule.PRIVATE)
        actions = {
            "SQ": Action.CLEAN,
            "UI": Action.KEEP if Option.RETAIN_UIDS in self._policy.options else Action.MAP_UID,
        }
        action = actions.get(known.vr, Action.KEEP)
        return Verdict(action, Rule.OPTION, known.vr, known.max_values, Option.RETAIN_SAFE_PRIVATE)

    # --- pixels -------------------------------------------------------------------------------------------------------

    def _pixels(self, element: Element) -> None:
        """Note the image: what becomes of it is for `anonymize.pixels` to say."""
        if element.depth > 0 or element.vr not in _PIXEL_VRS or element.tag not in PIXELS or self.pixels is not None:
            self._decide_tag(element.tag, Action.REMOVE, Rule.PIXEL_DATA)
        else:
            self.pixels = element

    def put_pixels(self, element: Element, outcome: PixelOutcome) -> None:
        """Write the cleaned image of `element`, and the attributes that changed with it."""
        is_same = not outcome.regions and outcome.length == element.length + (element.length & 1)
        self._decide_tag(element.tag, Action.KEEP if is_same else Action.CLEAN_PIXELS, Rule.PIXEL_DATA)
        changed = {attribute.tag for attribute in outcome.changed} | {BURNED_IN_ANNOTATION}
        is_native = outcome.transfer_syntax_uid in NATIVE
        if is_native:
            changed |= OFFSET_TABLES
        parts = self._open[0].parts
        parts[:] = [part for part in parts if part[0] not in changed]
        for tag, vr, value in outcome.changed:
            if value is not None and tag != BURNED_IN_ANNOTATION:
                self._write(tag, vr, value)
        self._write(BURNED_IN_ANNOTATION, "CS", b"NO")
        if outcome.text is not None and outcome.text.declared:
            said = [*methods(self._rules.edition, self._policy), blanked(outcome.text)]
            parts[:] = [part for part in parts if part[0] != METHOD]
            self._write(METHOD, "LO", "\\".join(said).encode("ascii"))
        length = outcome.length if is_native else UNDEFINED_LENGTH
        parts.append((element.tag, encode_head(element.tag, outcome.vr, length, self._encoding)))
        parts += [(element.tag, piece) for piece in outcome.pieces]

    def put_overlays(self, cleaning: PixelCleaning) -> None:
        """Write the overlay planes that prove clean, with what describes them; of the others, nothing."""
        for plane in self._overlays.values():
            values = {number: self._bytes(element) for number, element in plane.items()}
            data = plane.get(OVERLAY_DATA)
            vr = data.vr if data else None
            order = self._encoding.order
            bitmap = clean_overlay(values, vr, order, cleaning, self._facts.identifiers) if data else None
            for number, element in plane.items():
                if bitmap is None:
                    self._decide_tag(element.tag, Action.REMOVE, Rule.GRAPHICS, Option.CLEAN_GRAPHICS)
                elif number == OVERLAY_DATA:
                    action = Action.KEEP if bitmap == values[number] else Action.CLEAN_PIXELS
                    self._decide_tag(element.tag, action, Rule.OPTION, Option.CLEAN_GRAPHICS)
                    self._write(element.tag, vr or "OW", bitmap)
                elif element.vr not in ((verdict := of_overlay(number)).vr, None):
                    self._decide_tag(element.tag, Action.REMOVE, Rule.VR_CONFLICT)
                elif verdict.action is Action.KEEP:
                    self._keep(element, verdict)
                else:
                    self._change(element, verdict)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _verdict(self, element: Element) -> Verdict:
        tag = element.tag
        if self._keeps_safe_private and tag >> 16 & 1:
            return self._private(element)
        vr = element.vr if element.encoding is self._encoding else "UN"
        return self._rules.verdict(tag, vr, self._open[-1].parent)

    def _decide(self, element: Element, verdict: Verdict) -> None:
        decided = (self._open[-1].path, element.tag, verdict.action, verdict.rule, verdict.option)
        self.trail.append(_decision(Decision, decided))

    def _decide_tag(self, tag: int, action: Action, rule: Rule, option: Option | None = None) -> None:
        self.trail.append(_decision(Decision, (self._open[-1].path, tag, action, rule, option)))

    def _write(self, tag: int, vr: str, value: bytes) -> None:
        self._open[-1].parts.append((tag, encode(tag, vr, value, self._encoding)))


_SWEPT: Final = frozenset({None, Option.RETAIN_SAFE_PRIVATE, Option.CLEAN_GRAPHICS})
_WITHOUT_VALUE: Final = frozenset({Action.REMOVE, Action.EMPTY, Action.DUMMY, Action.PSEUDONYM})
_DONE_BY: Final[Mapping[Action, Callable[[DataSetWriter, Element, Verdict], None]]] = {
    Action.REMOVE: DataSetWriter._decide,
    Action.EMPTY: DataSetWriter._empty,
    Action.DUMMY: DataSetWriter._put_dummy,
    Action.MAP_UID: DataSetWriter._map_uids,
    Action.PSEUDONYM: DataSetWriter._pseudonymise,
    Action.CLEAN: DataSetWriter._unknown_sequence,  # encoded as UN: any other is no value
    Action.CLEAN_OVERLAY: DataSetWriter._note_overlay,
    **dict.fromkeys((Action.CLEAN_TEXT, Action.SHIFT_DATE, Action.KEEP_YEAR, Action.GROUP_AGE), DataSetWriter._change),
    Action.KEEP: DataSetWriter._keep,
}
"""How each action on a value that a rule may ask for is done."""

_CODE_VALUES: Final = (codes.CODE_VALUE, codes.LONG_CODE_VALUE, codes.URN_CODE_VALUE)
_CODE_VRS: Final = {
    codes.CODE_VALUE: "SH",
    codes.CODING_SCHEME_DESIGNATOR: "SH",
    codes.CODING_SCHEME_VERSION: "SH",
    codes.CODE_MEANING: "LO",
    codes.LONG_CODE_VALUE: "UC",
    codes.URN_CODE_VALUE: "UR",
}
