"""From what a model said about each image to what a report says about the study: one line for each coded finding.

A report names no image: the UIDs that a pipeline knows are pseudonymous and would tie the two worlds together (DESIGN
§2.3).
"""

from dataclasses import dataclass
from math import inf

from adapters.fhir.codes import MEASURES
from adapters.fhir.errors import ReportError
from pipelines.results import Coding, Finding, InstanceOutcome, Quantity, StudyResult


@dataclass(frozen=True, slots=True)
class Measured:
    """How much of a finding there is in one volume, and which series of the study that is, by its number and size."""

    quantity: Quantity
    series_number: int | None
    slices: int


@dataclass(frozen=True, slots=True)
class StudyFinding:
    """One coded finding over all analysed images. `probability` is the highest; `threshold` is the same for all.

    Both lie in [0, 1]. `reaching` of `analysed` images have a probability at or above the threshold. A finding that was
    measured has one of `measured` for each image, which is then a volume: of the same lesion, perhaps, so nothing here
    is ever added up.
    """

    label: str
    coding: Coding
    probability: float
    threshold: float
    reaching: int
    analysed: int
    measured: tuple[Measured, ...] = ()

    @property
    def detected(self) -> bool:
        """Whether any image reaches the threshold."""
        return self.reaching > 0


def study_findings(result: StudyResult) -> list[StudyFinding]:
    """The findings of a study in the model's order. Raises `ReportError` where the model contradicts itself."""
    by_code: dict[tuple[str, str], list[tuple[Finding, InstanceOutcome]]] = {}
    for outcome in result.outcomes:
        for finding in outcome.findings:
            by_code.setdefault((finding.coding.system, finding.coding.code), []).append((finding, outcome))
    return [_over_images(found) for found in by_code.values()]


def reasons_not_analysed(result: StudyResult) -> list[str]:
    """Each reason why an image was not analysed, once, in alphabetical order."""
    return sorted({outcome.not_analysable for outcome in result.outcomes if outcome.not_analysable})


def _over_images(found: list[tuple[Finding, InstanceOutcome]]) -> StudyFinding:
    findings = [finding for finding, _ in found]
    first = findings[0]
    if any(not 0.0 <= value <= 1.0 for f in findings for value in (f.probability, f.threshold)):  # NaN fails, too
        raise ReportError(f"the model's output {first.coding.code} lies outside 0 to 1; check the model package")
    if len({finding.threshold for finding in findings}) > 1:
        raise ReportError(f"the model's output {first.coding.code} has several thresholds; check the model package")
    amounts = [finding.measured for finding in findings if finding.measured is not None]
    if any(amount.unit not in MEASURES or not 0.0 <= amount.value < inf for amount in amounts):
        raise ReportError(f"what was measured of {first.coding.code} is no amount in a known unit; reprocess the study")
    return StudyFinding(
        label=first.label,
        coding=first.coding,
        probability=max(finding.probability for finding in findings),
        threshold=first.threshold,
        reaching=sum(finding.present for finding in findings),
        analysed=len(findings),
        measured=tuple(
            Measured(finding.measured, outcome.series_number, outcome.instances)
            for finding, outcome in found
            if finding.measured is not None
        ),
    )
