"""What a report says in words: its warnings, its conclusion and the table of findings."""

import math
from decimal import Decimal

from adapters.fhir.findings import Measured, StudyFinding, reasons_not_analysed
from adapters.fhir.narrative import clean
from adapters.fhir.wording import Statement, Wording
from pipelines.results import StudyResult


def warnings(result: StudyResult, words: Wording) -> list[Statement]:
    """What every reader must know before the findings."""
    said = [words.unreviewed]
    if result.model.research_only:
        said.append(words.research)
    if result.model.sample:
        said.append(words.sample)
    if result.forced:
        said.append(words.incomplete)
    return said


def conclusions(result: StudyResult, findings: list[StudyFinding], words: Wording) -> list[Statement]:
    """What the algorithm concluded about the study, and what it could not look at."""
    looked_at = sum(outcome.instances for outcome in result.outcomes)
    reasons = " ".join(_as_sentence(clean(reason)) for reason in reasons_not_analysed(result))
    if not findings:
        return [_filled(words.not_analysed, reasons=reasons)]
    said = [_filled(words.findings, verdicts="; ".join(sentence(finding, words) for finding in findings))]
    if reasons:
        count = sum(outcome.instances for outcome in result.outcomes if outcome.not_analysable is not None)
        said.append(_filled(words.images_left_out, count=count, total=looked_at, reasons=reasons))
    if (not_taken := result.received_instances - looked_at) > 0:
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
    if finding.analysed > 1:
        several = words.finding_series if finding.measured else words.finding_images
        said = several.format(finding=said, reaching=finding.reaching, analysed=finding.analysed)
    if not finding.measured:
        return said
    return words.finding_measured.format(finding=said, amounts=amounts(finding, words))


def amounts(finding: StudyFinding, words: Wording) -> str:
    """How much there is, series by series: several may show the same, so they are never added up."""
    said = (
        words.amount.format(value=rounded(m.quantity.value), unit=m.quantity.unit, series=series(m, words))
        for m in finding.measured
    )
    return ", ".join(said)


def series(measured: Measured, words: Wording) -> str:
    """Which series was measured, in words: by its number, as a person finds it in the PACS."""
    if measured.series_number is None:
        return words.unnumbered_series.format(slices=measured.slices)
    return words.series.format(number=measured.series_number, slices=measured.slices)


def rounded(value: float) -> str:
    """An amount for a reader: what is there never reads as nothing, down to a cubic millimetre of millilitres."""
    return f"{value:.1f}" if value >= 1 or not value else f"{value:.3f}"


def table(findings: list[StudyFinding], words: Wording) -> list[list[str]]:
    """The findings in rows, the first of them the header; no rows where there are none."""
    if not findings:
        return []
    measured = any(finding.measured for finding in findings)
    header = [words.finding_header, words.verdict_header, words.probability_header, words.threshold_header]
    header += [words.series_header, words.amount_header] if measured else [words.images_header]
    rows = [
        [f.label, verdict(f, words), percent(f.probability), percent(f.threshold), f"{f.reaching} / {f.analysed}"]
        for f in findings
    ]
    if measured:
        rows = [[*row, amounts(finding, words)] for row, finding in zip(rows, findings, strict=True)]
    return [header, *rows]


def percent(ratio: float) -> str:
    """A ratio in [0, 1] for a reader, rounded down: what lies below a threshold is never shown as reaching it."""
    return f"{math.floor(Decimal(repr(ratio)) * 1000) / 10:.1f} %"
