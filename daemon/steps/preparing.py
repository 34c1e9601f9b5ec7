"""A model's inputs from a revision's de-identified instances, made once for all versions that want the same.

Made in a worker process, since untrusted pixels are decoded. What another version is about to ask for is kept until it
has had it: in memory only, de-identified as it is, for minutes at most, and anything may be forgotten at any time: then
it is made again. What is kept counts for nothing: whoever takes it must still hold the patient's key.
"""

import threading
import time
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance
from pipelines.pipeline import NotAnalysable, Part, Pipeline, PreparedInput
from runtime import ModelPackage

if TYPE_CHECKING:
    from daemon.steps.step import Context

_MOST_BYTES: Final = 256 << 20
_SECONDS: Final = 600.0

Prepared = tuple[PreparedInput | NotAnalysable, ...]


class KeptInputs:
    """What has been prepared and will be wanted once more. Safe to use from several threads."""

    def __init__(self, most_bytes: int = _MOST_BYTES, seconds: float = _SECONDS) -> None:
        """At most `most_bytes` of tensors are kept, the latest, and none of them longer than `seconds`."""
        self._most_bytes, self._seconds = most_bytes, seconds
        self._kept: dict[Hashable, tuple[float, Prepared]] = {}  # with the time of its end, the oldest first
        self._lock = threading.Lock()

    def keep(self, refs: Sequence[str], pipeline: Pipeline, package: ModelPackage, prepared: Prepared) -> None:
        """Keep what was prepared of these objects for this package."""
        key, now = _key(refs, pipeline, package), time.monotonic()
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (now + self._seconds, prepared)
            self._forget(now)

    def take(self, refs: Sequence[str], pipeline: Pipeline, package: ModelPackage) -> Prepared | None:
        """What is kept of these objects for a package that wants them prepared in the same way, to have and forget."""
        with self._lock:
            self._forget(time.monotonic())
            _, prepared = self._kept.pop(_key(refs, pipeline, package), (0.0, None))
        return prepared

    def _forget(self, now: float) -> None:
        used = sum(_bytes_of(prepared) for _, prepared in self._kept.values())
        for key, (end, prepared) in list(self._kept.items()):
            if end > now and used <= self._most_bytes:
                break
            used -= _bytes_of(prepared)
            del self._kept[key]


def prepare(context: "Context", refs: Sequence[str], pipeline: Pipeline, package: ModelPackage) -> Prepared:
    """The model's inputs from the objects of these references: kept ones, else made in a worker process."""
    kept = context.kept.take(refs, pipeline, package)
    if kept is not None:
        return kept
    store, workers = context.node.store, context.workers
    parts = [workers.call(_read, pipeline, store.open(ObjectRef.parse(ref))[1], package) for ref in sorted(refs)]
    return pipeline.combine(parts, package)


def _read(pipeline: Pipeline, file: bytes, package: ModelPackage) -> Part:
    """In a worker process: decodes untrusted pixels, of one instance at a time."""
    return pipeline.read(DeidentifiedInstance.from_bytes(file), package)


def _key(refs: Sequence[str], pipeline: Pipeline, package: ModelPackage) -> Hashable:
    """All that `Pipeline.read` and `combine` may look at."""
    first = package.inputs[0]
    return pipeline.name, tuple(sorted(refs)), package.preprocessing, first.dtype, first.sample_shape


def _bytes_of(prepared: Prepared) -> int:
    return sum(item.tensor.nbytes for item in prepared if isinstance(item, PreparedInput))
