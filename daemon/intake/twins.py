"""Which of the instances that are here already show the same image as one that comes under the same UID.

Keyed digests of the pixels as encoded decide where they can. Only where the encodings differ, and neither loses
anything, are the pixels decoded and compared by value: in a worker process, beside the indexer, so that only the study
waits that the instance belongs to. Whatever cannot be opened, decoded or compared in time counts as another image, so
that the study is held (DESIGN §2.3, §5).
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
from anonymize import Header, MalformedDataSet, read_header
from daemon.database import schema as t
from daemon.intake.arrival import Arrival
from daemon.intake.placing import IN_USE, NOT_IT
from daemon.intake.reading import encoded_image, part10, pixel_tag
from daemon.node import Node
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
"""How long the comparison of two images may take: their study waits for it."""

_SECONDS_A_STUDY: Final = 600.0
"""How long all comparisons that a study waits for may take together. What is left then is not compared."""

_DESCRIBING: Final = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An arrival that waits until its pixels were compared with those of a twin."""

    arrival: Arrival
    twin: sa.Row[Any]


class Twins:
    """Compares arrivals with what the index has of the same UID in their study. Used by one thread, the indexer's;
    pixels are decoded by `workers` meanwhile, one pair after the other: always the next of the study that has waited
    least so far, so that one which needs many comparisons keeps no other waiting.
    """

    def __init__(self, node: Node, workers: Workers) -> None:
        self._node, self._workers = node, workers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="twins")
        self._running: tuple[_Asked, Future[tuple[bool, float]]] | None = None
        self._asked: dict[str, _Asked] = {}  # by the arrival's id
        self._answers: dict[str, dict[str, bool]] = {}  # by the arrival's id and the twin's
        self._spent: dict[str, float] = {}  # seconds, by the tag of the study

    def of(self, arrivals: Iterable[Arrival]) -> dict[str, list[sa.Row[Any]]]:
        """By the id of an arrival: what is in use under its UID and cannot be told to be its image by rows alone.

        Nothing for what is in the index with the same bytes: that is a duplicate, whatever its image.
        """
        there_are: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            there_are[arrival.uid_tag].append(arrival)
        query = (
            sa.select(
                t.instance.c.id,
                t.instance.c.uid_tag,
                t.instance.c.object_ref,
                t.instance.c.patient_id,
                t.instance.c.transfer_syntax_uid,
                t.instance.c.content_tag,
                t.instance.c.pixel_tag,
                t.instance.c.standing,
                t.study.c.uid_tag.label("study_uid_tag"),
            )
            .join(t.study, t.study.c.id == t.instance.c.study_id)
            .where(t.instance.c.uid_tag.in_(there_are), t.instance.c.standing.not_in(NOT_IT))
        )
        found: dict[str, list[sa.Row[Any]]] = defaultdict(list)
        with self._node.database.read() as connection:
            twins = connection.execute(query).all()
        known = {(twin.uid_tag, twin.content_tag) for twin in twins}
        for twin in (twin for twin in twins if twin.standing in IN_USE):
            for arrival in there_are[twin.uid_tag]:
                if (
                    arrival.study_uid_tag == twin.study_uid_tag
                    and (arrival.uid_tag, arrival.content_tag) not in known
                    and (twin.patient_id, twin.pixel_tag) != (arrival.patient.id, arrival.pixel_tag)
                ):
                    found[arrival.instance_id].append(twin)
        return found

    def same_as(self, arrival: Arrival, twins: list[sa.Row[Any]]) -> frozenset[str] | None:
        """The ids of those that show the same image as the arrival; None while pixels must be compared first: ask again
        when `wait` has named the arrival.
        """
        answers = self._answers.setdefault(arrival.instance_id, {})
        for twin in twins:
            if twin.id not in answers:
                answer = self._without_decoding(arrival, twin)
                if answer is None and self._spent.get(arrival.study_uid_tag, 0.0) >= _SECONDS_A_STUDY:
                    _log.warning("twins_not_compared", instance=arrival.instance_id, error="too many in this study")
                    answer = False
                if answer is None:
                    self._asked[arrival.instance_id] = _Asked(arrival, twin)
                    return None
                answers[twin.id] = answer
        return frozenset(twin.id for twin in twins if answers[twin.id])

    def forget(self, instance_ids: Iterable[str]) -> None:
        """These are in the index."""
        for instance_id in instance_ids:
            self._answers.pop(instance_id, None)
        studies = {asked.arrival.study_uid_tag for asked in self._asked.values()}
        self._spent = {study: seconds for study, seconds in self._spent.items() if study in studies}

    def wait(self, seconds: float) -> str | None:
        """Wait for the next comparison to end, at most that long, and begin it if none runs. Gives the id of an arrival
        of which more is known now; None if there is none.
        """
        if self._running is None:
            if not self._asked:
                return None
            asked = min(self._asked.values(), key=lambda asked: (self._spent_for(asked), asked.arrival.received_at))
            if self._spent_for(asked) >= _SECONDS_A_STUDY or not self._is_still_a_twin(asked):
                return self._asked.pop(asked.arrival.instance_id).arrival.instance_id
            self._running = asked, self._thread.submit(self._compare, asked)
        asked, answer = self._running
        if not wait([answer], seconds).done:
            return None
        self._running = None
        same, took = answer.result()
        self._spent[asked.arrival.study_uid_tag] = self._spent_for(asked) + took
        self._answers.setdefault(asked.arrival.instance_id, {})[asked.twin.id] = same
        return self._asked.pop(asked.arrival.instance_id).arrival.instance_id

    def _spent_for(self, asked: _Asked) -> float:
        return self._spent.get(asked.arrival.study_uid_tag, 0.0)

    def _is_still_a_twin(self, asked: _Asked) -> bool:
        """Whether the comparison would still say something: the index has changed since it was asked for."""
        twins = self.of([asked.arrival]).get(asked.arrival.instance_id, [])
        return asked.twin.id in {twin.id for twin in twins}

    def _without_decoding(self, arrival: Arrival, twin: sa.Row[Any]) -> bool | None:
        """Whether both show the same image, by what is encoded; None where that does not say."""
        try:
            header, data = self._opened(arrival.object_ref)
            # By its digest, which is keyed for its patient, it is known though it be damaged.
            if pixel_tag(self._node.keys.patient(twin.patient_id), header, data) == twin.pixel_tag:
                return True
            there, before = self._opened(twin.object_ref)
        except (StoreError, KeyStoreError, MalformedDataSet, OSError) as error:
            return _not_compared(arrival, error)
        if header.display != there.display:
            return False
        if encoded_image(header, data) == encoded_image(there, before):
            return True
        syntaxes = {arrival.transfer_syntax_uid, twin.transfer_syntax_uid}
        return False if len(syntaxes) == 1 or not syntaxes <= LOSSLESS else None

    def _opened(self, ref: str) -> tuple[Header, bytes]:
        receipt, data = self._node.store.open(ObjectRef.parse(ref))
        return read_header(data, receipt.transfer_syntax_uid), data

    def _compare(self, asked: _Asked) -> tuple[bool, float]:
        """Whether both have the same values, and how many seconds it took to find out. In a thread of its own."""
        began = time.monotonic()
        try:
            receipt, data = self._node.store.open(ObjectRef.parse(asked.arrival.object_ref))
            before_receipt, before = self._node.store.open(ObjectRef.parse(asked.twin.object_ref))
            same = self._workers.call(
                have_the_same_pixels, data, receipt.transfer_syntax_uid, before, before_receipt.transfer_syntax_uid
            )
        except (StoreError, KeyStoreError, WorkerDied, OSError) as error:
            same = _not_compared(asked.arrival, error)
        return same, time.monotonic() - began


def _not_compared(arrival: Arrival, error: Exception) -> bool:
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
