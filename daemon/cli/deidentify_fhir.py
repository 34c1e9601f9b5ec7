"""De-identifies FHIR R4 files for `kopru deidentify`, or says what would be done to their elements. Shows no value."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from anonymize import PatientPseudonym
from anonymize.fhir import (
    SAFE_HARBOR,
    DeidentifiedResource,
    FhirRules,
    ResourceQuarantine,
    ResourceReason,
    deidentify_resource,
    load_microsoft_configuration,
    load_rules,
)
from daemon.cli.fhir_files import NotFhir, Resource, clean_file, read_resources
from daemon.cli.fhir_subjects import Subjects

Row = dict[str, Any]
"""What the command says of one file, or of one line of it."""

EXPLAINED: Final = PatientPseudonym("EXPLAINED", bytes(32), 1)
"""Stands for every patient where no value is shown."""


def read_rules(path: Path | None) -> FhirRules:
    """Read a file of rules: a configuration of Microsoft's anonymizer if it is JSON, else TOML; Safe Harbor without.

    Raises `InvalidRules`, `OSError`, `UnicodeDecodeError`.
    """
    if path is None:
        return SAFE_HARBOR
    text = path.read_text("utf-8-sig")
    load = load_microsoft_configuration if text.lstrip().startswith("{") else load_rules
    return load(text, path.name)


@dataclass(frozen=True, slots=True)
class FhirRecipe:
    """How FHIR files are de-identified: by which rules, and how it is told whose each resource is."""

    rules: FhirRules
    subjects: Subjects

    def learn(self, paths: Iterable[Path]) -> None:
        """Learn the patients of all files, which resources of other files refer to."""
        for path in paths:
            try:
                for _, resource in read_resources(path):
                    if not isinstance(resource, NotFhir):
                        self.subjects.learn(resource)
            except (NotFhir, OSError):
                continue  # said where the file is read for its own sake

    def write(self, path: Path, out: Path, pseudonym_of: Callable[[str], PatientPseudonym]) -> list[Row]:
        """De-identify one file, each resource under the pseudonym of its patient's scope (see `Subjects`).

        Gives a row for the file, and one for each resource of it that is not in the output.
        """
        rows: list[Row] = []
        suffix = ".json"
        with clean_file(out) as file:
            for line, result in self._results(path, pseudonym_of):
                suffix = ".json" if line is None else ".ndjson"
                if isinstance(result, DeidentifiedResource):
                    file.add(result.resource)
                else:
                    rows.append(result | {"output": None})
            target = file.finish(suffix)
        if target is not None:
            rows.insert(0, {"file": str(path), "outcome": "deidentified", "reason": None, "output": str(target)})
        return rows

    def explain(self, path: Path) -> list[Row]:
        """Say for each resource of a file what would be done to each of its elements."""
        rows: list[Row] = []
        for line, result in self._results(path, lambda _scope: EXPLAINED):
            if isinstance(result, DeidentifiedResource):
                elements = [
                    {"element": made.path, "name": "", "action": made.method.value, "rule": made.rule}
                    for made in result.trail
                ]
                rows.append(
                    {"file": _place(path, line), "outcome": "deidentified", "reason": None, "elements": elements}
                )
            else:
                rows.append(result | {"elements": []})
        return rows

    def _results(
        self, path: Path, pseudonym_of: Callable[[str], PatientPseudonym]
    ) -> Iterator[tuple[int | None, DeidentifiedResource | Row]]:
        """What becomes of each resource of a file: its clean form, or a row that says why there is none."""
        try:
            for line, resource in read_resources(path):
                yield line, self._result(_place(path, line), resource, pseudonym_of)
        except (NotFhir, OSError) as error:
            yield None, _unreadable(str(path), error)

    def _result(
        self, place: str, resource: Resource | NotFhir, pseudonym_of: Callable[[str], PatientPseudonym]
    ) -> DeidentifiedResource | Row:
        if isinstance(resource, NotFhir):
            return _unreadable(place, resource)
        try:
            patient = pseudonym_of(self.subjects.scope_of(resource))
            return deidentify_resource(resource, patient, self.rules, as_of=datetime.now(UTC).date())
        except ResourceQuarantine as error:
            return {"file": place, "outcome": "quarantined", "reason": f"{error.reason.value} at {error.path}"}
        except RecursionError:
            return {"file": place, "outcome": "quarantined", "reason": ResourceReason.TOO_DEEP.value}


def _place(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}:{line}"


def _unreadable(place: str, error: NotFhir | OSError) -> Row:
    reason = str(error) if isinstance(error, NotFhir) else error.strerror
    return {"file": place, "outcome": "unreadable", "reason": reason}
