"""Unique identifiers to plant, and the byte strings that betray each of them.

A token is random, so that what is found of it later was left over and not made anew; it is never a real person's. Text
tokens have an ASCII core and, where the character set allows, a run of letters outside ASCII: either betrays it.
"""

import base64
import datetime
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class CharacterSet(Enum):
    """Values of Specific Character Set (PS3.3 C.12.1.1.2) with Python's codec and letters outside ASCII to plant."""

    ASCII = ("", "ascii", "")
    LATIN_1 = ("ISO_IR 100", "latin-1", "ÄÖÜßéèñøåç")
    TURKISH = ("ISO_IR 148", "iso8859-9", "ĞğİışŞçÇöÖüÜ")
    UTF_8 = ("ISO_IR 192", "utf-8", "ŁőđħΩжשع漢字ÅŻ")
    JAPANESE = ("\\ISO 2022 IR 87", "iso2022_jp", "")
    GB18030 = ("GB18030", "gb18030", "患者医院姓名生日张伟芳娜")

    @property
    def term(self) -> str:
        """The defined terms, as Specific Character Set holds them."""
        return self.value[0]

    @property
    def codec(self) -> str:
        """The Python codec that encodes it; for Japanese it writes the escape sequences, too."""
        return self.value[1]

    def letters(self, chance: random.Random) -> str:
        """Letters outside ASCII, enough of them to be unique; none in the default repertoire."""
        if self is CharacterSet.JAPANESE:
            rows = (bytes((chance.randrange(0x30, 0x4F), chance.randrange(0x21, 0x7F))) for _ in range(4))
            return "".join((b"\x1b$B" + pair + b"\x1b(B").decode("iso2022_jp") for pair in rows)
        return "".join(chance.choice(self.value[2]) for _ in range(6)) if self.value[2] else ""


_CONSONANTS = "bcdfghjklmnpqrstvwxz"
_BASE64_OFFSETS = (0, 1, 2)


@dataclass(frozen=True)
class Witness:
    """What betrays one token: any of `anywhere`, byte for byte, or of `bounded`, digits not within longer digits.

    One more digit may follow, since the next element's tag can begin with the byte of a digit.
    """

    label: str
    anywhere: frozenset[bytes]
    bounded: frozenset[bytes] = frozenset()


def _swapped(value: bytes, width: int) -> bytes:
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value) - len(value) % width, width))


def disguises(value: bytes) -> set[bytes]:
    """`value` in hexadecimal, base64 at each alignment, reversed, and in words of the other byte order.

    Only forms of 6 bytes or more, so that none is found by chance.
    """
    forms = {value, value.hex().encode(), value.hex().upper().encode(), value[::-1]}
    for offset in _BASE64_OFFSETS:
        coded = base64.b64encode(b"\0" * offset + value)
        # The first and last characters also depend on the neighbours.
        forms.add(coded[(0, 2, 3)[offset] : (len(value) + offset) * 8 // 6])
    for width in (2, 4, 8):
        forms.update(_swapped(value[skip:], width) for skip in range(width))
    return {form for form in forms if len(form) >= 6}


def _text_forms(text: str, codecs: Iterable[str]) -> set[bytes]:
    forms: set[bytes] = set()
    for codec in codecs:
        try:
            coded = text.encode(codec)
        except UnicodeEncodeError:
            continue
        if codec == "iso2022_jp":
            coded = coded.removeprefix(b"\x1b$B").removesuffix(b"\x1b(B")
        forms |= disguises(coded)
    return forms


class Mint:
    """Makes tokens from a seed and remembers what betrays them."""

    def __init__(self, seed: str, character_set: CharacterSet) -> None:
        self.chance = random.Random(seed)
        self.character_set = character_set
        self.witnesses: list[Witness] = []

    def _remember(self, label: str, anywhere: Iterable[bytes], bounded: Iterable[bytes] = ()) -> None:
        self.witnesses.append(Witness(label, frozenset(anywhere), frozenset(bounded)))

    def _core(self, length: int = 8) -> str:
        return "".join(self.chance.choice(_CONSONANTS) for _ in range(length))

    def ascii(self, label: str, length: int = 10) -> bytes:
        """Letters only, lower case."""
        core = self._core(length)
        self._remember_ascii(label, core)
        return core.encode()

    def _remember_ascii(self, label: str, core: str) -> None:
        forms = disguises(core.encode()) | disguises(core.upper().encode()) | disguises(core.capitalize().encode())
        forms |= disguises(core.encode("utf-16-le")) | disguises(core.encode("utf-16-be"))
        self._remember(label, forms)

    def pieces(self, label: str, count: int, length: int = 4) -> list[bytes]:
        """Capitals and digits, to be planted apart from each other; each piece betrays them, only as it is."""
        made = [
            "".join(self.chance.choice("BCDFGHJKLMNPQRSTVWXZ23456789") for _ in range(length)) for _ in range(count)
        ]
        self._remember(label, [piece.encode() for piece in made])
        return [piece.encode() for piece in made]

    def code(self, label: str, length: int = 12) -> bytes:
        """Capitals, as Code Strings and Application Entity titles allow."""
        return self.ascii(label, length).upper()

    def text(self, label: str) -> bytes:
        """At most 16 characters in the character set: a capitalised ASCII core, then letters outside ASCII."""
        core, letters = self._core(), self.character_set.letters(self.chance)
        self._remember_ascii(label, core)
        if letters:
            codecs = (self.character_set.codec, "utf-8", "utf-16-le", "utf-16-be")
            self._remember(label, _text_forms(letters, codecs))
        return (core.capitalize() + letters).encode(self.character_set.codec)

    def person_name(self, label: str) -> bytes:
        """Family^Given; for Japanese with an ideographic group (PS3.5 6.2.1.2)."""
        if self.character_set is CharacterSet.JAPANESE:
            return self.ascii(label).title() + b"^Taro=" + self.text(label)
        return self.text(label) + b"^" + self.ascii(label, 8).title()

    def digits(self, label: str, length: int = 12) -> bytes:
        """A record number; one of fewer than 12 digits begins with 1 and betrays itself only where it stands alone."""
        first, last = (1, 2) if length < 12 else (1, 10)
        value = str(self.chance.randrange(first * 10 ** (length - 1), last * 10 ** (length - 1))).encode()
        forms = disguises(value) | disguises(value.decode().encode("utf-16-le"))
        if length < 12:
            self._remember(label, forms - {value, value[::-1]}, {value})
        else:
            self._remember(label, forms)
        return value

    def uid(self, label: str) -> bytes:
        """A UID whose 14-digit component is the token."""
        return b"1.2.826.0.1.3680043.9." + self.digits(label, 14) + b".1"

    def date(self, label: str) -> bytes:
        """A date of the years 1931 to 1988; no two are 30 to 50 days apart."""
        value = self._day().strftime("%Y%m%d").encode()
        self._remember(label, (), {value})
        return value

    def _day(self) -> datetime.date:
        # Dates moved by a patient's offset of 37 days must not fall on another planted date.
        return datetime.date.fromordinal(self.chance.randrange(8812, 9070) * 80 + self.chance.randrange(30))

    def time(self, label: str) -> bytes:
        """A time of day to the microsecond; seconds betray it, too. None is a code of DICOM (11xxxx to 13xxxx)."""
        seconds = f"{self.chance.randrange(14, 24):02}{self.chance.randrange(60):02}{self.chance.randrange(60):02}"
        value = f"{seconds}.{self.chance.randrange(100000, 1000000)}"
        self._remember(label, {value.encode()}, {seconds.encode()})
        return value.encode()

    def date_time(self, label: str) -> bytes:
        """A date and time with an offset from UTC."""
        day = self._day().strftime("%Y%m%d")
        seconds = f"{self.chance.randrange(1, 24):02}{self.chance.randrange(60):02}{self.chance.randrange(60):02}"
        fraction = f"{self.chance.randrange(100000, 1000000)}"
        self._remember(label, {f"{seconds}.{fraction}".encode()}, {day.encode(), (day + seconds).encode()})
        return f"{day}{seconds}.{fraction}+0300".encode()

    def age(self, label: str) -> bytes:
        """An age in months, which no dummy would be."""
        value = f"{self.chance.randrange(361, 1000)}M".encode()
        self._remember(label, {value})
        return value

    def of_vr(self, vr: str, label: str) -> bytes | None:
        """A token that fits the VR, or None where its value has no room for one."""
        makers = {
            "PN": self.person_name, "DA": self.date, "TM": self.time, "DT": self.date_time, "AS": self.age,
            "UI": self.uid, "AE": self.code, "CS": self.code,
        }  # fmt: skip
        if vr in makers:
            return makers[vr](label)
        if vr in {"LO", "SH", "LT", "ST", "UC", "UT"}:
            return self.text(label)
        if vr in {"OB", "UN"}:
            return self.ascii(label)
        if vr == "UR":
            return b"https://" + self.ascii(label) + b".example/" + self.digits(label)
        if vr == "DS":
            return self.digits(label, 13) + b".5"
        if vr == "IS":
            return self.digits(label, 10)
        return None
