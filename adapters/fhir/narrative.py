"""The narrative of a resource: limited XHTML (FHIR R4 2.4.0), built as a tree so that no text can become mark-up."""

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from adapters.fhir.wording import Statement

_XHTML = "http://www.w3.org/1999/xhtml"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """`text` without what XML 1.0 and a FHIR string cannot hold, runs of white space as one blank, trimmed."""
    return " ".join(_NOT_XML.sub(" ", text).split())


def narrative(heading: str, statements: Iterable[Statement], rows: Sequence[Sequence[str]] = ()) -> dict[str, str]:
    """A Narrative: a heading, a paragraph for each statement, and a table whose first row is its header."""
    div = ElementTree.Element("div", {"xmlns": _XHTML})
    _child(div, "p", bold=heading)
    for statement in statements:
        _child(div, "p", bold=f"{statement.title}: ", text=statement.body)
    if rows:
        table = ElementTree.SubElement(div, "table")
        for number, row in enumerate(rows):
            line = ElementTree.SubElement(table, "tr")
            for cell in row:
                ElementTree.SubElement(line, "td" if number else "th").text = clean(cell)
    return {"status": "generated", "div": ElementTree.tostring(div, encoding="unicode")}


def _child(parent: ElementTree.Element, tag: str, *, bold: str, text: str = "") -> None:
    child = ElementTree.SubElement(parent, tag)
    strong = ElementTree.SubElement(child, "b")
    strong.text = clean(bold)
    strong.tail = f" {clean(text)}" if text else None
