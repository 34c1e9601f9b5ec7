"""From stored objects to closed revisions: `reading` (what an object is), `placing` (where it belongs), `closing`
(when a study is complete), driven by `indexer`; `twins` (what shows the same image), `correcting` (a study that was
another patient's), `backlog` (what still waits), `copies` (what was stored twice).
"""

from daemon.intake.backlog import Backlog, backlog
from daemon.intake.copies import open_instance, use_good_copy
from daemon.intake.correcting import (
    HAND_OVER,
    WITHDRAW,
    Contradiction,
    Settlement,
    StudyChanged,
    contradiction_of,
    lock,
    objects_of,
)
from daemon.intake.indexer import DOES_NOT_OPEN, INDEX_LEASE_SECONDS, Indexer, IndexingLost, is_indexed
from daemon.intake.reading import Reader, identity_in, zone_of
from daemon.intake.twins import COMPARING_SECONDS

__all__ = [
    "COMPARING_SECONDS",
    "DOES_NOT_OPEN",
    "HAND_OVER",
    "INDEX_LEASE_SECONDS",
    "WITHDRAW",
    "Backlog",
    "Contradiction",
    "Indexer",
    "IndexingLost",
    "Reader",
    "Settlement",
    "StudyChanged",
    "backlog",
    "contradiction_of",
    "identity_in",
    "is_indexed",
    "lock",
    "objects_of",
    "open_instance",
    "use_good_copy",
    "zone_of",
]
