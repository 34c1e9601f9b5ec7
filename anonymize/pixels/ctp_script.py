r"""Reads scripts of the RSNA Clinical Trial Processor's DicomPixelAnonymizer: which regions to blank on which device.

A script is sections of one signature and any number of regions, ``{ signature } (x,y,w,h) (x,y,w,h)``; other text
between them is comment and holds no brace or parenthesis (MircWiki, "The CTP DICOM Pixel Anonymizer" and "The CTP DICOM
Filter"). The first signature that matches wins. What cannot be read raises `InvalidScript`; CTP itself skips it.

A signature, its operators by rising precedence::

    expression = term { "+" term }                 or
    term       = factor { "*" factor }             and
    factor     = "!" factor | "(" expression ")" | "true." | "false." | test
    test       = identifier { "::" identifier } "." method "(" string ")"
    identifier = keyword | "[" hex4 "," hex4 "]" | "[" hex8 "]"

Within signatures ``//`` begins a comment. ``::`` goes into the first item of a sequence. A missing element is "",
several values are joined by a backslash. In strings ``\"`` is a quote; other backslashes stand for themselves.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import iter_unpack
from typing import Final, NoReturn

from pydicom.datadict import tag_for_keyword

from anonymize.character_sets import decode
from anonymize.pixels.errors import InvalidScript
from anonymize.pixels.image import Region

Path = tuple[int, ...]
"""Tags from the top level down, through the first item of each sequence."""

Values = Mapping[Path, str]
Condition = Callable[[Values], bool]

_MAX_DEPTH: Final = 64  # parentheses and negations within each other


def _number(text: str) -> float | None:
    digits = re.sub(r"[^0-9.]", "", text)  # as CTP does
    try:
        return float(digits)
    except ValueError:
        return None


def _compared(value: str, argument: str, sign: int) -> bool:
    left, right = _number(value), _number(argument)
    return left is not None and right is not None and (left - right) * sign > 0


_METHODS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "equals": lambda value, text: value == text,
    "equalsIgnoreCase": lambda value, text: value.lower() == text.lower(),
    "contains": lambda value, text: text in value,
    "containsIgnoreCase": lambda value, text: text.lower() in value.lower(),
    "startsWith": lambda value, text: value.startswith(text),
    "startsWithIgnoreCase": lambda value, text: value.lower().startswith(text.lower()),
    "endsWith": lambda value, text: value.endswith(text),
    "endsWithIgnoreCase": lambda value, text: value.lower().endswith(text.lower()),
    "matches": lambda value, text: re.fullmatch(text, value) is not None,
    "isLessThan": lambda value, text: _compared(value, text, -1),
    "isGreaterThan": lambda value, text: _compared(value, text, 1),
}

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<tag>\[\s*[0-9a-fA-F]{4}\s*,?\s*[0-9a-fA-F]{4}\s*\])
      | (?P<text>"(?:\\"|[^"\n])*")
      | (?P<chain>::)
      | (?P<name>[A-Za-z][A-Za-z0-9]*)
      | (?P<sign>[-+*!().,{}]|\d+)""",
    re.VERBOSE,
)
_REGION: Final = re.compile(r"\(\s*(-?\d{1,6})\s*,\s*(-?\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)")


@dataclass(frozen=True, slots=True)
class ScriptRegion:
    """A region as written: a negative `x` counts from the right edge, a negative `y` from the bottom."""

    x: int
    y: int
    width: int
    height: int

    def within(self, columns: int, rows: int) -> Region | None:
        """The part within an image of this size, None if there is none. Begins at 0 where it would begin before."""
        x = self.x if self.x >= 0 else max(0, self.x + columns)
        y = self.y if self.y >= 0 else max(0, self.y + rows)
        return Region(x, y, self.width, self.height).clipped(columns, rows)


@dataclass(frozen=True, slots=True)
class Section:
    """A signature and its regions; `line` is where the signature begins."""

    line: int
    matches: Condition = field(repr=False)
    regions: tuple[ScriptRegion, ...]


@dataclass(frozen=True, slots=True)
class PixelScript:
    """A script that was read whole. `paths` are the elements that its signatures ask for."""

    sections: tuple[Section, ...]
    paths: frozenset[Path]

    def section_for(self, values: Values) -> Section | None:
        """The first section whose signature matches; `values` are the texts of `paths`, absent ones left out."""
        return next((section for section in self.sections if section.matches(values)), None)

    def regions_for(self, values: Values, columns: int, rows: int) -> tuple[Region, ...]:
        """The regions to blank in an image of this size."""
        section = self.section_for(values)
        found = (region.within(columns, rows) for region in section.regions) if section else ()
        return tuple(region for region in found if region is not None)


def text_of(vr: str, value: bytes, *, big_endian: bool = False, character_sets: Sequence[str] = ()) -> str:
    """Give an element's raw value as the text that a signature is compared with: numbers in decimal."""
    code = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}.get(vr)
    if code is None:
        text = decode(value, character_sets)
        return (text if text is not None else value.decode("latin-1")).strip(" \0")
    size = {"H": 2, "h": 2, "d": 8}.get(code, 4)
    whole = value[: len(value) // size * size]
    return "\\".join(str(number) for (number,) in iter_unpack((">" if big_endian else "<") + code, whole))


def read_script(text: str) -> PixelScript:
    """Read a script. Raises `InvalidScript` at the first thing that is not as the module's docstring has it."""
    return _Parser(text).script()


class _Parser:
    """Descends from the script to the strings; the position is that of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._paths: set[Path] = set()

    def script(self) -> PixelScript:
        sections = []
        self._comment()
        while self._position < len(self._text):
            if self._text[self._position] != "{":
                self._fail("a region or a bracket outside a section; comments hold none")
            sections.append(self._section())
        return PixelScript(tuple(sections), frozenset(self._paths))

    def _comment(self) -> None:
        while self._position < len(self._text) and self._text[self._position] not in "{}()":
            self._position += 1

    def _section(self) -> Section:
        line = self._text.count("\n", 0, self._position) + 1
        self._take("{")
        condition = self._expression(0)
        self._take("}")
        regions = []
        self._comment()
        while self._position < len(self._text) and self._text[self._position] == "(":
            regions.append(self._region())
            self._comment()
        return Section(line, condition, tuple(regions))

    def _region(self) -> ScriptRegion:
        found = _REGION.match(self._text, self._position)
        if found is None:
            self._fail("a region is (x,y,width,height) in whole pixels, width and height not negative")
        self._position = found.end()
        x, y, width, height = map(int, found.groups())
        return ScriptRegion(x, y, width, height)

    def _expression(self, depth: int) -> Condition:
        parts = [self._term(depth)]
        while self._taken("+"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else lambda values: any(part(values) for part in parts)

    def _term(self, depth: int) -> Condition:
        parts = [self._factor(depth)]
        while self._taken("*"):
            parts.append(self._factor(depth))
        return parts[0] if len(parts) == 1 else lambda values: all(part(values) for part in parts)

    def _factor(self, depth: int) -> Condition:
        if depth > _MAX_DEPTH:
            self._fail(f"nested deeper than {_MAX_DEPTH}")
        if self._taken("!"):
            negated = self._factor(depth + 1)
            return lambda values: not negated(values)
        if self._taken("("):
            inner = self._expression(depth + 1)
            self._take(")")
            return inner
        return self._test()

    def _test(self) -> Condition:
        kind, token = self._peek()
        if (constant := {"true": True, "false": False}.get(token)) is not None:
            self._take(token)
            self._take(".")
            return lambda _: constant
        tags = [self._identifier()]
        while self._taken("::"):
            tags.append(self._identifier())
        path = tuple(tags)
        self._take(".")
        start = self._position
        kind, name = self._peek()
        method = _METHODS.get(name) if kind == "name" else None
        if method is None:
            self._fail(f"not a method; known are {', '.join(_METHODS)}")
        self._take(name)
        self._take("(")
        kind, quoted = self._peek()
        if kind != "text":
            self._fail("a text in double quotes is missing")
        argument = quoted[1:-1].replace('\\"', '"')
        if name == "matches":
            self._check_pattern(argument, start)
        self._take(quoted)
        self._take(")")
        self._paths.add(path)
        return lambda values: method(values.get(path, ""), argument)

    def _check_pattern(self, pattern: str, start: int) -> None:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            self._position = start
            self._fail("the regular expression cannot be read")

    def _identifier(self) -> int:
        kind, token = self._peek()
        if kind == "tag":
            self._take(token)
            return int(re.sub(r"[^0-9a-fA-F]", "", token), 16)
        tag = _tag_of(token) if kind == "name" else None
        if tag is None:
            self._fail("neither the keyword of an element nor a tag such as [0008,0060]")
        self._take(token)
        return tag

    def _peek(self) -> tuple[str, str]:
        """The kind and text of the next token; ("", "") at the end or where there is none."""
        while (found := _TOKEN.match(self._text, self._position)) is not None:
            if found.lastgroup != "space":
                return str(found.lastgroup), found.group()
            self._position = found.end()
        return "", ""

    def _taken(self, token: str) -> bool:
        if self._peek()[1] != token:
            return False
        self._position += len(token)
        return True

    def _take(self, token: str) -> None:
        if not self._taken(token):
            self._fail(f"{token} expected")

    def _fail(self, what: str) -> NoReturn:
        before = self._text[: self._position]
        raise InvalidScript(before.count("\n") + 1, self._position - (before.rfind("\n") + 1) + 1, what)


def _tag_of(name: str) -> int | None:
    """The tag of a keyword of today's dictionary, or of dcm4che's, which CTP uses: sequences end in Seq there."""
    longer = re.sub(r"Seq(?=$|Of)", "Sequence", name)
    return tag_for_keyword(name) or tag_for_keyword(longer)
