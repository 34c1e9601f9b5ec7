"""One instance being drawn: the patient, the dice, the UIDs; and what many kinds of instance have in common."""

import random
from typing import Final

from benchmarks.clean_instances.people import Person
from benchmarks.leak_places.encoding import (
    Element,
    Written,
    numbers,
    text,
)

CLASS: Final = "1.2.840.10008.5.1.4.1.1."
"""What the UIDs of storage SOP classes begin with."""
MAKERS: Final = (
    ("SIEMENS", "SOMATOM Definition AS", "syngo CT VA48A"),
    ("Siemens Healthineers", "MAGNETOM Vida", "syngo MR XA20"),
    ("SIEMENS", "Biograph 64", "VG60A"),
    ("GE MEDICAL SYSTEMS", "LightSpeed VCT", "gmp_vct.42"),
    ("GE MEDICAL SYSTEMS", "SIGNA Artist", "29\\LX\\MR29.1_R01_2014.a"),
    ("GE Healthcare", "Discovery XR656", "dm_Platform_release_V2.7"),
    ("GE Vingmed Ultrasound", "Vivid E95", "204.44.1"),
    ("Philips Medical Systems", "Brilliance 64", "3.5.17001"),
    ("Philips Medical Systems", "Ingenia", "5.7.1\\5.7.1.2"),
    ("Philips", "EPIQ 7C", "EPIQ 7C_7.0.5.5"),
    ("TOSHIBA", "Aquilion ONE", "V8.90ER004"),
    ("CANON_MEC", "Aquilion Prime SP", "V10.21SP0001"),
    ("FUJIFILM Corporation", "FDR Smart", "V10.0(0004)"),
    ("Carestream Health", "DRX-Evolution", "5.7.607.6022"),
    ("HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.9.4.2_PXCM:1.4.0.7"),
    ("Agfa", "DX-D 600", "NIM_2.2.1308"),
    ("SAMSUNG MEDISON CO., LTD.", "RS80A", "3.00.08.0142"),
    ("OEC Medical Systems", "9800", "8.1.2"),
    ("Elekta", "Monaco", "5.11.02"),
    ("OFFIS", "DCMTK", "3.6.7"),
)
_POSITIONS: Final = ("HFS", "FFS", "HFP", "FFP")
_PARTS: Final = ("CHEST", "HEAD", "ABDOMEN", "PELVIS", "HAND", "FOOT", "KNEE", "NECK", "BREAST", "SKULL", "LSPINE", "")


class Draw:
    """One instance being drawn: the patient, the dice and the UIDs."""

    def __init__(self, rng: random.Random, person: Person) -> None:
        self.rng, self.person = rng, person
        self.root = f"1.2.826.0.1.3680043.10.{rng.randrange(1000, 99999)}.{rng.randrange(10**9)}"

    def uid(self, kind: int) -> str:
        """A UID of the instance's; each kind (study, series, instance …) has its own number."""
        return f"{self.root}.{kind}"

    def decimal(self, low: float, high: float) -> str:
        """A decimal string of as many digits as devices write."""
        number = self.rng.uniform(low, high)
        return f"{number:.{self.rng.choice((0, 1, 2, 4, 6, 8, 12))}f}"[:16]

    def decimals(self, count: int, low: float, high: float) -> str:
        """As many of them in one value."""
        return "\\".join(self.decimal(low, high) for _ in range(count))

    def text(self, tag: int, vr: str, value: str) -> Element:
        """A text in the patient's character set."""
        return text(tag, vr, value.encode(self.person.codec, "replace"))

    def day(self) -> str:
        """A DA of the last years."""
        return f"{self.rng.randrange(2012, 2027)}{self.rng.randrange(1, 13):02}{self.rng.randrange(1, 29):02}"

    def time(self) -> str:
        """A TM with a fraction of a second."""
        seconds = f"{self.rng.randrange(60):02}.{self.rng.randrange(10**6):06}"
        return f"{self.rng.randrange(24):02}{self.rng.randrange(60):02}{seconds}"


def common(draw: Draw, sop_class: str, modality: str) -> list[Written]:
    rng, person, day, time = draw.rng, draw.person, draw.day(), draw.time()
    maker, model, software = rng.choice(MAKERS)
    elements: list[Written] = [
        text(0x00080005, "CS", person.character_set),
        text(0x00080016, "UI", sop_class),
        text(0x00080018, "UI", draw.uid(3)),
        *(text(tag, "DA", day) for tag in (0x00080012, 0x00080020, 0x00080021, 0x00080022, 0x00080023)),
        *(text(tag, "TM", time) for tag in (0x00080013, 0x00080030, 0x00080031, 0x00080032, 0x00080033)),
        text(0x00080050, "SH", person.accession_number),
        text(0x00080060, "CS", modality),
        text(0x00080070, "LO", maker),
        draw.text(0x00080080, "LO", rng.choice(("Örnek Hastanesi", "General Hospital", "Şehir Hastanesi Radyoloji"))),
        draw.text(0x00080090, "PN", "HEKİM^ÖRNEK"),
        text(0x00081010, "SH", rng.choice(("CT01", "MRC25312", "DXROOM2", "AWP45678", "US-3", "RAD1"))),
        draw.text(0x00081030, "LO", rng.choice(person.descriptions)),
        draw.text(
            0x0008103E, "LO", rng.choice((*person.descriptions, "AX T2 FLAIR", "Thorax 1.0 B30f", "SAG T1", "LAT"))
        ),
        text(0x00081090, "LO", model),
        draw.text(0x00100010, "PN", person.name),
        text(0x00100020, "LO", person.patient_id),
        text(0x00100030, "DA", person.birth_date),
        text(0x00100040, "CS", person.sex),
        text(0x00101010, "AS", f"{rng.randrange(1, 99):03}Y"),
        text(0x00101030, "DS", draw.decimal(3, 140)),
        text(0x00180015, "CS", rng.choice(_PARTS)),
        text(0x00181000, "LO", str(rng.randrange(10**5))),
        text(0x00181020, "LO", software),
        draw.text(0x00181030, "LO", rng.choice((*person.descriptions, "Abdomen^RoutineAbdomen", "5.1 Routine Head"))),
        text(0x0020000D, "UI", draw.uid(1)),
        text(0x0020000E, "UI", draw.uid(2)),
        text(0x00200010, "SH", str(rng.randrange(1, 10**5))),
        text(0x00200011, "IS", str(rng.choice((rng.randrange(1, 30), rng.randrange(100, 9999))))),
        text(0x00200013, "IS", str(rng.randrange(1, 2000))),
    ]
    if person.other_ids:
        elements.append(text(0x00101000, "LO", "\\".join(person.other_ids)))
    if person.address:
        elements.append(draw.text(0x00101040, "LO", person.address))
    if rng.random() < 0.5:
        elements += [
            text(0x00290010, "LO", "SIEMENS CSA HEADER"),
            text(0x00291008, "CS", "IMAGE NUM 4"),
            Element(0x00291010, "OB", rng.randbytes(64)),
        ]
    return elements


def pixels(
    draw: Draw, *, bits: int = 12, frames: int = 0, colour: bool = False, side: int = 24, signed: bool = False
) -> list[Written]:
    """A small picture: smooth, as tissue is, with noise on it."""
    rng, samples = draw.rng, 3 if colour else 1
    allocated, count = (8 if bits == 8 else 16), side * side * samples * max(frames, 1)
    level, top = rng.randrange(1 << bits), (1 << bits) - 1
    values = []
    for _ in range(count):
        level = min(top, max(0, level + rng.randint(-2, 2)))
        values.append(level)
    data = bytes(values) if allocated == 8 else b"".join(value.to_bytes(2, "little") for value in values)
    elements: list[Written] = [
        numbers(0x00280002, "US", samples),
        text(0x00280004, "CS", "RGB" if colour else "MONOCHROME2"),
        numbers(0x00280010, "US", side),
        numbers(0x00280011, "US", side),
        numbers(0x00280100, "US", allocated),
        numbers(0x00280101, "US", bits),
        numbers(0x00280102, "US", bits - 1),
        numbers(0x00280103, "US", int(signed)),
        text(0x00280301, "CS", "NO"),
        Element(0x7FE00010, "OB" if allocated == 8 else "OW", data + b"\0" * (len(data) & 1)),
    ]
    if frames:
        elements.append(text(0x00280008, "IS", str(frames)))
    if colour:
        elements.append(numbers(0x00280006, "US", 0))
    return elements


def plane(draw: Draw) -> list[Written]:
    spacing = draw.decimal(0.2, 1.0)
    return [
        text(0x00180050, "DS", draw.decimal(0.5, 5)),
        text(0x00185100, "CS", draw.rng.choice(_POSITIONS)),
        text(0x00200012, "IS", str(draw.rng.randrange(1, 20))),
        text(0x00200032, "DS", draw.decimals(3, -400, 400)),
        text(0x00200037, "DS", draw.decimals(6, -1, 1)),
        text(0x00200052, "UI", draw.uid(4)),
        text(0x00201040, "LO", ""),
        text(0x00201041, "DS", draw.decimal(-900, 900)),
        text(0x00280030, "DS", f"{spacing}\\{spacing}"),
        text(0x00281050, "DS", draw.decimal(-600, 400)),
        text(0x00281051, "DS", draw.decimal(100, 2000)),
    ]


def code(value: str, scheme: str, meaning: str) -> tuple[Written, ...]:
    return (text(0x00080100, "SH", value), text(0x00080102, "SH", scheme), text(0x00080104, "LO", meaning))
