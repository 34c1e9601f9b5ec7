"""Checks the structure of a complete data set and reads what routing and identity need from its top level.

For the receiver and the indexer, inside the boundary: a `Header` is identified data, so its `repr` shows nothing. It
decodes no pixels and changes nothing (PS3.5 7, PS3.3 C.2, C.7 and C.8 for the attributes).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from anonymize.character_sets import character_sets_of, decode
from anonymize.display import DISPLAYING, SEQUENCES, Display
from anonymize.elements import PIXEL_DATA, Element, Kind, walk
from anonymize.errors import UnreadableText
from anonymize.transfer_syntaxes import encoded_data_set

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_ROWS: Final = 0x00280010
_COLUMNS: Final = 0x00280011
_NUMBER_OF_FRAMES: Final = 0x00280008
_NUMBER_OF_STUDY_RELATED_INSTANCES: Final = 0x00201208
_IMAGE_TYPE: Final = 0x00080008
_SAMPLES_PER_PIXEL: Final = 0x00280002
_PLANAR_CONFIGURATION: Final = 0x00280006
_DESCRIBING_PIXELS: Final = (  # how the bytes of the pixels become an image, beside rows, columns and frames
    _SAMPLES_PER_PIXEL,
    0x00280004,  # Photometric Interpretation
    _PLANAR_CONFIGURATION,
    *(0x00280100, 0x00280101, 0x00280102, 0x00280103),  # Bits Allocated and Stored, High Bit, Pixel Representation
)
_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})  # integer, float and double pixel data

_PLAIN: Final = {  # UI, CS, DA, TM, SH of ASCII by their VR
    "sop_class_uid": 0x00080016,
    "sop_instance_uid": 0x00080018,
    "study_instance_uid": 0x0020000D,
    "series_instance_uid": 0x0020000E,
    "frame_of_reference_uid": 0x00200052,
    "birth_date": 0x00100030,
    "sex": 0x00100040,
    "study_date": 0x00080020,
    "study_time": 0x00080030,
    "timezone_offset": 0x00080201,
    "modality": 0x00080060,
    "presentation_intent_type": 0x00080068,
    "view_position": 0x00185101,
    "burned_in_annotation": 0x00280301,
    "body_part": 0x00180015,
    "device_uid": 0x00181002,
}
_TEXT: Final = {  # in the Specific Character Set
    "patient_id": 0x00100020,
    "issuer_of_patient_id": 0x00100021,
    "patient_name": 0x00100010,
    "accession_number": 0x00080050,
    "study_description": 0x00081030,
}
_IDENTIFYING: Final = frozenset({"patient_id", "issuer_of_patient_id"})

_WANTED: Final = (
    frozenset(_PLAIN.values())
    | frozenset(_TEXT.values())
    | _PIXELS
    | frozenset(_DESCRIBING_PIXELS)
    | {
        _SPECIFIC_CHARACTER_SET,
        _ROWS,
        _COLUMNS,
        _NUMBER_OF_FRAMES,
        _NUMBER_OF_STUDY_RELATED_INSTANCES,
        _IMAGE_TYPE,
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    r"""Top-level values of one instance, without padding; "" or None for what is missing or empty.

    `unreadable` names the text fields that could not be decoded without loss; they hold ASCII, with other bytes as
    ``\xNN``, so that different bytes stay different. `pixel_span` is (offset, length) of the value of (7FE0,0010),
    (7FE0,0008) or (7FE0,0009) within the data set (the inflated one if `deflated`); for encapsulated pixel data it
    takes in all items and the delimiter. `pixel_description` holds the raw values of the Image Pixel module that say
    how these bytes become an image (PS3.3 C.7.6.3), in the order of their tags. `display` says what the
    values mean that they are decoded to.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str
    study_date: str
    study_time: str
    timezone_offset: str
    study_description: str
    modality: str
    image_type: tuple[str, ...]
    presentation_intent_type: str
    view_position: str
    burned_in_annotation: str
    body_part: str
    device_uid: str
    rows: int | None
    columns: int | None
    number_of_frames: int | None
    number_of_study_related_instances: int | None
    specific_character_set: tuple[str, ...]
    unreadable: tuple[str, ...]
    deflated: bool
    pixel_span: tuple[int, int] | None
    pixel_description: tuple[bytes, ...]
    display: Display

    def __repr__(self) -> str:
        return f"Header(sop_class_uid={self.sop_class_uid!r})"


def read_header(data_set: bytes, transfer_syntax_uid: str) -> Header:
    """Check all of `data_set` and read its header.

    Raises `MalformedDataSet` where the structure is broken at any depth, and `UnreadableText` when Patient ID or its
    issuer cannot be decoded without loss. Missing attributes are no error here.
    """
    encoded = encoded_data_set(data_set, transfer_syntax_uid)
    found: dict[int, Element] = {}
    display = Display.of(encoded.data, _displaying(walk(encoded.data, encoded.encoding), found))
    return _Reader(encoded.data, found).header(display, deflated=encoded.deflated)


def _displaying(elements: Iterable[Element], found: dict[int, Element]) -> Iterator[Element]:
    """Of all elements those that may say how pixels are displayed, one by one: a slide has a million. What else is
    wanted of the top level is put into `found`.
    """
    is_within = False
    for element in elements:
        tag, kind = element.tag, element.kind
        if element.depth == 0:
            if tag in _WANTED and kind in (Kind.VALUE, Kind.FRAGMENTS):
                found[tag] = element
            if tag in SEQUENCES:
                is_within = kind is Kind.SEQUENCE
                yield element
            elif tag in DISPLAYING:
                yield element
        elif is_within and (kind is not Kind.VALUE or tag in DISPLAYING):
            yield element


class _Reader:
    """Decodes the found elements, and remembers which text it could not read."""

    def __init__(self, data: bytes, found: dict[int, Element]) -> None:
        self._data = data
        self._found = found
        self._character_sets = character_sets_of(self._raw(_SPECIFIC_CHARACTER_SET))
        self._unreadable: list[str] = []

    def header(self, display: Display, *, deflated: bool) -> Header:
        pixels = next((self._found[tag] for tag in sorted(_PIXELS, reverse=True) if tag in self._found), None)
        plain = {name: self._text(name, tag, ()) for name, tag in _PLAIN.items()}
        text = {name: self._text(name, tag, self._character_sets) for name, tag in _TEXT.items()}
        return Header(
            **plain,
            **text,
            image_type=self._values(_IMAGE_TYPE),
            rows=self._unsigned(_ROWS),
            columns=self._unsigned(_COLUMNS),
            number_of_frames=self._integer(_NUMBER_OF_FRAMES),
            number_of_study_related_instances=self._integer(_NUMBER_OF_STUDY_RELATED_INSTANCES),
            specific_character_set=self._character_sets,
            unreadable=tuple(self._unreadable),
            deflated=deflated,
            pixel_span=(pixels.value, pixels.length) if pixels else None,
            pixel_description=tuple(self._pixel_description()),
            display=display,
        )

    def _pixel_description(self) -> Iterator[bytes]:
        for tag in _DESCRIBING_PIXELS:
            if tag == _PLANAR_CONFIGURATION and self._unsigned(_SAMPLES_PER_PIXEL) == 1:
                yield b""  # says nothing then, whether it is there or not
            else:
                yield self._raw(tag).rstrip(b" ")

    def _raw(self, tag: int) -> bytes:
        element = self._found.get(tag)
        if element is None or element.kind is not Kind.VALUE:
            return b""
        return self._data[element.value : element.value + element.length]

    def _text(self, name: str, tag: int, character_sets: Sequence[str]) -> str:
        raw = self._raw(tag)
        text = decode(raw, character_sets)
        if text is None:
            if name in _IDENTIFYING:
                raise UnreadableText(self._found[tag].start, f"{name} cannot be decoded in the character set it names")
            self._unreadable.append(name)
            text = raw.decode("ascii", errors="backslashreplace")
        return text.strip(" \0")

    def _values(self, tag: int) -> tuple[str, ...]:
        text = self._raw(tag).decode("ascii", errors="backslashreplace").strip(" \0")
        return tuple(value.strip() for value in text.split("\\")) if text else ()

    def _unsigned(self, tag: int) -> int | None:
        raw = self._raw(tag)
        if len(raw) != 2:
            return None
        return int.from_bytes(raw, "big" if self._found[tag].encoding.order == ">" else "little")

    def _integer(self, tag: int) -> int | None:
        try:
            return int(self._raw(tag).strip(b" \0"))
        except ValueError:
            return None
