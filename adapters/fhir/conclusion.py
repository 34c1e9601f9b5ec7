"""What a report says in words: its warnings, its conclusion and the table of findings."""

import math
from decimal import Decimal

from adapters.fhir.findings import StudyFinding, reasons_not_analysed
from adapters.fhir.narrative import clean
from adapters.fhir.wording import Statement, Wording
from pipelines.results import StudyResult


def warnings(result: StudyResult, words: Wording) -> list[Statement]:
    """What every reader must know before the findings."""
    said = [words.unreviewed]
    if result.model.research_only:
        said.append(words.research)
    if result.forced:
        said.append(words.incomplete)
    return said


def conclusions(result: StudyResult, findings: list[StudyFinding], words: Wording) -> list[Statement]:
    """What the algorithm concluded about the study, and what it could not look at."""
    reasons = " ".join(_as_sentence(clean(reason)) for reason in reasons_not_analysed(result))
    if not findings:
        return [_filled(words.not_analysed, reasons=reasons)]
    said = [_filled(words.findings, verdicts="; ".join(sentence(finding, words) for finding in findings))]
    if reasons:
        count = sum(outcome.not_analysable is not None for outcome in result.outcomes)
        said.append(_filled(words.images_left_out, count=count, total=len(result.outcomes), reasons=reasons))
    if (not_taken := result.received_instances - len(result.outcomes)) > 0:
        said.append(_filled(words.images_not_taken, count=not_taken, total=result.received_instances))
    return said


def _as_sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _filled(statement: Statement, **values: object) -> Statement:
    return Statement(statement.title, statement.body.format(**values).strip())


def heading(revision: int, words: Wording) -> str:
    """The first line of a report."""
    return f"{words.report}. {words.revision.format(number=revision)}"


def verdict(finding: StudyFinding, words: Wording) -> str:
    """Detected or not."""
    return words.detected if finding.detected else words.not_detected


def sentence(finding: StudyFinding, words: Wording) -> str:
    """One finding in one sentence."""
    said = words.finding.format(
        label=clean(finding.label),
        verdict=verdict(finding, words),
        probability=percent(finding.probability),
        threshold=percent(finding.threshold),
    )
    if finding.analysed == 1:
        return said
    return words.finding_images.format(finding=said, reaching=finding.reaching, analysed=finding.analysed)


def table(findings: list[StudyFinding], words: Wording) -> list[list[str]]:
    """The findings in rows, the first of them the header; no rows where there are none."""
    if not findings:
        return []
    header = [words.finding_header, words.verdict_header, words.probability_header, words.threshold_header]
    return [
        [*header, words.images_header],
        *(
            [f.label, verdict(f, words), percent(f.probability), percent(f.threshold), f"{f.reaching} / {f.analysed}"]
            for f in findings
        ),
    ]


def percent(ratio: float) -> str:
    """A ratio in [0, 1] for a reader, rounded down: what lies below a threshold is never shown as reaching it."""
    return f"{math.floor(Decimal(repr(ratio)) * 1000) / 10:.1f} %"
