"""The Type of attributes (PS3.5 7.4): whether an IOD demands that one is there, and that it has a value.

The compound actions of Table E.1-1 (X/Z, X/D, X/Z/D, Z/D) turn on it, so that what comes out stays valid. At the top
level the SOP class's IOD decides; within a sequence, the strictest Type that any IOD has there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Final

TABLE: Final = "types.txt"


class Type(IntEnum):
    """What an IOD demands; a conditional Type counts as if the condition were met, since the attribute is there."""

    VALUE = 1  # Types 1 and 1C
    PRESENCE = 2  # Types 2 and 2C: may be empty
    NOTHING = 3


@dataclass(frozen=True, slots=True)
class AttributeTypes:
    """The Types of one IOD. `top` is None for an IOD that we do not know."""

    top: Mapping[int, Type] | None
    nested: Mapping[int, Mapping[int, Type]]

    def of(self, tag: int, parent: int) -> Type | None:
        """The Type of `tag` in the items of the sequence `parent` (0: at the top); None where nobody knows."""
        types = self.nested.get(parent) if parent else self.top
        return None if types is None else types.get(tag, Type.NOTHING)


@cache
def types_of(sop_class_uid: str) -> AttributeTypes:
    """The Types in the IOD of a SOP class; of an unknown class, those within sequences only."""
    tables = _tables()
    return tables.get(sop_class_uid) or tables[""]


@cache
def _tables() -> Mapping[str, AttributeTypes]:
    """By SOP class; "" stands for every other. Classes of one IOD share its table."""
    modules: dict[str, dict[int, Type]] = {}
    nested: dict[int, Mapping[int, Type]] = {}
    iods: dict[str, AttributeTypes] = {}
    classes = {"": AttributeTypes(None, nested)}
    for line in files("anonymize.tables").joinpath(TABLE).read_text("utf-8").splitlines():
        kind, name, *rest = line.split(" ")
        if kind == "module":
            modules[name] = _types(rest)
        elif kind == "in":
            nested[int(name, 16)] = _types(rest)
        elif kind == "iod":
            top: dict[int, Type] = {}
            for module in rest:
                top.update({tag: min(type_, top.get(tag, type_)) for tag, type_ in modules[module].items()})
            iods[name] = AttributeTypes(top, nested)
        elif kind == "class":
            classes[name] = iods[rest[0]]
    return classes


def _types(cells: list[str]) -> dict[int, Type]:
    pairs = (cell.split("=") for cell in cells)
    return {int(tag, 16): Type(int(kind)) for tag, kind in pairs}
