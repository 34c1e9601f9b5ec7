"""Turns what the model found wrong into sentences with the key, its place and what is allowed.

A value is repeated only if its key is known and neither it nor its key can hold a secret.
"""

import difflib
from pathlib import Path
from typing import get_args

from pydantic_core import ErrorDetails

from daemon.settings.draft import Draft, dotted
from daemon.settings.errors import Problem
from daemon.settings.model import Settings
from daemon.settings.origin import KeyPath, OriginKind
from daemon.settings.sections.section import Section, sections_of

_NEVER_REPEATED = {"url", "token", "password"}
_LONGEST_REPEATED = 80
_KINDS = {
    kind: model
    for model in sections_of(Settings, "destinations")
    for kind in get_args(model.model_fields["kind"].annotation)
}
"""The models of `[[destinations]]` by their kind."""
_MISPLACED = {
    "deidentification": "what goes there names the patient; a policy of its own has only a destination of kind dicom",
    "confirm_research": "this kind of destination gets nothing that a model has made, but by `segmentations`",
    "segmentations": "a destination of kind dicom gets them, with the de-identified slices that they are about",
    **dict.fromkeys(("status", "heatmaps", "patient_systems"), "this kind of destination gets no report"),
}
"""Why a key that one kind of destination has is none of another."""


def explain(error: ErrorDetails, draft: Draft, file: Path | None) -> Problem:
    """What is wrong with one value of the draft."""
    path = _key_path(error)
    key = dotted(path, draft.values)
    if not path:
        return Problem("", str(file or "the settings"), f"{_reason(error)}.")
    sections = _sections_with(path, draft)
    origin = draft.origin(path)
    place = f"{file or 'not set'}" if origin.kind is OriginKind.DEFAULT else str(origin)
    if error["type"] == "extra_forbidden":
        if path[0] == "destinations" and len(path) == 3 and path[2] in _MISPLACED:
            return Problem(key, place, f"there is no such setting here: {_MISPLACED[str(path[2])]}.")
        return Problem(key, place, "there is no such setting" + _suggestion(path, sections))
    fields = [section.model_fields[name] for section in sections if (name := str(path[-1])) in section.model_fields]
    allowed = (fields[0].description or "") if fields else ""
    if error["type"] in {"missing", "union_tag_not_found"}:
        return Problem(key, place, "must be set.", allowed)
    value = draft.values.get(path) if isinstance(error["input"], dict) else error["input"]
    repeatable = path[-1] not in _NEVER_REPEATED and isinstance(value, str | int | float)
    repeated = f"{value!r:.{_LONGEST_REPEATED}} " if repeatable else ""
    return Problem(key, place, f"{repeated}{_reason(error)}.", allowed)


def _key_path(error: ErrorDetails) -> KeyPath:
    """The path of the key: without the tag that the model puts after a destination, or the number in a list."""
    path = error["loc"]
    if path[:1] == ("destinations",) and len(path) > 2 and path[2] in _KINDS:
        path = path[:2] + path[3:]
    if error["type"].startswith("union_tag"):
        path = (*path, "kind")
    if len(path) > 2 and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "union_tag_invalid":
        return "is no kind of destination"
    return error["msg"].replace("Input should", "should")


def _sections_with(path: KeyPath, draft: Draft) -> list[type[Section]]:
    """The models that can hold the last key of the path; of a destination, that of its kind alone if it has one."""
    sections: list[type[Section]] = [Settings]
    for part in path[:-1]:
        if isinstance(part, str):
            inner = [inner for section in sections for inner in sections_of(section, part)]
            sections = inner or sections  # the name of a table leads no further
        elif (kind := draft.values.get((*path[:2], "kind"))) in _KINDS:
            sections = [_KINDS[kind]]
    return sections


def _suggestion(path: KeyPath, sections: list[type[Section]]) -> str:
    known = sorted({name for section in sections for name in section.model_fields})
    if close := difflib.get_close_matches(str(path[-1]), known, n=1):
        return f"; did you mean `{close[0]}`?"
    return f". Known here: {', '.join(known)}." if known else "."
