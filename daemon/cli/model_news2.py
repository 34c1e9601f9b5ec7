"""`kopru models news2`: the early-warning score of one patient from vital signs in FHIR files, without a daemon.

Says which value it used and which is missing and why; nothing is stored and nothing reported. Of several patients, of
one who is a child, or of nobody who is named, there is no score.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

import typer

from adapters.fhir.vital_signs import read_vital_signs
from daemon.cli.fhir_files import NotFhir, read_resources
from daemon.cli.files import walk_files
from daemon.cli.options import FAILED, QUARANTINED_OR_HELD, Json
from daemon.cli.output import fail, print_json, print_table, say
from pipelines.news2 import (
    ADULT_YEARS,
    PACKAGE,
    Measurement,
    OxygenScale,
    Score,
    Sign,
    VitalSigns,
    meaning,
    tensors,
    vital_signs_at,
)
from runtime import RuntimeFailure

app = typer.Typer()

_TIMEOUT_SECONDS: Final = 10.0


@app.command("news2")
def news2(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="FHIR R4 Observations in JSON or NDJSON.", exists=True)],
    oxygen_scale: Annotated[
        int, typer.Option(min=1, max=2, help="The SpO2 scale that a clinician has chosen for this patient.")
    ],
    at: Annotated[
        str | None, typer.Option(help="The moment, as 2026-01-31T12:00:00+01:00; by default that of the newest value.")
    ] = None,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How old a value may be at that moment.")] = 60,
    json: Json = False,
) -> None:
    """Score the vital signs of one adult by NEWS2. Exits with 3 if there is no score, since a sign is missing."""
    from daemon.cli.infer import package_of, runtime_of

    package = package_of(context, PACKAGE)
    found = _Found.of(walk_files(paths))
    moment = _moment(at) if at else max((one.at for one in found.measurements), default=datetime.now(UTC))
    if problem := found.problem(moment):
        fail(problem)
        raise typer.Exit(QUARANTINED_OR_HELD)
    signs = vital_signs_at(found.measurements, moment, timedelta(minutes=minutes))
    try:
        with runtime_of(context, package) as runtime:
            answer = runtime.infer(PACKAGE, tensors(signs, OxygenScale(oxygen_scale)), timeout_seconds=_TIMEOUT_SECONDS)
    except RuntimeFailure as error:
        fail(f"the model cannot be asked: {error}")
        raise typer.Exit(FAILED) from None
    score = meaning(answer.outputs, signs)
    about = {"model": package.name, "version": package.version, "oxygen_scale": oxygen_scale}
    if json:
        print_json(about | _as_json(signs, score))
    else:
        _tell(signs, score)
    if score.score is None:
        raise typer.Exit(QUARANTINED_OR_HELD)


@dataclass
class _Found:
    """What the files say; `subjects` and `born` are identified, and never printed."""

    measurements: list[Measurement] = field(default_factory=list)
    unplaced: set[str] = field(default_factory=set)  # what cannot be put into the order of time, in words
    subjects: set[str | None] = field(default_factory=set, repr=False)
    born: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, files: Iterable[Path]) -> Self:
        """Read all files. Whatever is no FHIR ends the command: half of the vital signs are none."""
        found = cls()
        for path in files:
            try:
                for number, resource in read_resources(path):
                    if isinstance(resource, NotFhir):
                        raise NotFhir(f"line {number}: {resource}")
                    for one in _within(resource):
                        found._take(one)
            except (NotFhir, OSError) as error:
                fail(f"{path}: {error.strerror if isinstance(error, OSError) else error}")
                raise typer.Exit(FAILED) from None
        return found

    def problem(self, at: datetime) -> str:
        """Why there can be no score, in words without data; empty if there can be one."""
        if self.unplaced:
            return f"what is newest cannot be told: {'; '.join(sorted(self.unplaced))}"
        if len(self.subjects) > 1 or len(self.born) > 1:
            return "the vital signs are of several patients; give those of one"
        if None in self.subjects:
            return "the vital signs do not say whose they are (Observation.subject)"
        if any(not _is_adult(born, at.date()) for born in self.born):
            return f"the patient is not known to be {ADULT_YEARS}: NEWS2 is for adults"
        return ""

    def _take(self, resource: Mapping[str, Any]) -> None:
        if resource.get("resourceType") == "Patient" and "birthDate" in resource:
            self.born.add(str(resource["birthDate"]))
        for said in read_vital_signs(resource):
            self.subjects.add(_subject(resource))
            if isinstance(said, str):
                self.unplaced.add(said)
            else:
                self.measurements.append(said)


def _within(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    entries = resource.get("entry") if resource["resourceType"] == "Bundle" else [{"resource": resource}]
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("resource"), Mapping):
            yield entry["resource"]


def _subject(observation: Mapping[str, Any]) -> str | None:
    """What names the subject; the same patient named in two ways counts as two."""
    subject = observation.get("subject")
    if not isinstance(subject, Mapping):
        return None
    identifier = subject.get("identifier")
    if isinstance(subject.get("reference"), str):
        return str(subject["reference"])
    if isinstance(identifier, Mapping) and identifier.get("value"):
        return f"{identifier.get('system')}\0{identifier['value']}"
    return None


def _is_adult(born: str, at: date) -> bool:
    """Of a birth date of which only year or month is known, the latest day counts."""
    try:
        if len(born) == len("YYYY"):
            born = f"{born}-12"
        if len(born) == len("YYYY-MM"):
            born = f"{born}-{monthrange(int(born[:4]), int(born[5:]))[1]}"
        latest = date.fromisoformat(born)
    except ValueError:
        return False
    return (at.year - latest.year) - ((at.month, at.day) < (latest.month, latest.day)) >= ADULT_YEARS


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("is no time, as 2026-01-31T12:00:00+01:00", param_hint="--at") from None
    if moment.utcoffset() is None:
        raise typer.BadParameter("needs an offset from UTC, as +01:00 or Z", param_hint="--at")
    return moment


def _as_json(signs: VitalSigns, score: Score) -> dict[str, Any]:
    used = {sign: {"value": one.value, "at": one.at.isoformat()} for sign, one in signs.known.items()}
    return {
        "at": signs.at.isoformat(),
        "score": score.score,
        "risk": score.risk,
        "points": dict(score.points),
        "used": used,
        "missing": dict(score.missing),
    }


def _tell(signs: VitalSigns, score: Score) -> None:
    if score.score is None:
        say(("no score: a vital sign is missing", "bold yellow"))
    else:
        say((f"NEWS2 {score.score}", "bold"), f"  risk {(score.risk or '').replace('_', '-')}")
    rows = [
        {
            "sign": sign.replace("_", " "),
            "value": "" if sign not in signs.known else f"{signs.known[sign].value:g}",
            "points": score.points.get(sign),
            "reason": score.missing.get(sign, ""),
        }
        for sign in Sign
    ]
    print_table(rows, ("sign", "value", "points", "reason"))
