import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.pixels import InvalidScript, Region, read_script, text_of

MODALITY, MODEL, ROWS = (0x00080060,), (0x00081090,), (0x00280010,)
ULTRASOUND = {MODALITY: "US", MODEL: "Örnek 500", ROWS: "480"}

SCRIPT = """
Site rules, first match wins

Ultrasound, header and footer
  { Modality.equals("US") *                       // the modality
    ( [0008,1090].containsIgnoreCase("ÖRNEK") + [00081090].startsWith("Demo") ) * !Rows.equals("768") }
  (0,0,640,40)  beside it  (-100, -20, 100, 20)

Anything else
  { true. } (0,0,10,10)
"""


@pytest.mark.parametrize(
    ("signature", "matches"),
    [
        ('Modality.equals("US")', True),
        ('Modality.equals("us")', False),
        ('Modality.equalsIgnoreCase("us")', True),
        ('[0008,1090].contains("nek 5")', True),
        ('[0008,1090].containsIgnoreCase("NEK 5")', True),
        ('ManufacturerModelName.startsWith("Örnek")', True),
        ('ManufacturerModelName.startsWithIgnoreCase("öRNEK")', True),
        ('ManufacturerModelName.endsWith("500")', True),
        ('ManufacturerModelName.endsWithIgnoreCase("500 ")', False),
        ('ManufacturerModelName.matches(".*\\d+")', True),
        ('ManufacturerModelName.matches("\\d+")', False),
        ('Rows.isLessThan("500")', True),
        ('Rows.isGreaterThan("480")', False),
        ('Columns.equals("")', True),
        ('Columns.isLessThan("1")', False),
        ('!Modality.equals("CT")', True),
        ('!!Modality.equals("CT")', False),
        ("true. + false. * false.", True),
        ("(true. + false.) * false.", False),
        ("!false. * true.", True),
        ('SeqOfUltrasoundRegions::RegionLocationMinY0.equals("")', True),
        ('PatientName.contains("}")', False),
    ],
)
def test_a_signature_means_what_it_says(signature: str, matches: bool) -> None:
    section = read_script("{ " + signature + " } (1,2,3,4)").section_for(ULTRASOUND)
    assert (section is not None) is matches


def test_the_first_section_that_matches_wins_and_negative_places_count_from_the_far_edges() -> None:
    script = read_script(SCRIPT)
    assert script.regions_for(ULTRASOUND, 640, 480) == (Region(0, 0, 640, 40), Region(540, 460, 100, 20))
    assert script.regions_for(ULTRASOUND | {ROWS: "768"}, 640, 480) == (Region(0, 0, 10, 10),)
    assert script.paths == {MODALITY, MODEL, ROWS}


def test_regions_end_where_the_image_does() -> None:
    script = read_script("{ true. } (600,470,100,100) (-900,0,20,10) (700,0,5,5) (0,0,0,5)")
    assert script.regions_for({}, 640, 480) == (Region(600, 470, 40, 10), Region(0, 0, 20, 10))


@pytest.mark.parametrize(
    ("script", "line", "column"),
    [
        ("{ Modality.equals(\"US\") (0,0,1,1)", 1, 25),
        ("{ Modality.equals(US) } (0,0,1,1)", 1, 19),
        ("{ Modality.is(\"US\") } (0,0,1,1)", 1, 12),
        ("\n{ NoSuchKeyword.equals(\"US\") }", 2, 3),
        ("{ true }", 1, 8),
        ("{ true. true. }", 1, 9),
        ("{ true. * }", 1, 11),
        ("{ }", 1, 3),
        ("{ true. }\n (0,0,1)", 2, 2),
        ("{ true. }\n (0,0,-1,1)", 2, 2),
        ("{ true. } (0,0,1,1) a comment (of mine)", 1, 31),
        ("a comment (of mine) { true. }", 1, 11),
        ("{ true. } }", 1, 11),
        ("{ Modality.matches(\"[\") }", 1, 12),
        ("{ [0008,00].equals(\"\") }", 1, 3),
        ("{ Modality.equals(\"US) }", 1, 19),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place(script: str, line: int, column: int) -> None:
    with pytest.raises(InvalidScript) as refused:
        read_script(script)
    assert (refused.value.line, refused.value.column) == (line, column)


def test_deep_nesting_is_refused_and_no_recursion_error() -> None:
    with pytest.raises(InvalidScript):
        read_script("{ " + "(" * 5000 + "true." + ")" * 5000 + " }")


def test_an_empty_script_has_no_regions() -> None:
    assert read_script("nothing here yet\n").regions_for(ULTRASOUND, 640, 480) == ()


TERMS = st.sampled_from(["true.", "false."])
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        inner.map("!{}".format),
        inner.map("( {} )".format),
        st.lists(inner, min_size=2, max_size=3).map(" * ".join),
        st.lists(inner, min_size=2, max_size=3).map("+".join),
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_operators_bind_as_in_the_language(expression: str) -> None:
    section = read_script("{" + expression + "}").section_for({})
    assert (section is not None) is bool(_value(expression))


def _value(text: str) -> bool:
    """A second reading of the language: precedence by splitting at the outermost operators."""
    for operator, joined in (("+", any), ("*", all)):
        depth, parts, last = 0, [], 0
        for place, sign in enumerate(text):
            depth += (sign == "(") - (sign == ")")
            if sign == operator and depth == 0:
                parts.append(text[last:place])
                last = place + 1
        if parts:
            return joined(_value(part) for part in [*parts, text[last:]])
    text = text.strip()
    if text.startswith("!"):
        return not _value(text[1:])
    return _value(text[1:-1]) if text.startswith("(") else text == "true."


@given(st.text(alphabet='{}()[]",.:*+!-0123456789 \n/truefalseModalityequals\\', max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidScript):
        read_script(text)


def test_raw_values_become_the_texts_that_scripts_compare() -> None:
    assert text_of("US", b"\x02\x00\x00\x02") == "2\\512"
    assert text_of("US", b"\x02\x00", big_endian=True) == "512"
    assert text_of("LO", "Örnek ".encode(), character_sets=("ISO_IR 192",)) == "Örnek"
    assert text_of("CS", b"US\0") == "US"
