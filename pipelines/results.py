"""What a pipeline concludes about a study: coded findings, or a reason why there is none. Knows no patient, no FHIR.

These values are stored sealed as JSON (`to_json`/`from_json`) and turned into a DiagnosticReport by `adapters.fhir`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

MANUFACTURER: Final = "kopru"
"""Manufacturer (0008,0070) of every instance that is made of a result."""


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

    @property
    def sample(self) -> bool:
        """Whether it only shows how something works: packages of this project whose names say so."""
        return self.name.endswith("-sample")


@dataclass(frozen=True, slots=True)
class Quantity:
    """What was measured; `unit` is a code of UCUM (``mL``)."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One model output for one concept. `probability` and `threshold` lie in [0, 1].

    `measured` is how much of it there is, by the model's own outline.
    """

    label: str
    coding: Coding
    probability: float
    threshold: float
    measured: Quantity | None = None

    @property
    def present(self) -> bool:
        """Whether the probability reaches the operating threshold of the package."""
        return self.probability >= self.threshold


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """What was concluded from one instance, named by its mapped (de-identified) SOP Instance UID.

    A volume is named by its first slice; `slices` is how many it has, `series_number` which series of its study it is.
    Either `findings` holds the model's outputs or `not_analysable` says, in words without data, why there are none.
    `input_sha256` is the digest of the tensor the model saw, so that the answer can be reproduced, `output_sha256` that
    of all its outputs.
    """

    sop_instance_uid: str
    findings: tuple[Finding, ...] = ()
    not_analysable: str | None = None
    input_sha256: str | None = None
    output_sha256: str | None = None
    slices: int | None = None
    series_number: int | None = None

    @property
    def instances(self) -> int:
        """How many instances it is about."""
        return 1 if self.slices is None else self.slices


@dataclass(frozen=True, slots=True)
class Explanation:
    """A picture of what spoke for one finding of one instance (`pipelines.heatmap`), and where it lies sealed.

    `picture` is an object's reference, `picture_sha256` the digest of its PNG of `rows` by `columns` pixels: so who
    signs the result vouches for the picture, too.
    """

    sop_instance_uid: str
    label: str
    rows: int
    columns: int
    picture: str
    picture_sha256: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A DICOM Segmentation of what was found in one volume (`pipelines.segmentation`), and where it lies sealed.

    `sop_instance_uid` names the volume as its outcome does. `segmentation` is an object's reference,
    `segmentation_sha256` the digest of its file.
    """

    sop_instance_uid: str
    segmentation: str
    segmentation_sha256: str


@dataclass(frozen=True, slots=True)
class Attestation:
    """Who vouches for a result, and since when: an Ed25519 signature over `StudyResult.statement`.

    `at` is RFC 3339 in UTC, `key` the SHA-256 of the public key in hex, `signature` base64.
    """

    at: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The answer of one pipeline about one revision of a study."""

    pipeline: str
    model: ModelIdentity
    outcomes: tuple[InstanceOutcome, ...]
    received_instances: int
    forced: bool  # the study was closed by a limit; more instances may exist
    attestation: Attestation | None = None
    explanations: tuple[Explanation, ...] = ()
    outlines: tuple[Outline, ...] = ()

    @property
    def analysable(self) -> bool:
        """Whether the model gave an answer about at least one instance."""
        return any(outcome.findings for outcome in self.outcomes)

    def to_json(self) -> bytes:
        """The canonical JSON form: UTF-8, sorted keys, no spaces, nothing for None, no explanations, no outlines: so a
        result that was signed before a field came to be stays what was signed.
        """
        fields = asdict(self, dict_factory=_without_nothing)
        for field in ("explanations", "outlines"):
            if not fields[field]:
                del fields[field]
        return _canonical(fields)

    def statement(self, at: str) -> bytes:
        """What is signed at that moment: model, inputs and outputs by their digests, and all that was concluded."""
        concluded = replace(self, attestation=None).to_json()
        return _canonical(
            {
                "purpose": "kopru result 1",  # so that no signature made for something else is one of a result
                "at": at,
                "model": self.model.name,
                "version": self.model.version,
                "weights_sha256": self.model.weights_sha256,
                "inputs_sha256": [outcome.input_sha256 for outcome in self.outcomes],
                "outputs_sha256": [outcome.output_sha256 for outcome in self.outcomes],
                "result_sha256": hashlib.sha256(concluded).hexdigest(),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "StudyResult":
        """Read what `to_json` wrote, also before results were signed, explained or measured."""
        raw = json.loads(data)
        outcomes = tuple(
            InstanceOutcome(
                sop_instance_uid=o["sop_instance_uid"],
                findings=tuple(_finding(f) for f in o["findings"]),
                not_analysable=o.get("not_analysable"),
                input_sha256=o.get("input_sha256"),
                output_sha256=o.get("output_sha256"),
                slices=o.get("slices"),
                series_number=o.get("series_number"),
            )
            for o in raw["outcomes"]
        )
        return cls(
            pipeline=raw["pipeline"],
            model=ModelIdentity(**raw["model"]),
            outcomes=outcomes,
            received_instances=raw["received_instances"],
            forced=raw["forced"],
            attestation=Attestation(**raw["attestation"]) if raw.get("attestation") else None,
            explanations=tuple(Explanation(**e) for e in raw.get("explanations", ())),
            outlines=tuple(Outline(**o) for o in raw.get("outlines", ())),
        )


def _finding(raw: dict[str, Any]) -> Finding:
    measured = Quantity(**raw["measured"]) if "measured" in raw else None
    return Finding(raw["label"], Coding(**raw["coding"]), raw["probability"], raw["threshold"], measured)


def _without_nothing(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
