"""Places in values of many binary numbers: look-up tables (PS3.3 C.11.1, C.11.2, C.7.6.3.1.5, C.7.9.2), coordinates,
spectra, samples and index lists. Each has the VR that PS3.6 gives it, and as many numbers as bytes of a text make.
"""

import struct
from collections.abc import Sequence
from functools import partial

from benchmarks.leak_places.encoding import Element, Numbers, Written, numbers, sequence, text
from benchmarks.leak_places.place import Catalogue
from benchmarks.leak_places.tokens import CharacterSet, Mint

catalogue = Catalogue("Values of many numbers")
_LONG = 48  # a multiple of the bytes of every binary VR
_place = partial(catalogue.elements, character_sets=(CharacterSet.ASCII, CharacterSet.UTF_8))
_MODALITY, _VOI, _PRESENTATION = 0x00283000, 0x00283010, 0x20500010


def _as_bytes(vr: str, token: bytes) -> Element:
    """A token as the numbers that its bytes are, in any byte order; of an element that its caller names."""
    formats = {"OW": "H", "US": "H", "OF": "f", "FL": "f", "OD": "d", "FD": "d", "OL": "I", "UL": "I", "OV": "Q"}
    kind = formats[vr]
    return Element(0, vr, Numbers(struct.unpack(f"<{len(token) // struct.calcsize(kind)}{kind}", token)))


def _at(tag: int, vr: str, token: bytes) -> Element:
    return Element(tag, vr, _as_bytes(vr, token).value)


def _words(token: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(token) // 2}H", token)


def _table(holder: int, entries: int, bits: int, *words: int) -> Element:
    described = [numbers(0x00283002, "US", entries, 0, bits), text(0x00283004, "LO", "HU")]
    return sequence(holder, [*described, Element(0x00283006, "OW", Numbers(words))])


@_place("look-up tables: behind the entries", "letters behind the entries of modality, VOI and presentation tables")
def _behind(mint: Mint) -> Sequence[Written]:
    return [
        _table(holder, 4, 12, 0, 9, 99, 999, *_words(mint.ascii(f"{holder:08X}", 24)))
        for holder in (_MODALITY, _VOI, _PRESENTATION)
    ]


@_place("look-up tables: 8-bit entries", "letters behind entries of eight bits, two in a word")
def _behind_bytes(mint: Mint) -> Sequence[Written]:
    return [_table(_VOI, 32, 8, *range(0, 16 * 514, 514), *_words(mint.ascii("LUT Data", 24)))]


@_place("look-up tables: entries too large", "letters as entries of 16 bits where 12 are announced", provable=False)
def _large(mint: Mint) -> Sequence[Written]:
    return [_table(_MODALITY, 16, 12, 0, 1, 2, 3, *_words(mint.ascii("LUT Data", 24)))]


@_place("look-up tables: entries that spell", "letters as entries of 16 bits, as announced", provable=False)
def _spelt(mint: Mint) -> Sequence[Written]:
    return [_table(_VOI, 16, 16, 0, 1, 2, 3, *_words(mint.ascii("LUT Data", 24)))]


@_place("look-up tables: one letter an entry", "letters as entries of 8 bits, each in a word", provable=False)
def _spelt_wide(mint: Mint) -> Sequence[Written]:
    return [_table(_VOI, 24, 8, *mint.ascii("LUT Data", 24))]


@_place("look-up tables: without a descriptor", "letters as a table that nothing describes", provable=False)
def _undescribed(mint: Mint) -> Sequence[Written]:
    return [
        sequence(_VOI, [_at(0x00283006, "OW", mint.ascii("(0028,3006)", 24))]),
        _at(0x00281201, "OW", mint.ascii("(0028,1201)", 24)),
        _at(0x00281408, "OW", mint.ascii("(0028,1408)", 24)),
    ]


def _palette(number: int, data: int, *words: int) -> list[Written]:
    return [numbers(0x00281101 + number, "US", 4, 0, 16), Element(data + number, "OW", Numbers(words))]


@_place("palettes: behind the entries", "letters behind the entries of red, green, blue and alpha palettes")
def _palettes(mint: Mint) -> Sequence[Written]:
    made: list[Written] = []
    for number in range(4):
        made += _palette(number, 0x00281201, 0, 9, 99, 999, *_words(mint.ascii(f"(0028,120{number + 1})", 24)))
    return made


@_place("palettes: behind the segments", "letters behind the segments of segmented palettes")
def _segments(mint: Mint) -> Sequence[Written]:
    made: list[Written] = []
    for number in range(3):
        segments = (0, 1, 0, 1, 3, 0x3000)  # one entry, then three on a line
        made += _palette(number, 0x00281221, *segments, *_words(mint.ascii(f"(0028,122{number + 1})", 24)))
    return made


@_place("palettes: a segment that spells", "letters as the entries of a discrete segment", provable=False)
def _discrete(mint: Mint) -> Sequence[Written]:
    return [
        numbers(0x00281101, "US", 12, 0, 16),
        Element(0x00281221, "OW", Numbers((0, 12, *_words(mint.ascii("(0028,1221)", 24))))),
    ]


@_place("palettes: retired and large", "letters as gray, large and blending tables, retired ones among them")
def _retired(mint: Mint) -> Sequence[Written]:
    return [_at(tag, "OW", mint.ascii(f"{tag:08X}", 24)) for tag in (0x00281200, 0x00281211, 0x00281212, 0x00281213)]


def _plant_bulk(name: str, what: str, vr: str, *tags: int, holder: int | None = None) -> None:
    @_place(f"numbers: {name}", f"letters as {what} ({vr})", provable=False)
    def _(mint: Mint) -> Sequence[Written]:
        made = [_at(tag, vr, mint.ascii(f"{tag:08X}", _LONG)) for tag in tags]
        return [sequence(holder, made)] if holder else made


_plant_bulk("spectra", "spectroscopy data and phase angles", "OF", 0x56000020, 0x56000010)
_plant_bulk("surface points", "coordinates of a surface's points", "OF", 0x00660016, holder=0x00660011)
_plant_bulk("fine surface points", "coordinates of a surface's points, fine", "OD", 0x00660022, holder=0x00660011)
_plant_bulk("triangles", "indices of a surface's triangles", "OL", 0x00660041, holder=0x00660013)
_plant_bulk("vectors of a deformation", "a deformation's grid", "OF", 0x00640009, holder=0x00640005)
_plant_bulk("annotation points", "points and indices of annotations", "OL", 0x006A0011, 0x00660040)
_plant_bulk("measured values", "values along a track", "OF", 0x00660125, holder=0x00660124)
_plant_bulk("filters of a waveform", "a filter's table", "OD", 0x003A032E)
_plant_bulk("outlines", "vertices of outlines and edges", "OF", 0x00181638, 0x300A066B, 0x300A0664)
_plant_bulk("curves of a rendering", "points and directions of curves", "OD", 0x0070150D, 0x00701A07)
_plant_bulk("selectors OF", "a hanging protocol's value to look for", "OF", 0x00720067)
_plant_bulk("selectors OW", "a hanging protocol's value to look for", "OW", 0x00720069)
_plant_bulk("selectors OD", "a hanging protocol's value to look for", "OD", 0x00720073)
_plant_bulk("selectors OL", "a hanging protocol's value to look for", "OL", 0x00720075)
_plant_bulk("selectors OV", "a hanging protocol's value to look for", "OV", 0x00720081)
_plant_bulk("lists of FL", "filter lengths and spot weights", "FL", 0x00187056, 0x300A0396)
_plant_bulk("lists of FD", "inversion times", "FD", 0x00189079)
_plant_bulk("lists of UL", "frame lists and break points", "UL", 0x00081161, 0x00186052)
_plant_bulk("lists of US", "frame numbers and vectors", "US", 0x00286110, 0x00540080)
_plant_bulk("detector counts", "counts of a detector's calibration", "OW", 0x00143050, 0x00143070)


@_place("numbers: behind sound ones", "letters behind coordinates and spectra that are such", provable=False)
def _behind_numbers(mint: Mint) -> Sequence[Written]:
    made: list[Written] = []
    for tag, vr in ((0x00660016, "OF"), (0x00660022, "OD"), (0x56000020, "OF")):
        token = _at(tag, vr, mint.ascii(f"{tag:08X}", _LONG)).value
        assert isinstance(token, Numbers)
        made.append(Element(tag, vr, Numbers((1.5, -20.25, 0.0, 7.125, *token.values))))
    return made
