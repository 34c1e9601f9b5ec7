"""Templates of images (PS3.3 A), filled with what devices commonly write."""

from typing import Final

from benchmarks.clean_instances.drawing import MAKERS, Draw, pixels, plane
from benchmarks.leak_places.encoding import (
    Written,
    numbers,
    sequence,
    text,
)

_KERNELS: Final = ("B30f", "Br40d\\3", "STANDARD", "SOFT", "BONEPLUS", "FC08", "I31f", "LUNG", "B", "YB")


def ct(draw: Draw) -> list[Written]:
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
        *plane(draw),
        *pixels(draw, bits=rng.choice((12, 16)), signed=rng.random() < 0.3),
    ]


def mr(draw: Draw) -> list[Written]:
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
        *plane(draw),
        *pixels(draw, bits=rng.choice((12, 15, 16))),
    ]


def radiograph(draw: Draw) -> list[Written]:
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
        *pixels(draw, bits=rng.choice((8, 10, 12, 14))),
    ]


def mammogram(draw: Draw) -> list[Written]:
    view = sequence(
        0x00540220,
        (text(0x00080100, "SH", "R-10242"), text(0x00080102, "SH", "SNM3"), text(0x00080104, "LO", "cranio-caudal")),
    )
    paddle = text(0x001811A4, "LO", draw.rng.choice(("18CM X 24CM", "24 x 29 Flex", "SPOT")))
    return [*radiograph(draw), view, paddle, text(0x00180015, "CS", "BREAST"), text(0x00181405, "IS", "5213")]


def ultrasound(draw: Draw) -> list[Written]:
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
        *pixels(draw, bits=8, frames=rng.choice((0, 2)), colour=rng.random() < 0.7),
    ]


def pet(draw: Draw) -> list[Written]:
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
        *plane(draw),
        *pixels(draw, bits=16),
    ]


def nuclear(draw: Draw) -> list[Written]:
    return [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\STATIC\\EMISSION"),
        text(0x00180070, "IS", str(draw.rng.randrange(10**4, 10**7))),
        text(0x00181180, "SH", draw.rng.choice(("LEHR", "LEAP", "HEGP"))),
        text(0x00181242, "IS", str(draw.rng.randrange(10**3, 10**6))),
        numbers(0x00540011, "US", 1),
        numbers(0x00540021, "US", 1),
        *pixels(draw, bits=16, frames=2),
    ]


def capture(draw: Draw) -> list[Written]:
    return [
        text(0x00080008, "CS", "DERIVED\\SECONDARY"),
        text(0x00080064, "CS", "WSD"),
        text(0x00181016, "LO", draw.rng.choice(MAKERS)[0]),
        text(0x00181019, "LO", draw.rng.choice(("1.0.3", "syngo.via VB30A", "V4.7"))),
        *pixels(draw, bits=8, colour=True),
    ]


def multi_frame(draw: Draw, image_type: str) -> list[Written]:
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
        *pixels(draw, bits=12, frames=2),
    ]
