"""Templates of seventeen kinds of instance (PS3.3 A), filled anew for each patient with what devices commonly write."""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from anonymize import ReceivedInstance
from benchmarks.clean_instances.people import Person
from benchmarks.leak_places.encoding import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Element,
    Written,
    encode,
    numbers,
    sequence,
    text,
)

_CLASS: Final = "1.2.840.10008.5.1.4.1.1."
_SYNTAXES: Final = (
    ("1.2.840.10008.1.2", IMPLICIT_LITTLE),
    ("1.2.840.10008.1.2.1", EXPLICIT_LITTLE),
)
_MAKERS: Final = (
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
_KERNELS: Final = ("B30f", "Br40d\\3", "STANDARD", "SOFT", "BONEPLUS", "FC08", "I31f", "LUNG", "B", "YB")
_POSITIONS: Final = ("HFS", "FFS", "HFP", "FFP")
_PARTS: Final = ("CHEST", "HEAD", "ABDOMEN", "PELVIS", "HAND", "FOOT", "KNEE", "NECK", "BREAST", "SKULL", "LSPINE", "")


class _Draw:
    """One instance being drawn: the patient, the dice and the UIDs."""

    def __init__(self, rng: random.Random, person: Person) -> None:
        self.rng, self.person = rng, person
        self.root = f"1.2.826.0.1.3680043.10.{rng.randrange(1000, 99999)}.{rng.randrange(10**9)}"

    def uid(self, kind: int) -> str:
        return f"{self.root}.{kind}"

    def decimal(self, low: float, high: float) -> str:
        """A decimal string of as many digits as devices write."""
        number = self.rng.uniform(low, high)
        return f"{number:.{self.rng.choice((0, 1, 2, 4, 6, 8, 12))}f}"[:16]

    def decimals(self, count: int, low: float, high: float) -> str:
        return "\\".join(self.decimal(low, high) for _ in range(count))

    def text(self, tag: int, vr: str, value: str) -> Element:
        return text(tag, vr, value.encode(self.person.codec, "replace"))

    def day(self) -> str:
        return f"{self.rng.randrange(2012, 2027)}{self.rng.randrange(1, 13):02}{self.rng.randrange(1, 29):02}"

    def time(self) -> str:
        seconds = f"{self.rng.randrange(60):02}.{self.rng.randrange(10**6):06}"
        return f"{self.rng.randrange(24):02}{self.rng.randrange(60):02}{seconds}"


def make(rng: random.Random, person: Person, name: str, instead: Iterable[Written] = ()) -> ReceivedInstance:
    """Draw an instance of the template `name` for `person`; the elements `instead` take the place of drawn ones."""
    draw = _Draw(rng, person)
    sop_class, modality, fill = TEMPLATES[name]
    syntax, encoding = rng.choice(_SYNTAXES)
    elements = [*_common(draw, _CLASS + sop_class, modality), *fill(draw), *instead]
    by_tag = {element.tag: element for element in elements}  # a template may say it better
    return ReceivedInstance(_CLASS + sop_class, draw.uid(3), syntax, encode(by_tag.values(), encoding))


def _common(draw: _Draw, sop_class: str, modality: str) -> list[Written]:
    rng, person, day, time = draw.rng, draw.person, draw.day(), draw.time()
    maker, model, software = rng.choice(_MAKERS)
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


def _pixels(
    draw: _Draw, *, bits: int = 12, frames: int = 0, colour: bool = False, side: int = 24, signed: bool = False
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


def _plane(draw: _Draw) -> list[Written]:
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


def _ct(draw: _Draw) -> list[Written]:
    rng = draw.rng
    return [
        text(
            0x00080008,
            "CS",
            rng.choice(("ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\SECONDARY\\MPR", "ORIGINAL\\PRIMARY\\LOCALIZER")),
        ),
        text(0x00180022, "CS", rng.choice(("AXIAL MODE", "HELICAL MODE", "SCOUT MODE"))),
        text(0x00180060, "DS", rng.choice(("80", "100", "120", "140"))),
        text(0x00181100, "DS", draw.decimal(200, 500)),
        text(0x00181150, "IS", str(rng.randrange(300, 5000))),
        text(0x00181151, "IS", str(rng.randrange(20, 800))),
        text(0x00181152, "IS", str(rng.randrange(1, 500))),
        text(0x00181160, "SH", rng.choice(("0", "BODY FILTER", "FLAT", "WEDGE_2"))),
        text(0x00181210, "SH", rng.choice(_KERNELS)),
        text(0x00281052, "DS", "-1024"),
        text(0x00281053, "DS", "1"),
        *_plane(draw),
        *_pixels(draw, bits=rng.choice((12, 16)), signed=rng.random() < 0.3),
    ]


def _mr(draw: _Draw) -> list[Written]:
    rng = draw.rng
    return [
        text(
            0x00080008,
            "CS",
            rng.choice(("ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D", "ORIGINAL\\PRIMARY\\M\\ND", "DERIVED\\PRIMARY\\MIP")),
        ),
        text(0x00180020, "CS", "SE\\IR"),
        text(0x00180021, "CS", "SK\\SP"),
        text(0x00180022, "CS", "PFP\\SFS"),
        text(0x00180023, "CS", "2D"),
        text(0x00180024, "SH", rng.choice(("*tse2d1_19", "*fl3d1", "tfi2d1_60", "FLAIR_longTR", "efgre3d"))),
        text(0x00180080, "DS", draw.decimal(3, 12000)),
        text(0x00180081, "DS", draw.decimal(1, 200)),
        text(0x00180084, "DS", rng.choice(("63.683", "123.249874", "127.755321"))),
        text(0x00180085, "SH", "1H"),
        text(0x00180087, "DS", rng.choice(("1.5", "3", "2.89362001419"))),
        text(0x00181250, "SH", rng.choice(("Head_32", "BODY", "HNS Head", "8US TORSOPA", "Spine"))),
        text(0x00181314, "DS", draw.decimal(10, 180)),
        *_plane(draw),
        *_pixels(draw, bits=rng.choice((12, 15, 16))),
    ]


def _radiograph(draw: _Draw) -> list[Written]:
    rng = draw.rng
    return [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\"),
        text(0x00080068, "CS", "FOR PRESENTATION"),
        text(0x00180060, "DS", draw.decimal(40, 130)),
        text(0x00181110, "DS", draw.decimal(900, 2000)),
        text(0x00181152, "IS", str(rng.randrange(1, 50))),
        text(0x00181164, "DS", "0.148\\0.148"),
        text(0x00181405, "IS", str(rng.randrange(100, 3000))),
        text(0x00185101, "CS", rng.choice(("PA", "AP", "LL", "RL"))),
        text(0x00187004, "CS", "SCINTILLATOR"),
        text(0x00200020, "CS", "L\\F"),
        text(0x00200062, "CS", rng.choice("LRUB")),
        text(0x00281040, "CS", "LOG"),
        text(0x00281050, "DS", draw.decimal(100, 4000)),
        text(0x00281051, "DS", draw.decimal(100, 4000)),
        text(0x00281052, "DS", "0"),
        text(0x00281053, "DS", "1"),
        text(0x00281054, "LO", "US"),
        text(0x20500020, "CS", "IDENTITY"),
        *_pixels(draw, bits=rng.choice((8, 10, 12, 14))),
    ]


def _mammogram(draw: _Draw) -> list[Written]:
    view = sequence(
        0x00540220,
        (text(0x00080100, "SH", "R-10242"), text(0x00080102, "SH", "SNM3"), text(0x00080104, "LO", "cranio-caudal")),
    )
    paddle = text(0x001811A4, "LO", draw.rng.choice(("18CM X 24CM", "24 x 29 Flex", "SPOT")))
    return [*_radiograph(draw), view, paddle, text(0x00180015, "CS", "BREAST"), text(0x00181405, "IS", "5213")]


def _ultrasound(draw: _Draw) -> list[Written]:
    rng = draw.rng
    region = (
        numbers(0x00186012, "US", 1),
        numbers(0x00186014, "US", 1),
        *(numbers(tag, "UL", 2) for tag in (0x00186018, 0x0018601A)),
        *(numbers(tag, "UL", 20) for tag in (0x0018601C, 0x0018601E)),
        numbers(0x0018602C, "FD", 0.0123456789),
    )
    return [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\ABDOMINAL\\0001"),
        text(0x00181063, "DS", draw.decimal(15, 60)),
        text(0x00185010, "LO", rng.choice(("C5-1", "L12-3", "CURVED\\4C", "X5-1"))),
        sequence(0x00186011, region),
        *_pixels(draw, bits=8, frames=rng.choice((0, 2)), colour=rng.random() < 0.7),
    ]


def _pet(draw: _Draw) -> list[Written]:
    tracer = (
        text(0x00180031, "LO", "Fluorodeoxyglucose"),
        text(0x00181072, "TM", draw.time()),
        text(0x00181074, "DS", draw.decimal(1e8, 5e8)),
        text(0x00181075, "DS", "6586.2"),
        text(0x00181076, "DS", "0.97000002861"),
        text(0x00181078, "DT", draw.day() + draw.time()[:6]),
    )
    return [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY"),
        text(0x00281052, "DS", "0"),
        text(0x00281053, "DS", draw.decimal(0.1, 9)),
        text(0x00541000, "CS", "WHOLE BODY\\IMAGE"),
        text(0x00541001, "CS", "BQML"),
        text(0x00541002, "CS", "EMISSION"),
        text(0x00541100, "CS", "DLYD"),
        text(0x00541101, "LO", "measured,AC CT"),
        text(0x00541102, "CS", "START"),
        text(0x00541103, "LO", draw.rng.choice(("PSF+TOF 3i21s", "OSEM3D 4i8s", "VPFX", "BLOB-OS-TF"))),
        text(0x00541105, "LO", "Model-based"),
        text(0x00541300, "DS", draw.decimal(0, 900000)),
        text(0x00541322, "DS", draw.decimal(1, 900000)),
        sequence(0x00540016, tracer),
        *_plane(draw),
        *_pixels(draw, bits=16),
    ]


def _nuclear(draw: _Draw) -> list[Written]:
    return [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\STATIC\\EMISSION"),
        text(0x00180070, "IS", str(draw.rng.randrange(10**4, 10**7))),
        text(0x00181180, "SH", draw.rng.choice(("LEHR", "LEAP", "HEGP"))),
        text(0x00181242, "IS", str(draw.rng.randrange(10**3, 10**6))),
        numbers(0x00540011, "US", 1),
        numbers(0x00540021, "US", 1),
        *_pixels(draw, bits=16, frames=2),
    ]


def _reference(draw: _Draw, sop_class: str, kind: int) -> tuple[Written, ...]:
    return (text(0x00081150, "UI", _CLASS + sop_class), text(0x00081155, "UI", draw.uid(kind)))


def _code(value: str, scheme: str, meaning: str) -> tuple[Written, ...]:
    return (text(0x00080100, "SH", value), text(0x00080102, "SH", scheme), text(0x00080104, "LO", meaning))


def _content(relation: str, type_: str, concept: tuple[Written, ...], *more: Written) -> tuple[Written, ...]:
    return (text(0x0040A010, "CS", relation), text(0x0040A040, "CS", type_), sequence(0x0040A043, concept), *more)


def _report(draw: _Draw) -> list[Written]:
    dose = (
        sequence(0x004008EA, _code("mGy.cm", "UCUM", "mGy.cm")),
        text(0x0040A30A, "DS", draw.decimal(1, 3000)),
    )
    items = (
        _content("CONTAINS", "NUM", _code("113838", "DCM", "DLP"), sequence(0x0040A300, dose)),
        _content(
            "CONTAINS",
            "CODE",
            _code("121058", "DCM", "Procedure reported"),
            sequence(0x0040A168, _code("P5-08000", "SRT", "Computed Tomography X-Ray")),
        ),
        _content(
            "HAS OBS CONTEXT",
            "CODE",
            _code("121005", "DCM", "Observer Type"),
            sequence(0x0040A168, _code("121007", "DCM", "Device")),
        ),
        _content(
            "CONTAINS",
            "CODE",
            _code("18782-3", "LN", "Study observation"),
            sequence(0x0040A168, _code("51185008", "SCT", "Chest")),
        ),
        _content(
            "CONTAINS",
            "TEXT",
            _code("121071", "DCM", "Finding"),
            draw.text(0x0040A160, "UT", draw.rng.choice(draw.person.descriptions)),
        ),
    )
    return [
        text(0x00080008, "CS", ""),
        text(0x0040A040, "CS", "CONTAINER"),
        sequence(0x0040A043, _code("113701", "DCM", "X-Ray Radiation Dose Report")),
        text(0x0040A050, "CS", "SEPARATE"),
        text(0x0040A491, "CS", "COMPLETE"),
        text(0x0040A493, "CS", "UNVERIFIED"),
        sequence(0x0040A730, *items),
    ]


def _key_object(draw: _Draw) -> list[Written]:
    image = _content(
        "CONTAINS", "IMAGE", _code("113000", "DCM", "Of Interest"), sequence(0x00081199, _reference(draw, "2", 9))
    )
    return [
        text(0x0040A040, "CS", "CONTAINER"),
        sequence(0x0040A043, _code("113000", "DCM", "Of Interest")),
        text(0x0040A050, "CS", "SEPARATE"),
        sequence(0x0040A730, image),
    ]


def _presentation(draw: _Draw) -> list[Written]:
    words = (
        text(0x00700003, "CS", "PIXEL"),
        draw.text(0x00700006, "ST", draw.rng.choice(draw.person.descriptions)),
        numbers(0x00700014, "FL", 10.0, 20.0),
        text(0x00700015, "CS", "Y"),
    )
    layer = (text(0x00700002, "CS", "LAYER1"), sequence(0x00700008, words))
    return [
        text(0x00700080, "CS", draw.rng.choice(("PRESENTATION", "MEASURE", "AUTO"))),
        draw.text(0x00700081, "LO", draw.rng.choice(draw.person.descriptions)),
        text(0x00700082, "DA", draw.day()),
        sequence(0x00081115, (text(0x0020000E, "UI", draw.uid(2)), sequence(0x00081140, _reference(draw, "2", 9)))),
        sequence(0x00700001, layer),
        sequence(0x00700060, (text(0x00700002, "CS", "LAYER1"), text(0x00700062, "IS", "1"))),
        text(0x20500020, "CS", "IDENTITY"),
    ]


def _structures(draw: _Draw) -> list[Written]:
    rng = draw.rng
    names = ("GTV", "PTV 5000", "Lung_L", "HEART", "Spinal Cord", "Femur Head R", "Akciger_Sol", "BODY", "CTV1")
    contour = (
        text(0x30060042, "CS", "CLOSED_PLANAR"),
        text(0x30060046, "IS", "4"),
        text(0x30060050, "DS", draw.decimals(12, -300, 300)),
    )
    return [
        draw.text(0x30060002, "SH", rng.choice(("RTstruct", "Plan 1", "Prostat"))),
        text(0x30060008, "DA", draw.day()),
        sequence(
            0x30060020,
            (
                text(0x30060022, "IS", "1"),
                text(0x30060024, "UI", draw.uid(4)),
                text(0x30060026, "LO", rng.choice(names)),
                text(0x30060036, "CS", "MANUAL"),
            ),
        ),
        sequence(
            0x30060039,
            (text(0x3006002A, "IS", "255\\0\\0"), sequence(0x30060040, contour), text(0x30060084, "IS", "1")),
        ),
        sequence(
            0x30060080,
            (
                text(0x30060082, "IS", "1"),
                text(0x30060084, "IS", "1"),
                text(0x30060085, "SH", rng.choice(names)),
                text(0x300600A4, "CS", "ORGAN"),
            ),
        ),
    ]


def _segmentation(draw: _Draw) -> list[Written]:
    segment = (
        numbers(0x00620004, "US", 1),
        text(0x00620005, "LO", draw.rng.choice(("Lung", "Tumor", "Segment_1"))),
        text(0x00620008, "CS", "AUTOMATIC"),
        text(0x00620009, "LO", draw.rng.choice(("Threshold", "nnU-Net v2", "Slicer"))),
        sequence(0x00620003, _code("T-D0050", "SRT", "Tissue")),
        sequence(0x0062000F, _code("39607008", "SCT", "Lung")),
    )
    return [
        text(0x00080008, "CS", "DERIVED\\PRIMARY"),
        text(0x00620001, "CS", "BINARY"),
        sequence(0x00620002, segment),
        text(0x00700080, "CS", "SEGMENTATION"),
        *_pixels(draw, bits=8, frames=2),
    ]


def _capture(draw: _Draw) -> list[Written]:
    return [
        text(0x00080008, "CS", "DERIVED\\SECONDARY"),
        text(0x00080064, "CS", "WSD"),
        text(0x00181016, "LO", draw.rng.choice(_MAKERS)[0]),
        text(0x00181019, "LO", draw.rng.choice(("1.0.3", "syngo.via VB30A", "V4.7"))),
        *_pixels(draw, bits=8, colour=True),
    ]


def _frames(draw: _Draw, image_type: str) -> list[Written]:
    stack = text(0x00209056, "SH", str(draw.rng.randrange(1, 9)))
    frames = [
        (
            sequence(0x00209111, (stack, numbers(0x00209057, "UL", number), numbers(0x00209157, "UL", 1, number))),
            sequence(0x00209113, (text(0x00200032, "DS", draw.decimals(3, -400, 400)),)),
        )
        for number in (1, 2)
    ]
    shared = (
        sequence(0x00209116, (text(0x00200037, "DS", draw.decimals(6, -1, 1)),)),
        sequence(
            0x00289110, (text(0x00180050, "DS", draw.decimal(0.5, 5)), text(0x00280030, "DS", draw.decimals(2, 0.2, 1)))
        ),
    )
    return [
        text(0x00080008, "CS", image_type),
        text(0x00089205, "CS", "MONOCHROME"),
        text(0x00089206, "CS", "VOLUME"),
        text(0x00089207, "CS", "NONE"),
        text(0x00189004, "CS", "PRODUCT"),
        text(0x00189005, "SH", draw.rng.choice(("tse", "gre_vibe", "SpinEcho"))),
        text(0x00200052, "UI", draw.uid(4)),
        sequence(0x52009229, shared),
        sequence(0x52009230, *frames),
        *_pixels(draw, bits=12, frames=2),
    ]


def _ecg(draw: _Draw) -> list[Written]:
    rng = draw.rng
    leads = (("5.6.3-9-1", "Lead I"), ("5.6.3-9-2", "Lead II"))
    channels = [
        (
            sequence(0x003A0208, _code(code, "SCPECG", name)),
            text(0x003A0210, "DS", "4.88"),
            numbers(0x003A021A, "US", 16),
        )
        for code, name in leads
    ]
    group = (
        text(0x003A0004, "CS", "ORIGINAL"),
        numbers(0x003A0005, "US", 2),
        numbers(0x003A0010, "UL", 200),
        text(0x003A001A, "DS", "500"),
        sequence(0x003A0200, *channels),
        numbers(0x54001004, "US", 16),
        text(0x54001006, "CS", "SS"),
        Element(0x54001010, "OW", b"".join(rng.randrange(1 << 16).to_bytes(2, "little") for _ in range(400))),
    )
    return [sequence(0x54000100, group)]


TEMPLATES: Final[Mapping[str, tuple[str, str, Callable[[_Draw], list[Written]]]]] = {
    "CT": ("2", "CT", _ct),
    "MR": ("4", "MR", _mr),
    "DX": ("1.1", "DX", _radiograph),
    "CR": ("1", "CR", _radiograph),
    "US": ("6.1", "US", _ultrasound),
    "MG": ("1.2", "MG", _mammogram),
    "PT": ("128", "PT", _pet),
    "NM": ("20", "NM", _nuclear),
    "SR": ("88.67", "SR", _report),
    "KO": ("88.59", "KO", _key_object),
    "PR": ("11.1", "PR", _presentation),
    "RTSTRUCT": ("481.3", "RTSTRUCT", _structures),
    "SEG": ("66.4", "SEG", _segmentation),
    "SC": ("7", "OT", _capture),
    "enhanced CT": ("2.1", "CT", lambda draw: _frames(draw, "ORIGINAL\\PRIMARY\\VOLUME\\NONE")),
    "enhanced MR": ("4.1", "MR", lambda draw: _frames(draw, "ORIGINAL\\PRIMARY\\M\\NONE")),
    "ECG": ("9.1.1", "ECG", _ecg),
}
"""By name: what follows 1.2.840.10008.5.1.4.1.1 in the SOP class, the modality, and what fills the rest."""
