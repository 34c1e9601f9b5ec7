"""Every sentence that a reader of a report sees, apart from the code that puts a report together.

A second language is a second `Wording`. A sentence states no more than the program knows and never a patient's data.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a report's conclusion: a title of a few words and what it means."""

    title: str
    body: str

    def __str__(self) -> str:
        return f"{self.title}: {self.body}"


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences in one language; `language` is a BCP 47 tag. Braces are filled in by `str.format`."""

    language: str
    report: str
    revision: str
    unreviewed: Statement
    research: Statement
    sample: Statement
    incomplete: Statement
    not_analysed: Statement
    findings: Statement
    images_left_out: Statement
    images_not_taken: Statement
    withdrawn: Statement
    withdrawn_finding: str
    heatmap: str
    heatmap_limits: Statement
    withdrawn_heatmap: str
    detected: str
    not_detected: str
    finding: str
    finding_images: str
    finding_series: str
    finding_measured: str
    amount: str
    series: str
    unnumbered_series: str
    measure: str
    finding_header: str
    verdict_header: str
    probability_header: str
    threshold_header: str
    images_header: str
    series_header: str
    amount_header: str
    weights: str
    intended_use: str
    algorithm: str


ENGLISH = Wording(
    language="en",
    report="AI report",
    revision="Revision {number}",
    unreviewed=Statement(
        "Unreviewed AI result",
        "An algorithm made this report. No person has reviewed it, and it must not be the only ground for a decision.",
    ),
    research=Statement("Research model", "This model is meant for research and is not approved for diagnosis."),
    sample=Statement(
        "Sample model",
        "This model shows how the program works and is not for use on any image of a person: disregard its result.",
    ),
    incomplete=Statement(
        "Incomplete study",
        "The study was closed by a limit, not because it was known to be complete; more images may exist.",
    ),
    not_analysed=Statement("Not analysable", "The algorithm gave no answer about this study. {reasons}"),
    findings=Statement("Result", "{verdicts}."),
    images_left_out=Statement("Images left out", "{count} of {total} could not be analysed. {reasons}"),
    images_not_taken=Statement(
        "Images not looked at", "{count} of {total} received are of a kind that the algorithm does not take."
    ),
    withdrawn=Statement("Withdrawn", "This report was sent in error. Disregard it."),
    withdrawn_finding="Withdrawn: this finding is no longer part of the report.",
    heatmap="Heatmap: what raised the score of {label}",
    heatmap_limits=Statement("Heatmap", "It shows what raised the model's score, not where a disease is."),
    withdrawn_heatmap="Withdrawn: this picture is no longer part of the report.",
    detected="detected",
    not_detected="not detected",
    finding="{label}: {verdict} (probability {probability}, threshold {threshold})",
    finding_images="{finding}, on {reaching} of {analysed} images",
    finding_series="{finding}, in {reaching} of {analysed} series",
    finding_measured="{finding}: {amounts}",
    amount="{value} {unit} in {series}",
    series="series {number} ({slices} slices)",
    unnumbered_series="a series of {slices} slices",
    measure="{label}: {measure} in {series}",
    finding_header="Finding",
    verdict_header="Algorithm's verdict",
    probability_header="Probability",
    threshold_header="Threshold",
    images_header="Images at or above threshold",
    series_header="Series at or above threshold",
    amount_header="Amount",
    weights="SHA-256 of the weights",
    intended_use="Intended use: {text}",
    algorithm="Image analysis algorithm",
)
