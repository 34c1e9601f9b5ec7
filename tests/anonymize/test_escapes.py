"""A name in escapes, as web pages and programs write characters, is read before anybody decides what may stay."""

import html
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize import Option, Policy, deidentify
from anonymize.escapes import unescaped
from anonymize.vocabulary import is_known
from tests.anonymize.encoded import PATIENT, encoded, identified, parsed, received

DESCRIPTORS = Policy(frozenset({Option.CLEAN_DESCRIPTORS}))
NAME = "Yıldırım"
ESCAPED = {
    "decimal": "".join(f"&#{ord(letter)};" for letter in NAME),
    "hexadecimal": "".join(f"&#x{ord(letter):X};" for letter in NAME),
    "without an end": "".join(f"&#{ord(letter)} " for letter in NAME),
    "what is not ASCII": NAME.encode("ascii", "xmlcharrefreplace").decode(),
    "of a URL": "".join(f"%{byte:02X}" for byte in NAME.encode()),
    "of JSON": NAME.encode("ascii", "backslashreplace").decode().replace("Y", "\\u0059"),
    "twice": html.escape("".join(f"&#{ord(letter)};" for letter in NAME)),
    "bytes": NAME.encode().hex(" "),
    "struck through": "".join(letter + "\u0336" for letter in NAME),
}


def described(text: str) -> str:
    made = identified()
    made.ImageComments = text
    return str(parsed(deidentify(received(encoded(made)), PATIENT, DESCRIPTORS).instance.file).get("ImageComments", ""))


@pytest.mark.parametrize("said", ESCAPED.values(), ids=ESCAPED)
def test_an_escaped_name_goes(said: str) -> None:
    left = "".join(filter(str.isalpha, described(f"Toraks {said} normal")))
    assert left.replace("Toraks", "").replace("normal", "").replace("NAME", "") == ""


@pytest.mark.parametrize(
    "said", ["Toraks & batın", "BT %20 kontrast", "10 %, 20 %", "AC/DC", "a &amp; b", "T1 &lt; T2"]
)
def test_what_only_looks_like_an_escape_stays(said: str) -> None:
    assert described(said) == said


@pytest.mark.parametrize("said", ["RT&LT KNEE", "rt&lt knee", "RT&LT", "L&GT", "mass &not seen"])
def test_a_side_after_an_ampersand_is_no_sign_of_comparison(said: str) -> None:
    assert unescaped(said) == said
    assert described(f"{said}, Dr. Zorvane") == f"{said}, Dr. [NAME]"


@pytest.mark.parametrize(("digits", "read"), [("0" * 5_000 + "65", "A"), ("1" * 5_000, "\ufffd")])
def test_a_number_of_any_length_is_read(digits: str, read: str) -> None:
    assert unescaped(f"&#{digits};") == read


@pytest.mark.parametrize(
    "said", ["&#65;&#108;&#105;&#99;&#101;", "%41%6C%69%63%65", "&amp;amp;amp;amp;amp;amp;amp;amp;amp;amp;"]
)
def test_no_code_string_or_technical_text_is_known_in_escapes(said: str) -> None:
    assert not is_known(said)


@given(st.text())
def test_what_has_no_escape_is_as_it_was_and_every_text_is_read_or_refused(said: str) -> None:
    read = unescaped(said)
    assert read is None or unescaped(read) == read
    assert unescaped(said.replace("&", "").replace("%", "").replace("\\", "")) == said.replace("&", "").replace(
        "%", ""
    ).replace("\\", "")


@given(
    st.text(alphabet=st.characters(blacklist_categories=("Cc", "Cs")), min_size=1).filter(lambda text: "\\" not in text)
)
def test_the_escapes_of_urls_and_markup_are_undone(said: str) -> None:
    assert unescaped(html.escape(quote(said))) == unescaped(said)
