"""Templates of what is no image (PS3.3 A): reports, key objects, presentation states, RT structures, outlines, ECG."""

from benchmarks.clean_instances.drawing import CLASS, Draw, code, pixels
from benchmarks.leak_places.encoding import (
    Element,
    Written,
    numbers,
    sequence,
    text,
)


def _reference(draw: Draw, sop_class: str, kind: int) -> tuple[Written, ...]:
    return (text(0x00081150, "UI", CLASS + sop_class), text(0x00081155, "UI", draw.uid(kind)))


def _content(relation: str, type_: str, concept: tuple[Written, ...], *more: Written) -> tuple[Written, ...]:
    return (text(0x0040A010, "CS", relation), text(0x0040A040, "CS", type_), sequence(0x0040A043, concept), *more)


def report(draw: Draw) -> list[Written]:
    dose = (
        sequence(0x004008EA, code("mGy.cm", "UCUM", "mGy.cm")),
        text(0x0040A30A, "DS", draw.decimal(1, 3000)),
    )
    items = (
        _content("CONTAINS", "NUM", code("113838", "DCM", "DLP"), sequence(0x0040A300, dose)),
        _content(
            "CONTAINS",
            "CODE",
            code("121058", "DCM", "Procedure reported"),
            sequence(0x0040A168, code("P5-08000", "SRT", "Computed Tomography X-Ray")),
        ),
        _content(
            "HAS OBS CONTEXT",
            "CODE",
            code("121005", "DCM", "Observer Type"),
            sequence(0x0040A168, code("121007", "DCM", "Device")),
        ),
        _content(
            "CONTAINS",
            "CODE",
            code("18782-3", "LN", "Study observation"),
            sequence(0x0040A168, code("51185008", "SCT", "Chest")),
        ),
        _content(
            "CONTAINS",
            "TEXT",
            code("121071", "DCM", "Finding"),
            draw.text(0x0040A160, "UT", draw.rng.choice(draw.person.descriptions)),
        ),
    )
    return [
        text(0x00080008, "CS", ""),
        text(0x0040A040, "CS", "CONTAINER"),
        sequence(0x0040A043, code("113701", "DCM", "X-Ray Radiation Dose Report")),
        text(0x0040A050, "CS", "SEPARATE"),
        text(0x0040A491, "CS", "COMPLETE"),
        text(0x0040A493, "CS", "UNVERIFIED"),
        sequence(0x0040A730, *items),
    ]


def key_object(draw: Draw) -> list[Written]:
    image = _content(
        "CONTAINS", "IMAGE", code("113000", "DCM", "Of Interest"), sequence(0x00081199, _reference(draw, "2", 9))
    )
    return [
        text(0x0040A040, "CS", "CONTAINER"),
        sequence(0x0040A043, code("113000", "DCM", "Of Interest")),
        text(0x0040A050, "CS", "SEPARATE"),
        sequence(0x0040A730, image),
    ]


def presentation(draw: Draw) -> list[Written]:
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


def structures(draw: Draw) -> list[Written]:
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


def segmentation(draw: Draw) -> list[Written]:
    segment = (
        numbers(0x00620004, "US", 1),
        text(0x00620005, "LO", draw.rng.choice(("Lung", "Tumor", "Segment_1"))),
        text(0x00620008, "CS", "AUTOMATIC"),
        text(0x00620009, "LO", draw.rng.choice(("Threshold", "nnU-Net v2", "Slicer"))),
        sequence(0x00620003, code("T-D0050", "SRT", "Tissue")),
        sequence(0x0062000F, code("39607008", "SCT", "Lung")),
    )
    return [
        text(0x00080008, "CS", "DERIVED\\PRIMARY"),
        text(0x00620001, "CS", "BINARY"),
        sequence(0x00620002, segment),
        text(0x00700080, "CS", "SEGMENTATION"),
        *pixels(draw, bits=8, frames=2),
    ]


def ecg(draw: Draw) -> list[Written]:
    rng = draw.rng
    leads = (("5.6.3-9-1", "Lead I"), ("5.6.3-9-2", "Lead II"))
    channels = [
        (
            sequence(0x003A0208, code(value, "SCPECG", name)),
            text(0x003A0210, "DS", "4.88"),
            numbers(0x003A021A, "US", 16),
        )
        for value, name in leads
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
