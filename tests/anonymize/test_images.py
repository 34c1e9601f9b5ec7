"""What becomes of a data set's image, its icon and its overlays, with a detector that takes what is bright for text."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anonymize import Deidentified, Option, Policy, Quarantine, QuarantineReason, deidentify
from anonymize.image_cleaning import PixelCleaning
from anonymize.pixels import Look, TextPolicy
from tests.anonymize.encoded import PATIENT, encoded, identified, parsed, received
from tests.anonymize.pixels.test_cleaning import Bright, marked

PIXELS = Policy(frozenset({Option.CLEAN_PIXEL_DATA}))


def pictured(array: np.ndarray, **changes: object) -> Dataset:
    """An 8-bit image."""
    ds = identified()
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = array.tobytes()
    ds["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def looked_at(ds: Dataset, policy: Policy = PIXELS, reads: str = "GIZLI 12.04.1956") -> Deidentified:
    return deidentify(
        received(encoded(ds)), PATIENT, policy, PixelCleaning(TextPolicy(Look.ALWAYS, margin=0), Bright(reads))
    )


def test_how_much_of_a_declared_text_was_blanked_is_told_in_the_record() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    outcome = looked_at(pictured(array, BurnedInAnnotation="YES"))
    ds = parsed(outcome.instance.file)
    assert ds.DeidentificationMethod[-1] == "Declared text blanked: 1 regions, 1 frames, 6.7 %"
    assert len(ds.DeidentificationMethod) == 3
    assert ds.BurnedInAnnotation == "NO"
    assert outcome.text.declared
    undeclared = looked_at(pictured(array))
    assert len(parsed(undeclared.instance.file).DeidentificationMethod) == 2
    assert undeclared.text == outcome.text._replace(declared=False)


def test_a_declared_text_of_which_a_little_was_found_is_held() -> None:
    array = marked(np.full((20, 30), 90, "u1"), 255)
    with pytest.raises(Quarantine) as caught:
        looked_at(pictured(array, BurnedInAnnotation="YES"), reads="12:30")
    assert caught.value.reason is QuarantineReason.BURNED_IN_ANNOTATION
