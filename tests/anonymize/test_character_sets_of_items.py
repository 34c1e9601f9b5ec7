"""Text of an item is judged by the item's own Specific Character Set, or by that around it (PS3.3 C.12.1.1.2)."""

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anonymize import Option, Policy, Quarantine, deidentify
from tests.anonymize.encoded import EXPLICIT, IMPLICIT, PATIENT, encoded, identified, parsed, received

DESCRIPTORS = Policy(frozenset({Option.CLEAN_DESCRIPTORS}))
CHEST = "göğüs"


def item_of(character_set: str | None, text: str, codec: str, *, deeper: bool = False) -> Dataset:
    """A data set with a text in an item, or in an item of an item, of which the outer one has the character set."""
    inner = Dataset()
    inner.add_new(0x00400007, "LO", text.encode(codec))
    outer = Dataset() if deeper else inner
    if deeper:
        outer.ScheduledProtocolCodeSequence = Sequence([inner])
    if character_set is not None:
        outer.SpecificCharacterSet = character_set
    made = identified()
    made.RequestAttributesSequence = Sequence([outer])
    return made


def described(made: Dataset, syntax: str, *, deeper: bool = False) -> str:
    """The text as a reader of the output reads it."""
    result = deidentify(received(encoded(made, syntax), syntax), PATIENT, DESCRIPTORS)
    item = parsed(b"".join(result.instance.pieces)).RequestAttributesSequence[0]
    item = item.ScheduledProtocolCodeSequence[0] if deeper else item
    return str(item.get("ScheduledProcedureStepDescription", ""))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize(
    ("character_set", "codec"),
    [(None, "utf-8"), ("ISO_IR 192", "utf-8"), ("ISO_IR 148", "iso8859_9"), ("GB18030", "gb18030")],
)
def test_an_items_own_character_set_holds_for_it_and_what_lies_in_it(
    character_set: str | None, codec: str, deeper: bool, syntax: str
):
    assert described(item_of(character_set, CHEST, codec, deeper=deeper), syntax, deeper=deeper) == CHEST


def test_it_holds_for_that_item_only():
    made = item_of("ISO_IR 148", CHEST, "iso8859_9")
    after = Dataset()
    after.add_new(0x00400007, "LO", CHEST.encode("utf-8"))
    made.RequestAttributesSequence.append(after)
    result = deidentify(received(encoded(made)), PATIENT, DESCRIPTORS)
    items = parsed(b"".join(result.instance.pieces)).RequestAttributesSequence
    assert [str(item.ScheduledProcedureStepDescription) for item in items] == [CHEST, CHEST]


@pytest.mark.parametrize(("character_set", "codec"), [("ISO_IR 148", "utf-8"), ("ISO_IR 999", "iso8859_9")])
def test_what_an_item_cannot_be_read_by_does_not_stay(character_set: str, codec: str):
    made = item_of(character_set, CHEST, codec)
    result = deidentify(received(encoded(made)), PATIENT, DESCRIPTORS)
    assert CHEST.encode(codec) not in b"".join(result.instance.pieces)


@pytest.mark.parametrize(("character_set", "codec"), [(None, "utf-8"), ("ISO_IR 148", "iso8859_9")])
def test_the_patients_own_name_is_found_in_whatever_character_set_the_item_has(character_set: str | None, codec: str):
    made = item_of(character_set, CHEST, codec)
    made.PatientName = "GÖĞÜS^AYŞE"  # a word that anybody may know, and this patient's name
    result = deidentify(received(encoded(made)), PATIENT, DESCRIPTORS)
    file = b"".join(result.instance.pieces)
    assert parsed(file).RequestAttributesSequence[0].ScheduledProcedureStepDescription == "[-]"
    assert CHEST.encode(codec) not in file


def test_a_name_in_an_item_that_cannot_be_read_hides_none_at_the_top():
    made = identified()
    made.PatientName = "AXÏAL^QW"
    former = Dataset()
    former.add_new(0x00100010, "PN", "GÖL^ÖRNEK".encode("latin-1"))
    made.OtherPatientIDsSequence = Sequence([former])
    made.ScanOptions = ["AXIAL", "HELICAL"]
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(encoded(made)), PATIENT)
