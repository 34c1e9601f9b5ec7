"""Makes the tables beside it from HL7's FHIR R4 definitions: the elements of each type, value sets, code systems.

Run it with the folder that holds the JSON definitions of 4.0.1 (``profiles-types.json``, ``profiles-resources.json``,
``valuesets.json``, ``v2-tables.json``, ``v3-codesystems.json``): ``python -m anonymize.fhir.tables.make_tables DIR``.
It must never be needed at run time. The definitions are HL7's, in the public domain (CC0). Some who hand them on mix
in elements of later versions; so an element counts only if the R4 model of `fhirpathpy` has it too.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from fhirpathpy.models import models

TYPES: Final = "r4_types.txt"
VALUE_SETS: Final = "r4_value_sets.txt"
CODE_SYSTEMS: Final = "r4_code_systems.txt"

_PROFILES: Final = ("profiles-types.json", "profiles-resources.json")
_TERMINOLOGIES: Final = ("valuesets.json", "v2-tables.json", "v3-codesystems.json")
_SYSTEM_TYPE: Final = "http://hl7.org/fhirpath/System."
_HL7: Final = ("http://terminology.hl7.org/CodeSystem/", "http://hl7.org/fhir/", "http://dicom.nema.org/")

_Json = dict[str, Any]

_R4: Final[dict[str, Any]] = models["r4"]


def _is_r4(element: _Json) -> bool:
    path = str(element["path"])
    known = path in _R4["path2Type"] or path in _R4["pathsDefinedElsewhere"] or f"{path}.extension" in _R4["path2Type"]
    return known or path.removesuffix("[x]") in _R4["choiceTypePaths"]


def _resources(folder: Path, names: Iterable[str]) -> Iterator[_Json]:
    for name in names:
        bundle = json.loads((folder / name).read_text("utf-8"))
        yield from (entry["resource"] for entry in bundle["entry"])


def _concepts(holder: _Json) -> Iterator[str]:
    for concept in holder.get("concept", []):
        yield concept["code"]
        yield from _concepts(concept)


def _code_systems(terminologies: list[_Json]) -> dict[str, list[str]]:
    systems = {r["url"]: sorted(set(_concepts(r))) for r in terminologies if r["resourceType"] == "CodeSystem"}
    return {url: codes for url, codes in systems.items() if codes and "|" not in url}


class _ValueSets:
    """Value sets by URL, expanded as far as their code systems are at hand."""

    def __init__(self, terminologies: list[_Json], systems: dict[str, list[str]]) -> None:
        self._by_url = {r["url"]: r for r in terminologies if r["resourceType"] == "ValueSet"}
        self._systems = systems

    def expand(self, url: str) -> set[str] | None:
        """Give the codes of a value set; None where it is made by a filter or from a system that is not at hand."""
        value_set = self._by_url.get(url.split("|")[0])
        includes = value_set.get("compose", {}).get("include", []) if value_set else []
        parts = [self._included(include) for include in includes]
        if not parts or any(part is None for part in parts):
            return None
        return set().union(*(part for part in parts if part is not None))

    def _included(self, include: _Json) -> set[str] | None:
        if include.get("filter"):
            return None
        if "concept" in include:
            return {concept["code"] for concept in include["concept"]}
        if "system" in include:
            codes = self._systems.get(include["system"])
            return set(codes) if codes else None
        nested = [self.expand(url) for url in include.get("valueSet", [])]
        return None if any(n is None for n in nested) else set().union(*(n for n in nested if n is not None))


def _type_names(element: _Json) -> list[str]:
    path = str(element["path"])
    if path.count(".") == 1 and element["base"]["path"] == "Resource.id":
        return ["id"]  # which 4.0.1 states as string, by an oversight (FHIR R4 2.27.1.1)
    if "contentReference" in element:
        return [str(element["contentReference"]).removeprefix("#")]
    codes = [str(t["code"]) for t in element.get("type", [])]
    if codes == ["OperationOutcome"]:
        return ["Resource"]
    if codes in (["BackboneElement"], ["Element"]) and "." in path:
        return [path]
    if len(codes) == 1 and codes[0].startswith(_SYSTEM_TYPE):  # Element.id, Extension.url, the value of a primitive
        extensions = element["type"][0].get("extension", [])
        named = [e["valueUrl"] for e in extensions if e["url"].endswith("structuredefinition-fhir-type")]
        return [named[0] if named else codes[0].removeprefix(_SYSTEM_TYPE).lower()]
    return codes


def _lines(definition: _Json, bound: dict[str, set[str]], value_sets: _ValueSets) -> Iterator[str]:
    """One section for the type and one for each of its backbone elements, in the order of the definition."""
    kind = "resource" if definition["kind"] == "resource" else "type"
    sections: dict[str, list[str]] = {definition["type"]: []}
    for element in filter(_is_r4, definition["snapshot"]["element"][1:]):
        names = _type_names(element)
        parent, _, name = element["path"].rpartition(".")
        if names == [element["path"]]:
            sections[names[0]] = []
        flags = ["*"] * (element["max"] != "1") + ["!"] * (element["min"] > 0)
        binding = element.get("binding", {})
        if "code" in names and binding.get("strength") == "required":
            url = str(binding["valueSet"]).split("|")[0]
            if (codes := value_sets.expand(url)) is not None:
                bound[url.rsplit("/", 1)[1]] = codes
                flags.append("in=" + url.rsplit("/", 1)[1])
        if name.endswith("[x]"):
            stem = name.removesuffix("[x]")
            flags.append("choice=" + stem)
            sections[parent] += [" ".join([stem + t[0].upper() + t[1:], t, *flags]) for t in names]
        else:
            sections[parent] += [" ".join([name, names[0], *flags])]
    for number, (path, elements) in enumerate(sections.items()):
        yield f"[{path} {kind if number == 0 else 'backbone'}]"
        yield from elements


def _table(body: str) -> str:
    head = {
        "source": "HL7 FHIR R4 definitions, version 4.0.1 (public domain, CC0)",
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }
    return "".join(f"# {key}: {value}\n" for key, value in head.items()) + body


def make_tables(folder: Path) -> dict[str, str]:
    """Give the text of each table by its file name."""
    terminologies = list(_resources(folder, _TERMINOLOGIES))
    systems = _code_systems(terminologies)
    value_sets = _ValueSets(terminologies, systems)
    bound: dict[str, set[str]] = {}
    types: list[str] = []
    for definition in _resources(folder, _PROFILES):
        concrete = definition["resourceType"] == "StructureDefinition" and definition.get("derivation") != "constraint"
        whole = concrete and definition["kind"] in ("resource", "complex-type") and not definition.get("abstract")
        if whole and f"{definition['type']}.id" in _R4["path2Type"]:
            types += _lines(definition, bound, value_sets)
    lines = {
        TYPES: types,
        VALUE_SETS: ["\t".join([name, *sorted(codes)]) for name, codes in sorted(bound.items())],
        CODE_SYSTEMS: ["\t".join([url, *systems[url]]) for url in sorted(systems) if url.startswith(_HL7)],
    }
    return {name: _table("\n".join(rows) + "\n") for name, rows in lines.items()}


def main() -> None:
    """Write the tables into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with HL7's JSON definitions of FHIR 4.0.1")
    arguments = parser.parse_args()
    for name, text in make_tables(arguments.folder).items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
