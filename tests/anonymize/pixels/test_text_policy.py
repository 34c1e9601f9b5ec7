from dataclasses import replace

import pytest

from anonymize.pixels import ImageDescription, Look, Markers, TextPolicy, TextRule, decide
from tests.anonymize.pixels.pixel_files import grey

CT, SC, US = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "7", "6.1"))


def image(modality: str, **changes: object) -> ImageDescription:
    return replace(grey(), modality=modality, sop_class_uid=CT, **changes)


@pytest.mark.parametrize(
    ("seen", "rule"),
    [
        (image("CT", burned_in_annotation="YES"), TextRule.DECLARED),
        (image("CT", burned_in_annotation="MAYBE"), TextRule.DECLARED),
        (image("CT", image_type=("DERIVED", "SECONDARY", "SCREEN SAVE")), TextRule.SCREENSHOT),
        (image("CT", conversion_type="WSD"), TextRule.SCREENSHOT),
        (replace(image("MR"), sop_class_uid=SC), TextRule.SCREENSHOT),
        (replace(image("OT", burned_in_annotation="NO"), sop_class_uid=SC + ".4"), TextRule.SCREENSHOT),
        (replace(image("US", burned_in_annotation="NO"), sop_class_uid=US), TextRule.SCREENSHOT),
        (image("ES", burned_in_annotation="NO"), TextRule.MODALITY),
        (image("XA"), TextRule.MODALITY),
        (image("RF"), TextRule.MODALITY),
        (image("DX"), TextRule.MODALITY),
        (image("CR"), TextRule.MODALITY),
        (image(""), TextRule.MODALITY),
        (image("CT", samples_per_pixel=3, photometric_interpretation="RGB"), TextRule.COLOUR),
    ],
)
def test_suspect_images_are_looked_at(seen: ImageDescription, rule: TextRule) -> None:
    decision = decide(seen, TextPolicy())
    assert decision.look
    assert decision.rule is rule
    assert not decide(seen, TextPolicy(Look.NEVER)).look


@pytest.mark.parametrize("seen", [image("CT"), image("MR"), image("DX", burned_in_annotation="NO"), image("PT")])
def test_others_are_not_unless_the_source_says_so(seen: ImageDescription) -> None:
    assert not decide(seen, TextPolicy()).look
    assert decide(seen, TextPolicy(Look.ALWAYS)).look


@pytest.mark.parametrize("text", ["L", "r", "AP", "PA ERECT", "Portable", "AYAKTA", "sağ", "SOL", "AP-PORTABLE"])
def test_markers_stay(text: str) -> None:
    assert Markers().allow(text, 0.95)


@pytest.mark.parametrize("text", ["ORNEK AYSE", "L 4471902", "LARA", "12:30", "", "-", "AP Y", "PORTABLE AYSE"])
def test_anything_else_does_not(text: str) -> None:
    assert not Markers().allow(text, 0.99)


def test_a_marker_that_was_read_badly_does_not_stay() -> None:
    assert not Markers().allow("L", 0.6)


def test_a_sites_own_words_replace_the_list() -> None:
    markers = Markers.of(["Yatakbaşı"])
    assert markers.allow("YATAKBAŞI", 0.9)
    assert not markers.allow("AP", 0.9)
