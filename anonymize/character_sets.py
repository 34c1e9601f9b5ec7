"""Decodes text by Specific Character Set (0008,0005): strictly, or not at all (PS3.3 C.12.1.1.2, PS3.5 6.1).

It must never guess: text in an unknown repertoire, or with bytes that its repertoire lacks, is None.
"""

import re
from collections.abc import Sequence
from typing import Final

_CODECS: Final = {  # by the number of the ISO registration (PS3.3 Tables C.12-2 to C.12-5)
    "": "ascii",
    "6": "ascii",
    "100": "iso8859_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "144": "iso8859_5",
    "127": "iso8859_6",
    "126": "iso8859_7",
    "138": "iso8859_8",
    "148": "iso8859_9",
    "203": "iso8859_15",
    "13": "shift_jis",
    "166": "iso8859_11",
    "87": "iso2022_jp",
    "159": "iso2022_jp_2",
    "149": "euc_kr",
    "58": "gb2312",
    "192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}

_ESCAPES: Final = {  # what follows ESC; the Japanese codecs read their escape themselves
    b"(B": "ascii",
    b"-A": "iso8859_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-L": "iso8859_5",
    b"-G": "iso8859_6",
    b"-F": "iso8859_7",
    b"-H": "iso8859_8",
    b"-M": "iso8859_9",
    b"-b": "iso8859_15",
    b")I": "shift_jis",
    b"(J": "shift_jis",
    b"-T": "iso8859_11",
    b"$B": "iso2022_jp",
    b"$(D": "iso2022_jp_2",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
}

_TERM: Final = re.compile(r"ISO[-_ ](?:2022[-_ ])?IR[-_ ](\d+)")  # also the spellings with - and blank that are sent
_RESET: Final = re.compile(rb"[\^=\r\n\t\f]")  # from here the first repertoire applies again (PS3.5 6.1.2.5.3)


def _codec(term: str) -> str | None:
    match = _TERM.fullmatch(term)
    return _CODECS.get(match[1] if match else term)


def is_character_set(term: str) -> bool:
    """Whether a value of Specific Character Set is one that we know; the empty first one stands for ASCII."""
    return _codec(term) is not None


def character_sets_of(value: bytes) -> tuple[str, ...]:
    """Split the value of Specific Character Set (0008,0005); empty for the default repertoire."""
    text = value.decode("ascii", errors="backslashreplace").strip(" \0")
    return tuple(term.strip() for term in text.split("\\")) if text else ()


def decode(value: bytes, character_sets: Sequence[str]) -> str | None:
    """Decode one value of a PN, LO, SH, ST, LT, UC or UT element; None where it cannot be done without loss.

    `character_sets` are the values of Specific Character Set; none means the default repertoire, ASCII. Of an unknown
    one only ASCII text is read.
    """
    codec = _codec(character_sets[0].strip()) if character_sets else "ascii"
    try:
        if b"\x1b" not in value:
            return value.decode(codec or "ascii")
        return _decode_extended(value, codec or "ascii")
    except (UnicodeDecodeError, LookupError):
        return None


def encode(text: str, character_sets: Sequence[str]) -> bytes | None:
    """Encode text without code extensions; None where the first character set does not hold it."""
    codec = _codec(character_sets[0].strip()) if character_sets else "ascii"
    try:
        encoded = text.encode(codec or "ascii")
    except UnicodeEncodeError:
        return None
    return None if b"\x1b" in encoded else encoded


def _decode_extended(value: bytes, first_codec: str) -> str:
    """Decode text with code extensions. Raises LookupError on an escape sequence that PS3.3 does not list."""
    unescaped, *escaped = value.split(b"\x1b")
    text = [unescaped.decode(first_codec)]
    for run in escaped:
        escape = next((e for e in (run[:3], run[:2]) if e in _ESCAPES), None)
        if escape is None:
            raise LookupError("unknown escape sequence")
        codec = _ESCAPES[escape]
        if codec.startswith("iso2022"):  # in these two-byte sets a byte that looks like a delimiter is none
            text.append((b"\x1b" + run).decode(codec))
            continue
        reset = match.start() if (match := _RESET.search(run)) else len(run)
        text.append(run[len(escape) : reset].decode(codec))
        text.append(run[reset:].decode(first_codec))
    return "".join(text)
