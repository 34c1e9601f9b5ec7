"""Templates of seventeen kinds of instance (PS3.3 A), filled anew for each patient with what devices commonly write."""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from anonymize import ReceivedInstance
from benchmarks.clean_instances.documents import ecg, key_object, presentation, report, segmentation, structures
from benchmarks.clean_instances.drawing import CLASS, Draw, common
from benchmarks.clean_instances.images import (
    capture,
    ct,
    mammogram,
    mr,
    multi_frame,
    nuclear,
    pet,
    radiograph,
    ultrasound,
)
from benchmarks.clean_instances.people import Person
from benchmarks.leak_places.encoding import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Written,
    encode,
)

_SYNTAXES: Final = (
    ("1.2.840.10008.1.2", IMPLICIT_LITTLE),
    ("1.2.840.10008.1.2.1", EXPLICIT_LITTLE),
)


def make(rng: random.Random, person: Person, name: str, instead: Iterable[Written] = ()) -> ReceivedInstance:
    """Draw an instance of the template `name` for `person`; the elements `instead` take the place of drawn ones."""
    draw = Draw(rng, person)
    sop_class, modality, fill = TEMPLATES[name]
    syntax, encoding = rng.choice(_SYNTAXES)
    elements = [*common(draw, CLASS + sop_class, modality), *fill(draw), *instead]
    by_tag = {element.tag: element for element in elements}  # a template may say it better
    return ReceivedInstance(CLASS + sop_class, draw.uid(3), syntax, encode(by_tag.values(), encoding))


TEMPLATES: Final[Mapping[str, tuple[str, str, Callable[[Draw], list[Written]]]]] = {
    "CT": ("2", "CT", ct),
    "MR": ("4", "MR", mr),
    "DX": ("1.1", "DX", radiograph),
    "CR": ("1", "CR", radiograph),
    "US": ("6.1", "US", ultrasound),
    "MG": ("1.2", "MG", mammogram),
    "PT": ("128", "PT", pet),
    "NM": ("20", "NM", nuclear),
    "SR": ("88.67", "SR", report),
    "KO": ("88.59", "KO", key_object),
    "PR": ("11.1", "PR", presentation),
    "RTSTRUCT": ("481.3", "RTSTRUCT", structures),
    "SEG": ("66.4", "SEG", segmentation),
    "SC": ("7", "OT", capture),
    "enhanced CT": ("2.1", "CT", lambda draw: multi_frame(draw, "ORIGINAL\\PRIMARY\\VOLUME\\NONE")),
    "enhanced MR": ("4.1", "MR", lambda draw: multi_frame(draw, "ORIGINAL\\PRIMARY\\M\\NONE")),
    "ECG": ("9.1.1", "ECG", ecg),
}
"""By name: what follows 1.2.840.10008.5.1.4.1.1 in the SOP class, the modality, and what fills the rest."""
