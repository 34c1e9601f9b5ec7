"""Looks for tokens in what came out: in the bytes as they are, and in all that a curious reader would unpack.

It must find too much rather than too little, and it knows nothing of how the output was made.
"""

import base64
import binascii
import re
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain

import numpy as np
import pydicom

from benchmarks.leak_places.tokens import Witness

_MAXIMUM_INFLATED = 1 << 22
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ZLIB_STARTS = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_BASE64_RUNS = re.compile(rb"[A-Za-z0-9+/]{4}[A-Za-z0-9+/\r\n]{12,}={0,2}")
_HEXADECIMAL_RUNS = re.compile(rb"[0-9A-Fa-f]{2}[0-9A-Fa-f\s]{14,}")
_LONG_FORM_HEADERS = re.compile(rb"(?:OB|OD|OF|OL|OV|OW|SQ|SV|UC|UN|UR|UT|UV)([A-Za-z]{2})")
_DEPTH = 3


@dataclass(frozen=True)
class Survivor:
    """A token found in an output: its label, the form that was found and in which view of the bytes."""

    label: str
    form: bytes
    view: str


def views(file: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of a Part 10 file, and everything that is packed in them, each with how it was unpacked."""
    yield "as it is", file
    inflated = _inflated_data_set(file)
    if inflated is not None:
        yield "inflated data set", inflated
    for name, content in chain([("", file)], [("data set: ", inflated)] if inflated else []):
        yield from ((name + how, inner) for how, inner in _unpacked(content, _DEPTH))
        yield name + "reserved bytes of headers", b"".join(_LONG_FORM_HEADERS.findall(content))
    yield from _pixel_views(file)


def _inflated_data_set(file: bytes) -> bytes | None:
    """The data set of a Part 10 file whose File Meta Information says that it is deflated."""
    if file[128:132] != b"DICM" or len(file) < 144:
        return None
    data_set = 144 + int.from_bytes(file[140:144], "little")
    if _DEFLATED not in file[:data_set]:
        return None
    inflater = zlib.decompressobj(-15)
    return inflater.decompress(file[data_set:], _MAXIMUM_INFLATED) + inflater.unused_data


def _unpacked(content: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    """What zlib, base64, hexadecimal and ASCII85 in it hold, and what these hold."""
    if depth == 0:
        return
    for how, inner in chain(_zlib_streams(content), _text_coded(content), _text_coded(content.replace(b"\0", b""))):
        yield how, inner
        yield from ((f"{how} in {outer}", deeper) for outer, deeper in _unpacked(inner, depth - 1))


def _zlib_streams(content: bytes) -> Iterator[tuple[str, bytes]]:
    for start in _ZLIB_STARTS.finditer(content):
        try:
            inner = zlib.decompressobj().decompress(content[start.start() :], _MAXIMUM_INFLATED)
        except zlib.error:
            continue
        if len(inner) > 8:
            yield "zlib", inner
    for start in re.finditer(rb"\x1f\x8b\x08", content):
        try:
            yield "gzip", zlib.decompressobj(31).decompress(content[start.start() :], _MAXIMUM_INFLATED)
        except zlib.error:
            continue


def _text_coded(content: bytes) -> Iterator[tuple[str, bytes]]:
    for run in _BASE64_RUNS.findall(content):
        packed = re.sub(rb"\s", b"", run)
        try:
            yield "base64", base64.b64decode(packed + b"=" * (-len(packed) % 4))
        except binascii.Error:
            continue
    for run in _HEXADECIMAL_RUNS.findall(content):
        packed = re.sub(rb"\s", b"", run)
        yield "hexadecimal", bytes.fromhex(packed[: len(packed) // 2 * 2].decode())
    for run in re.findall(rb"([!-uz\s]{10,}?)~>", content):
        try:
            yield "ASCII85", base64.a85decode(run.rpartition(b"stream\n")[2])
        except ValueError:
            continue


def _pixel_views(file: bytes) -> Iterator[tuple[str, bytes]]:
    """Each bit plane, and the high nibbles, of native 16-bit pixel words, packed into bytes in both bit orders."""
    try:
        with warnings.catch_warnings(action="ignore"):
            read = pydicom.dcmread(BytesIO(file), force=True)
        pixels = read.get("PixelData") if read.get("BitsAllocated") == 16 else None
        big = not read.original_encoding[1]
    except Exception:  # noqa: BLE001 - what pydicom cannot read has no pixels for this view; the others have its bytes
        return
    if not pixels or getattr(read.file_meta.get("TransferSyntaxUID"), "is_compressed", True):
        return
    words = np.frombuffer(pixels[: len(pixels) // 2 * 2], dtype=">u2" if big else "<u2")
    for plane in range(16):
        bits = ((words >> plane) & 1).astype(np.uint8)
        yield f"bit {plane} of the pixels", np.packbits(bits, bitorder="little").tobytes()
        yield f"bit {plane} of the pixels", np.packbits(bits, bitorder="big").tobytes()
    nibbles = (words >> 12).astype(np.uint8)[: len(words) // 2 * 2]
    yield "high nibbles of the pixels", (nibbles[0::2] << 4 | nibbles[1::2]).tobytes()
    yield "high nibbles of the pixels", (nibbles[1::2] << 4 | nibbles[0::2]).tobytes()


class _Sought:
    """The forms of many witnesses, found in a view by looking at each of its six-byte pieces once."""

    _PIECE = 6

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._by_start: dict[bytes, list[tuple[bytes, bool, Witness]]] = defaultdict(list)
        self._short: list[tuple[bytes, bool, Witness]] = []
        for witness in witnesses:
            forms = [(form, False, witness) for form in witness.anywhere]
            for entry in forms + [(digits, True, witness) for digits in witness.bounded]:
                if len(entry[0]) < self._PIECE:
                    self._short.append(entry)
                else:
                    self._by_start[entry[0][: self._PIECE]].append(entry)

    def found_in(self, view: bytes, in_words: bool) -> Iterator[tuple[Witness, bytes]]:
        """Each witness that the view holds, upper and lower case alike, with the form found.

        Of words that the engine wrote, six digits prove nothing: they may be a tag or a position.
        """
        lowered = view.lower()
        pieces = {text[at : at + self._PIECE] for text in (view, lowered) for at in range(len(text) - self._PIECE + 1)}
        likely = chain(self._short, *(self._by_start[piece] for piece in pieces & self._by_start.keys()))
        for form, alone, witness in likely:
            if alone:
                if not (in_words and len(form) < 8) and re.search(rb"(?<!\d)" + re.escape(form) + rb"(?!\d\d)", view):
                    yield witness, form
            elif form in view or form in lowered:
                yield witness, form


def survivors(file: bytes, witnesses: Sequence[Witness], extra: Iterable[tuple[str, bytes]] = ()) -> list[Survivor]:
    """The tokens that `file` or any of `extra` (a view's name and its bytes) still holds, each reported once.

    `extra` are the engine's own words: a trail, a refusal, what a command printed.
    """
    sought = _Sought(witnesses)
    found: dict[int, Survivor] = {}
    named = chain(((*one, False) for one in views(file)), ((*one, True) for one in extra))
    for name, view, in_words in named:
        for witness, form in sought.found_in(view, in_words):
            found.setdefault(id(witness), Survivor(witness.label, form, name))
    return list(found.values())
