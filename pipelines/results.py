"""What a pipeline concludes about a study: coded findings, or a reason why there is none. Knows no patient, no FHIR.

These values are stored sealed as JSON (`to_json`/`from_json`) and turned into a DiagnosticReport by `adapters.fhir`.
"""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Coding:
    """A coded concept: `system` is the FHIR URI of the code system (``http://snomed.info/sct`` …)."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Exactly which model spoke. `weights_sha256` is the hex digest of the weights file that ran."""

    name: str
    version: str
    weights_sha256: str
    intended_use: str
    research_only: bool
    licence: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One model output for one concept. `probability` and `threshold` lie in [0, 1]."""

    label: str
    coding: Coding
    probability: float
    threshold: float

    @property
    def present(self) -> bool:
        """Whether the probability reaches the operating threshold of the package."""
        return self.probability >= self.threshold


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """What was concluded from one instance, named by its mapped (de-identified) SOP Instance UID.

    Either `findings` holds the model's outputs or `not_analysable` says, in words without data, why there are none.
    `input_sha256` is the digest of the tensor the model saw, so that the answer can be reproduced.
    """

    sop_instance_uid: str
    findings: tuple[Finding, ...] = ()
    not_analysable: str | None = None
    input_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The answer of one pipeline about one revision of a study."""

    pipeline: str
    model: ModelIdentity
    outcomes: tuple[InstanceOutcome, ...]
    received_instances: int
    forced: bool  # the study was closed by a limit; more instances may exist

    @property
    def analysable(self) -> bool:
        """Whether the model gave an answer about at least one instance."""
        return any(outcome.findings for outcome in self.outcomes)

    def to_json(self) -> bytes:
        """The canonical JSON form: UTF-8, sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StudyResult":
        """Read what `to_json` wrote."""
        raw = json.loads(data)
        outcomes = tuple(
            InstanceOutcome(
                sop_instance_uid=o["sop_instance_uid"],
                findings=tuple(
                    Finding(f["label"], Coding(**f["coding"]), f["probability"], f["threshold"]) for f in o["findings"]
                ),
                not_analysable=o["not_analysable"],
                input_sha256=o["input_sha256"],
            )
            for o in raw["outcomes"]
        )
        return cls(raw["pipeline"], ModelIdentity(**raw["model"]), outcomes, raw["received_instances"], raw["forced"])
