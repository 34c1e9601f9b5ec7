"""From what a model said about each image to what a report says about the study: one line for each coded finding.

A report names no image: the UIDs that a pipeline knows are pseudonymous and would tie the two worlds together (DESIGN
§2.3).
"""

from dataclasses import dataclass

from adapters.fhir.errors import ReportError
from pipelines.results import Coding, Finding, StudyResult


@dataclass(frozen=True, slots=True)
class StudyFinding:
    """One coded finding over all analysed images. `probability` is the highest; `threshold` is the same for all.

    Both lie in [0, 1]. `reaching` of `analysed` images have a probability at or above the threshold.
    """

    label: str
    coding: Coding
    probability: float
    threshold: float
    reaching: int
    analysed: int

    @property
    def detected(self) -> bool:
        """Whether any image reaches the threshold."""
        return self.reaching > 0


def study_findings(result: StudyResult) -> list[StudyFinding]:
    """The findings of a study in the model's order. Raises `ReportError` where the model contradicts itself."""
    by_code: dict[tuple[str, str], list[Finding]] = {}
    for outcome in result.outcomes:
        for finding in outcome.findings:
            by_code.setdefault((finding.coding.system, finding.coding.code), []).append(finding)
    return [_over_images(findings) for findings in by_code.values()]


def reasons_not_analysed(result: StudyResult) -> list[str]:
    """Each reason why an image was not analysed, once, in alphabetical order."""
    return sorted({outcome.not_analysable for outcome in result.outcomes if outcome.not_analysable})


def _over_images(findings: list[Finding]) -> StudyFinding:
    first = findings[0]
    if any(not 0.0 <= value <= 1.0 for f in findings for value in (f.probability, f.threshold)):  # NaN fails, too
        raise ReportError(f"the model's output {first.coding.code} lies outside 0 to 1; check the model package")
    if len({finding.threshold for finding in findings}) > 1:
        raise ReportError(f"the model's output {first.coding.code} has several thresholds; check the model package")
    return StudyFinding(
        label=first.label,
        coding=first.coding,
        probability=max(finding.probability for finding in findings),
        threshold=first.threshold,
        reaching=sum(finding.present for finding in findings),
        analysed=len(findings),
    )
