"""The private attributes that are known to hold nothing that identifies: Table E.3.10-1 of PS3.15.

A private attribute is known by its group, its element's last two digits and the creator that reserved its block in
the same data set (PS3.5 7.8.1). It must never be known by its tag alone: anyone may reserve any block.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

TABLE: Final = "safe_private.txt"


class SafeAttribute(NamedTuple):
    """A row of the table."""

    vr: str
    max_values: int | None


@cache
def load_safe_private() -> Mapping[tuple[str, int, int], SafeAttribute]:
    """By creator, group and the low byte of the element."""
    table = {}
    for line in files("anonymize.tables").joinpath(TABLE).read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        group, element, vr, vm, creator = line.split(" ", 4)
        most = vm.rpartition("-")[2]
        if vr != "-":  # the standard does not say what it is
            known = SafeAttribute(vr, int(most) if most.isdigit() else None)
            table[creator, int(group, 16), int(element, 16)] = known
    return table


def reserved_block(tag: int) -> tuple[int, int] | None:
    """The group and block that a Private Creator of this tag reserves; None if it is no creator's tag."""
    element = tag & 0xFFFF
    return (tag >> 16, element) if tag >> 16 & 1 and 0x10 <= element <= 0xFF else None


def block_of(tag: int) -> tuple[int, int]:
    """The group and block that a private attribute lies in."""
    return tag >> 16, tag >> 8 & 0xFF
