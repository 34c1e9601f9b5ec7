"""Makes `types.txt`: the Type (PS3.5 7.4) that attributes have in each IOD, from the tables of the `highdicom` package.

Run it when a new edition is adopted: ``python -m anonymize.tables.make_types``. It must never be needed at run time.
Only Types 1, 1C, 2 and 2C are written, and only of attributes that a rule may take away: those of Table E.1-1, and
those whose VR holds text, codes, names, dates or items, and colour profiles.
"""

import argparse
import json
from collections import defaultdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from anonymize.attribute_types import TABLE
from anonymize.dummies import ICC_PROFILE
from anonymize.profile import load_profile

_OPEN_VRS = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "SQ", "ST", "TM", "UC", "UR", "UT"))


def _load(name: str) -> Any:
    return json.loads(files("highdicom").joinpath("_standard", f"{name}.json").read_text("utf-8"))


def _tag(keyword: str) -> int | None:
    tag = tag_for_keyword(keyword)
    return None if tag is None else int(tag)


def _may_go(tag: int) -> bool:
    return load_profile().row(tag) is not None or dictionary_VR(tag) in _OPEN_VRS or tag == ICC_PROFILE


def _attributes(module: list[dict[str, Any]]) -> dict[int, dict[int, str]]:
    """Of one module: by the sequence they stand in (0: none), the attributes that must be there and their Type."""
    found: dict[int, dict[int, str]] = defaultdict(dict)
    for attribute in module:
        tag = _tag(attribute["keyword"])
        parent = _tag(attribute["path"][-1]) if attribute["path"] else 0
        if tag is None or parent is None:
            continue
        types = found[parent]  # a sequence is listed even if nothing in it must be there
        if attribute["type"][0] in "12" and _may_go(tag):
            types[tag] = min(types.get(tag, "2"), attribute["type"][0])
    return found


def _line(kind: str, name: str, types: dict[int, str]) -> str:
    return " ".join([kind, name, *(f"{tag:08X}={types[tag]}" for tag in sorted(types))])


def make_types() -> str:
    """Give the text: modules' own attributes, those within each sequence (strictest of all IODs), IODs, classes."""
    modules, iods, classes = _load("module_attribute_map"), _load("iod_module_map"), _load("sop_class_iod_map")
    used = {name: [module["key"] for module in iods[name]] for name in sorted(set(classes.values()))}
    top: dict[str, dict[int, str]] = {}
    nested: dict[int, dict[int, str]] = defaultdict(dict)
    for name in sorted({module for names in used.values() for module in names}):
        found = _attributes(modules.get(name, []))  # one module of highdicom's table is missing
        top[name] = found.pop(0, {})
        for parent, types in found.items():
            within = nested[parent]
            within.update({tag: min(within.get(tag, "2"), kind) for tag, kind in types.items()})
    lines = [_line("module", name, types) for name, types in top.items() if types]
    lines += [_line("in", f"{parent:08X}", nested[parent]) for parent in sorted(nested)]
    lines += [" ".join(["iod", name, *(module for module in used[name] if top[module])]) for name in used]
    lines += [f"class {uid} {classes[uid]}" for uid in sorted(classes)]
    source = f"# source: PS3.3 (facts of a public standard, (c) NEMA), by highdicom {version('highdicom')}\n"
    return source + "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(TABLE))
    parser.parse_args().out.write_text(make_types(), encoding="utf-8")


if __name__ == "__main__":
    main()
