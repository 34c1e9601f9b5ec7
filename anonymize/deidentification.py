"""De-identifies one instance by the Basic Application Confidentiality Profile (PS3.15 E.2) and its options, raw element
by raw element.

Builds a new Part 10 file from what `anonymize.rules` lets through; nothing gets into it by not being noticed. Values
that stay are copied as they are encoded, pixel data once and unseen. What cannot be proven clean raises `Quarantine`.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final

from anonymize.attribute_types import types_of
from anonymize.data_set import DataSetWriter
from anonymize.elements import Kind, walk
from anonymize.encoding import few_pieces, part10_head
from anonymize.errors import RELEASABLE, MalformedDataSet, Quarantine, QuarantineReason
from anonymize.facts import Facts
from anonymize.image_cleaning import PixelCleaning, clean_image, script_values
from anonymize.instances import DeidentifiedInstance, PatientPseudonym, ReceivedInstance
from anonymize.options import BASIC, Policy
from anonymize.pixels import BlankedRegion, BlankedText, PixelScript
from anonymize.pixels.words import Bytes
from anonymize.profile import Profile, load_profile
from anonymize.rules import Rules, check
from anonymize.trail import Decision
from anonymize.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPIP_REFERENCED,
    KNOWN,
    NATIVE,
    EncodedDataSet,
    encoded_data_set,
)
from anonymize.uids import SOP_CLASSES

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_IDENTITY: Final = (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)

_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)+")
_PSEUDONYM: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what fits LO and PN in every character set


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A clean instance, and what was done to every element of the received one, in the order of its bytes.

    Of a sequence that is not gone into, the sequence alone is listed; the attributes of a coded entry come at the end
    of their item, overlays that were looked at the very end.
    """

    instance: DeidentifiedInstance
    trail: tuple[Decision, ...] = field(repr=False)
    blanked: tuple[BlankedRegion, ...] = ()
    """The regions of the image that were blanked."""
    text: BlankedText | None = None
    """Of an image, whether text was declared and how much was blanked."""


@cache
def _profile() -> Profile:
    profile = load_profile()
    check(profile)
    return profile


@lru_cache(maxsize=512)
def _rules(policy: Policy, sop_class_uid: str) -> Rules:
    return Rules(_profile(), policy, types_of(sop_class_uid))


_UNSEEN: Final = PixelCleaning()


def deidentify(
    received: ReceivedInstance,
    patient: PatientPseudonym,
    policy: Policy = BASIC,
    pixels: PixelCleaning = _UNSEEN,
    accepted: Collection[QuarantineReason] = (),
) -> Deidentified:
    """De-identify one instance of `patient`. The same input gives the same bytes.

    `pixels` says how the Clean Pixel Data Option is to be done; `accepted` are reasons, of those in `RELEASABLE`, for
    which a person who has looked at this instance vouches that they do not hold. The transfer syntax stays, save that
    a deflated data set becomes Explicit VR Little Endian, and so do compressed images in which text was blanked; all
    other pixels stay as they are encoded. Raises `Quarantine` where the outcome could not be proven clean, and
    `ValueError` for a reason that nobody can vouch for, or a pseudonym that fits no DICOM text (1 to 64 of A-Z a-z 0-9
    . _ -).
    """
    if not _PSEUDONYM.fullmatch(patient.pseudonym):
        raise ValueError("the pseudonym must be 1 to 64 of A-Z a-z 0-9 . _ -; make another in the vault")
    if not RELEASABLE.issuperset(accepted):
        raise ValueError("a defect of the data cannot be vouched for; only the reasons in RELEASABLE can")
    _check_is_known(received)
    try:
        encoded = encoded_data_set(received.data_set, received.transfer_syntax_uid)
        rules = _rules(policy, received.sop_class_uid)
        writer, facts = _written(encoded, patient, policy, rules, pixels)
        sweeps = QuarantineReason.KNOWN_IDENTIFIER not in accepted
        names_the_patient = sweeps and _names_the_patient(writer, facts)
        if names_the_patient:  # by a word of a descriptor, perhaps, that is a name by chance
            names = facts.identifiers.words(facts.character_sets)
            writer, facts = _written(encoded, patient, policy, rules, pixels, names)
            names_the_patient = _names_the_patient(writer, facts)
    except MalformedDataSet as error:
        raise Quarantine(QuarantineReason.MALFORMED_DATA_SET) from error
    if doubts := writer.doubts.difference(accepted):
        raise Quarantine(min(doubts))
    if names_the_patient:
        raise Quarantine(QuarantineReason.KNOWN_IDENTIFIER)
    transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN if encoded.deflated else received.transfer_syntax_uid
    blanked: tuple[BlankedRegion, ...] = ()
    text: BlankedText | None = None
    bulk: list[Sequence[Bytes]] = [(value,) for value in writer.bulk]
    if (image := writer.pixels) is not None:
        if image.kind is Kind.FRAGMENTS and transfer_syntax_uid in NATIVE:
            raise Quarantine(QuarantineReason.MALFORMED_DATA_SET)
        view = memoryview(encoded.data)
        texts = _script_values(encoded, pixels.script, facts) if pixels.script else {}
        outcome, may_hold_text = clean_image(
            view, image, writer.image, transfer_syntax_uid, policy, pixels, texts, accepted
        )
        writer.put_pixels(image, outcome)
        transfer_syntax_uid, blanked, text = outcome.transfer_syntax_uid, outcome.regions, outcome.text
        if may_hold_text:
            bulk.append(outcome.pieces)
    instance = _instance(received, transfer_syntax_uid, writer)
    if sweeps and bulk and _bulk_names_the_patient(bulk, facts):
        raise Quarantine(QuarantineReason.KNOWN_IDENTIFIER)
    return Deidentified(instance, tuple(writer.trail), blanked, text)


def _written(
    encoded: EncodedDataSet,
    patient: PatientPseudonym,
    policy: Policy,
    rules: Rules,
    pixels: PixelCleaning,
    names: frozenset[str] = frozenset(),
) -> tuple[DataSetWriter, Facts]:
    """Write all but the image; cleaned text without the words `names`."""
    facts = Facts()
    writer = DataSetWriter(encoded.data, encoded.encoding, patient, policy, rules, facts, names)
    writer.consume(walk(encoded.data, encoded.encoding))
    writer.finish()
    writer.put_overlays(pixels)
    return writer, facts


def _names_the_patient(writer: DataSetWriter, facts: Facts) -> bool:
    """Whether a text that was written holds a word that the data set names its patient by."""
    return facts.identifiers.are_in(writer.texts, facts.character_sets, writer.texts_of_items)


def _bulk_names_the_patient(values: Iterable[Sequence[Bytes]], facts: Facts) -> bool:
    """Whether one of `values`, each in pieces, holds what the data set names its patient by."""
    search = facts.identifiers.in_bulk()
    return any(search.finds(pieces) for pieces in values)


def _check_is_known(received: ReceivedInstance) -> None:
    if received.transfer_syntax_uid not in KNOWN:
        raise Quarantine(QuarantineReason.UNKNOWN_TRANSFER_SYNTAX)
    if received.transfer_syntax_uid in JPIP_REFERENCED:
        raise Quarantine(QuarantineReason.REMOTE_PIXEL_DATA)
    if received.sop_class_uid not in SOP_CLASSES:
        raise Quarantine(QuarantineReason.UNKNOWN_SOP_CLASS)


def _script_values(encoded: EncodedDataSet, script: PixelScript, facts: Facts) -> dict[tuple[int, ...], str]:
    elements = walk(encoded.data, encoded.encoding)
    return script_values(encoded.data, elements, script, facts.character_sets)


def _instance(received: ReceivedInstance, transfer_syntax_uid: str, writer: DataSetWriter) -> DeidentifiedInstance:
    uids = writer.uids
    if not all(tag in uids and uids[tag][0].strip(".") and _UID.fullmatch(uids[tag][1]) for tag in _IDENTITY):
        raise Quarantine(QuarantineReason.MISSING_UID)
    announced = (received.sop_class_uid, received.sop_instance_uid)
    if (uids[_SOP_CLASS_UID][0], uids[_SOP_INSTANCE_UID][0]) != announced:
        raise Quarantine(QuarantineReason.IDENTITY_MISMATCH)
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid = (uids[tag][1] for tag in _IDENTITY)
    head = part10_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    return DeidentifiedInstance(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        pieces=few_pieces((head, *writer.data_set())),
    )
