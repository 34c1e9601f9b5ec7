"""Where identifiers hide in DICOM instances, and how to look for them afterwards; written from the standard alone.

`PLACES` lists the hiding places; `planted` makes an instance with tokens in one of them. Nothing here knows how
de-identification is done: it shares no code with `anonymize`, and what it plants is random and nobody's.
"""

from benchmarks.leak_places import attributes, bulk, content, documents, malformed, pixels, private, table
from benchmarks.leak_places.place import Place

PLACES: tuple[Place, ...] = tuple(
    place
    for module in (table, attributes, private, malformed, pixels, bulk, content, documents)
    for place in module.catalogue.places
)

__all__ = ["PLACES", "Place"]
