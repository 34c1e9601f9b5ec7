"""`kopru infer` for a pipeline that looks at whole series: one JSON object for each series, and its outlines as a file.

The files are de-identified in memory, one at a time, and of each is kept what the pipeline read of it. Only UIDs stay
as they are where outlines are asked for: a DICOM Segmentation must name the very slices that it is laid over.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from anonymize import MalformedDataSet, Option, PatientPseudonym, Policy, Quarantine, deidentify, read_header
from daemon.cli.fhir_subjects import patient_scope
from daemon.cli.files import NotDicom, read_instance
from pipelines.errors import InvalidOutput
from pipelines.pipeline import NotAnalysable, Part, Pipeline, PreparedInput, Technical
from pipelines.results import Finding, ModelIdentity
from pipelines.segmentation import Segment, as_instance, make_segmentation
from pipelines.series import Volume
from runtime import ModelPackage, Runtime, RuntimeFailure

_TIMEOUT_SECONDS: Final = 60.0


@dataclass
class _Series:
    """What was read of the files of one series; `spoilt` says why it cannot be looked at."""

    first: Path
    patient: str = field(repr=False)
    parts: list[Part] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)  # by the SOP Instance UID that the part has
    spoilt: str | None = None


def answers_about_series(
    files: list[Path], package: ModelPackage, pipeline: Pipeline, runtime: Runtime, seg: Path | None
) -> Iterator[dict[str, Any]]:
    """What is printed: of files that are no slices why not, then of each series the answer, or why there is none."""
    about = {"model": package.name, "version": package.version}
    asked = _Asked(package, pipeline, runtime, seg)
    for path in files:
        if refused := asked.read(path):
            yield {"file": str(path)} | about | refused
    for series in asked.found.values():
        for item in asked.prepared(series):
            yield {"file": str(series.paths.get(item.sop_instance_uid, series.first))} | about | asked.answer(item)


class _Asked:
    """A model that is asked about the series of some files; `found` are those read so far, by their UIDs."""

    def __init__(self, package: ModelPackage, pipeline: Pipeline, runtime: Runtime, seg: Path | None) -> None:
        self._package, self._pipeline, self._runtime = package, pipeline, runtime
        self._patient = PatientPseudonym("KP-INFER", os.urandom(32), 30)
        self._policy = Policy(frozenset({Option.RETAIN_UIDS}) if seg else frozenset())
        self._seg, self._written = seg, 0
        self.found: dict[str, _Series] = {}

    def read(self, path: Path) -> dict[str, str] | None:
        """Put what is read of a file to its series, or say why it belongs to none."""
        try:
            received = read_instance(path)
            header = read_header(received.data_set, received.transfer_syntax_uid)
        except (NotDicom, OSError) as error:
            return {"error": f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"}
        except MalformedDataSet:
            return {"not_analysable": "the data set cannot be read"}
        selection = self._pipeline.select(Technical.of_header(header))
        if not selection.selected:
            return {"not_analysable": selection.reason}
        patient = patient_scope(header.issuer_of_patient_id, header.patient_id)
        series = self.found.setdefault(header.series_instance_uid, _Series(path, patient))
        if series.patient != patient:
            series.spoilt = "the files of the series are of different patients"
            return None
        try:
            clean = deidentify(received, self._patient, self._policy).instance
        except Quarantine as error:
            series.spoilt = f"a file of the series cannot be proven clean: {error.reason.value}"
        except MalformedDataSet:
            series.spoilt = "a file of the series cannot be read"
        else:
            series.paths[clean.sop_instance_uid] = path
            series.parts.append(self._pipeline.read(clean, self._package))
        return None

    def prepared(self, series: _Series) -> tuple[PreparedInput | NotAnalysable, ...]:
        """The model's inputs; a series that lacks a file is none, wherever the file would lie."""
        if series.spoilt is not None:
            return (NotAnalysable("", series.spoilt),)
        return self._pipeline.combine(series.parts, self._package)

    def answer(self, item: PreparedInput | NotAnalysable) -> dict[str, Any]:
        """What is said of a volume, or why nothing."""
        if isinstance(item, NotAnalysable) or item.volume is None:
            return {"not_analysable": item.reason if isinstance(item, NotAnalysable) else "it is no volume"}
        said: dict[str, Any] = {"slices": len(item.volume.slices), "series_number": item.volume.series_number}
        inputs = {self._package.inputs[0].name: item.tensor[np.newaxis]}
        try:
            answer = self._runtime.infer(self._package.name, inputs, timeout_seconds=_TIMEOUT_SECONDS)
            if refused := [verdict.sentence for verdict in answer.gate if not verdict.fits]:
                return said | {"not_analysable": refused[0]}
            output = answer.outputs[self._package.outputs[0].name][0]
            outputs = {item.sop_instance_uid: output}
            result = self._pipeline.conclude((item,), outputs, self._package, received_instances=1, forced=False)
        except (RuntimeFailure, InvalidOutput) as error:
            return said | {"error": f"{type(error).__name__}: {error}"}
        said |= _told(result.outcomes[0].findings)
        return said | self._outlined(item.volume, self._pipeline.segments(output), result.model)

    def _outlined(self, volume: Volume, segments: Sequence[Segment], model: ModelIdentity) -> dict[str, str]:
        """Write the outlines, if they are wanted and there are any, to a new file."""
        if self._seg is None or not segments:
            return {}
        self._written += 1
        path = self._seg if self._written == 1 else self._seg.with_stem(f"{self._seg.stem}-{self._written}")
        made = as_instance(make_segmentation(volume, segments, model, self._patient))
        try:
            with path.open("xb") as file:
                file.writelines(made.pieces)
        except OSError as error:
            return {"error": f"{path}: the segmentation cannot be written: {error.strerror}"}
        return {"segmentation": str(path)}


def _told(findings: Sequence[Finding]) -> dict[str, Any]:
    measured = {finding.label: finding.measured.value for finding in findings if finding.measured is not None}
    return {
        "probabilities": {finding.label: finding.probability for finding in findings},
        "millilitres": measured,
    }
