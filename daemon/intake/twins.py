"""Which of the instances that are here already show the same image as one that comes under the same UID.

Keyed digests of the pixels as encoded decide where they can. Only where the encodings differ, and neither loses
anything, are the pixels decoded and compared by value: in a worker process, never in an indexer's transaction. Whatever
cannot be opened, decoded or compared in time counts as another image, so that the study is held (DESIGN §2.3, §5).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
import sqlalchemy as sa
import structlog
from pydicom import Dataset, dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    UncompressedTransferSyntaxes,
)

from adapters.keys import KeyStoreError
from adapters.storage import ObjectRef, StoreError
from anonymize import read_header
from daemon.database import schema as t
from daemon.intake.arrival import Arrival
from daemon.intake.reading import part10, pixel_tag
from daemon.node import Node
from daemon.states import Standing
from daemon.workers import WorkerDied, Workers

LOSSLESS: Final = frozenset(
    map(
        str,
        (
            *UncompressedTransferSyntaxes,
            *(JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL),
            RLELossless,
        ),
    )
)
"""Transfer syntaxes of which the decoded values are those that were encoded (PS3.5 8.2, A.4)."""

COMPARING_SECONDS: Final = 120.0
"""How long the comparison of two images may take: the index waits for it."""

_DESCRIBING: Final = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Twins:
    """Compares arrivals with what the index has of the same UID. `workers` are not those of the tasks: the index must
    not wait for what takes long there.
    """

    node: Node
    workers: Workers

    def of(self, arrivals: Iterable[Arrival]) -> dict[str, list[sa.Row[Any]]]:
        """By the id of an arrival: what is in use under its UID and cannot be told to be its image by rows alone."""
        there_are: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            there_are[arrival.uid_tag].append(arrival)
        in_use = (Standing.CURRENT, Standing.UNSELECTED)
        query = sa.select(
            t.instance.c.id,
            t.instance.c.uid_tag,
            t.instance.c.object_ref,
            t.instance.c.patient_id,
            t.instance.c.transfer_syntax_uid,
            t.instance.c.pixel_tag,
        ).where(t.instance.c.uid_tag.in_(there_are), t.instance.c.standing.in_(in_use))
        found: dict[str, list[sa.Row[Any]]] = defaultdict(list)
        with self.node.database.read() as connection:
            for twin in connection.execute(query):
                for arrival in there_are[twin.uid_tag]:
                    if (twin.patient_id, twin.pixel_tag) != (arrival.patient.id, arrival.pixel_tag):
                        found[arrival.instance_id].append(twin)
        return found

    def same_as(self, arrival: Arrival, twins: list[sa.Row[Any]]) -> frozenset[str]:
        """The ids of those that show the same image as the arrival."""
        return frozenset(twin.id for twin in twins if self._is_same(arrival, twin))

    def _is_same(self, arrival: Arrival, twin: sa.Row[Any]) -> bool:
        try:
            receipt, data = self.node.store.open(ObjectRef.parse(arrival.object_ref))
            if twin.patient_id != arrival.patient.id:  # a digest is keyed for its patient
                header = read_header(data, receipt.transfer_syntax_uid)
                if pixel_tag(self.node.keys.patient(twin.patient_id), header, data) == twin.pixel_tag:
                    return True
            syntaxes = {arrival.transfer_syntax_uid, twin.transfer_syntax_uid}
            if len(syntaxes) == 1 or not syntaxes <= LOSSLESS:
                return False
            before_receipt, before = self.node.store.open(ObjectRef.parse(twin.object_ref))
            return self.workers.call(
                have_the_same_pixels, data, receipt.transfer_syntax_uid, before, before_receipt.transfer_syntax_uid
            )
        except (StoreError, KeyStoreError, WorkerDied, OSError) as error:
            _log.warning("twins_not_compared", instance=arrival.instance_id, error=type(error).__name__)
            return False


def have_the_same_pixels(first: bytes, first_syntax: str, second: bytes, second_syntax: str) -> bool:
    """Whether two data sets describe their pixels alike and have the same values in each frame. In a worker process:
    decodes untrusted pixels. What cannot be decoded is not the same as anything.
    """
    try:
        one, other = (dcmread(part10(*pair)) for pair in ((first, first_syntax), (second, second_syntax)))
        if _description(one) != _description(other):
            return False
        pairs = zip(_frames(one, first_syntax), _frames(other, second_syntax), strict=True)
        return all(
            colours == others and a.shape == b.shape and bool((a == b).all()) for (a, colours), (b, others) in pairs
        )
    except Exception:  # noqa: BLE001 - decoders raise anything; here it only means that nobody can compare
        return False


def _description(image: Dataset) -> tuple[Any, ...]:
    return (int(image.get("NumberOfFrames") or 1), *(image.get(name) for name in _DESCRIBING))


def _frames(image: Dataset, transfer_syntax_uid: str) -> Iterator[tuple[npt.NDArray[Any], Any]]:
    """Each frame's values, and the colour space in which the decoder gives them."""
    for values, properties in get_decoder(UID(transfer_syntax_uid)).iter_array(image, raw=True):
        yield values, properties["photometric_interpretation"]
