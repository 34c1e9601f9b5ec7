"""Makes of a de-identified Segmentation (PS3.3 A.51) the one for the PACS, which lies on the slices as they are there.

A UID in it, at whatever depth, is one of the images that it is about, of the standard, or new. So it refers to nothing
that the PACS does not have, and holds no mapped UID by which somebody could tell whose the copy in an archive is. It
must keep nothing that de-identification put in or noted.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from pydicom import DataElement, Dataset

from adapters.dicom.errors import DanglingReference
from anonymize.uids import WELL_KNOWN

_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_DIMENSION_ORGANIZATION_UID: Final = 0x00209164
_PATIENT: Final = frozenset({0x0010, 0x0012})  # groups: the pseudonym, and what says that it is one
_NOT_TAKEN_OVER: Final = frozenset(
    {
        0x00080018,  # SOP Instance UID, and that of the series: they are those of the copy in an archive
        0x0020000E,
        0x00280303,  # Longitudinal Temporal Information Modified
    }
)


def referenced_images(segmentation: Dataset) -> tuple[str, ...]:
    """The SOP Instance UIDs of all images that it refers to, each once, in the order of the first reference."""
    found = (str(element.value) for element in _uids(segmentation) if element.tag == _REFERENCED_SOP_INSTANCE_UID)
    return tuple(dict.fromkeys(found))


def segmentation_on(
    segmentation: Dataset,
    received: Mapping[str, str],
    *,
    series_uid: str,
    dimensions_uid: str,
    number: int,
    made_at: datetime,
) -> Dataset:
    """The Segmentation without patient, study and SOP Instance UID, the `number`th of its series.

    `received` gives, by each UID that the de-identified images, their series, study and frame of reference have, the
    one under which they were received. `dimensions_uid` is for its Dimension Organization, `made_at` in the study's
    time. What was given may not be used any more. Raises `DanglingReference`.
    """
    made = Dataset()
    for element in segmentation:
        if element.tag.group not in _PATIENT and element.tag not in _NOT_TAKEN_OVER:
            made.add(element)
    for element in _uids(made):
        new = element.tag == _DIMENSION_ORGANIZATION_UID
        element.value = dimensions_uid if new else _received(str(element.value), received)
    made.SeriesInstanceUID = series_uid
    made.InstanceNumber = number
    made.ContentDate = f"{made_at:%Y%m%d}"
    made.ContentTime = f"{made_at:%H%M%S}"
    return made


def _received(uid: str, received: Mapping[str, str]) -> str:
    if uid in WELL_KNOWN:
        return uid
    try:
        return received[uid]
    except KeyError:
        raise DanglingReference(
            "a segmentation refers to what is not among the images that it is about, so nothing is sent of it:"
            " reprocess the study"
        ) from None


def _uids(data_set: Dataset) -> Iterator[DataElement]:
    """All elements with a UID, at every depth."""
    return (element for element in data_set.iterall() if element.VR == "UI" and element.value)
