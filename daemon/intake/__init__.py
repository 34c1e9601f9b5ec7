"""From stored objects to closed revisions: `reading` (what an object is), `placing` (where it belongs), `closing`
(when a study is complete), driven by `indexer`; `backlog` (what still waits), `copies` (what was stored twice).
"""

from daemon.intake.backlog import Backlog, backlog
from daemon.intake.copies import open_instance, use_good_copy
from daemon.intake.indexer import DOES_NOT_OPEN, INDEX_LEASE_SECONDS, Indexer, IndexingLost, is_indexed
from daemon.intake.twins import COMPARING_SECONDS

__all__ = [
    "COMPARING_SECONDS",
    "DOES_NOT_OPEN",
    "INDEX_LEASE_SECONDS",
    "Backlog",
    "Indexer",
    "IndexingLost",
    "backlog",
    "is_indexed",
    "open_instance",
    "use_good_copy",
]
