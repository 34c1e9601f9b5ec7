"""The figures of an experiment: what control and challenger answered, how sure and fast they were, what people found.

The unit is the study, by its newest revision that was answered, since images of one study are alike. In an A/B
experiment the arms are different studies; in a shadow one both answered about the same revision, so they are compared
as pairs.
Of an instance that was asked about more than once the last answer counts, and a study of which the gate refused every
instance was not analysed: what it does not show is no finding. Answers that cannot be opened any more (the patient's
key was erased) are left out and counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Final

import sqlalchemy as sa

from adapters.keys import KeyStore, KeyStoreError
from daemon.database import schema as t
from daemon.registry.experiments import Experiment, ExperimentKind
from daemon.registry.log import open_answer
from daemon.registry.signing_off import SignOff
from runtime.statistics import (
    Difference,
    Mean,
    Proportion,
    compare_means,
    compare_paired_means,
    compare_paired_proportions,
    compare_proportions,
)

_SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, slots=True)
class Answered:
    """What one version said of a study: the labels that are present in any instance, None where none was analysed; the
    mean of its confidences (the highest score of an instance) and latencies. `failed` where it failed on an instance.
    """

    study_id: str
    present: frozenset[str] | None
    confidence: float | None
    latency_ms: float | None
    failed: bool
    sign_off: SignOff | None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of both arms. `clear`: the difference is unlikely to be chance even with this many figures looked at
    (Bonferroni); it does not make up for looking at many times.
    """

    name: str
    control: Proportion | Mean
    challenger: Proportion | Mean
    difference: Difference
    clear: bool = False

    def as_json(self) -> dict[str, Any]:
        """Numbers only; what is not known is None."""
        return {
            "measure": self.name,
            "control": _figure(self.control),
            "challenger": _figure(self.challenger),
            "difference": {
                "value": _known(self.difference.value),
                "low": _known(self.difference.interval[0]),
                "high": _known(self.difference.interval[1]),
                "p_value": _known(self.difference.p_value),
                "test": self.difference.test,
            },
            "clear": self.clear,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures. `agreement` is of a shadow: the share of studies in which both found the same labels."""

    measures: tuple[Measure, ...]
    agreement: Proportion | None
    studies: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0


def compare(connection: sa.Connection, keys: KeyStore, experiment: Experiment) -> Comparison:
    """The figures as they are now."""
    opened, left_out = _opened(keys, _newest_answers(connection, experiment))
    control = _by_study(row for row in opened if row[0].version_id == experiment.control_id)
    challenger = _by_study(row for row in opened if row[0].version_id == experiment.challenger_id)
    if experiment.kind is ExperimentKind.SHADOW:
        both = sorted(control.keys() & challenger.keys())
        return _paired([control[s] for s in both], [challenger[s] for s in both], left_out)
    arms = (list(control.values()), list(challenger.values()))
    measures = _independent(*arms)
    return Comparison(_judged(measures), None, {"control": len(arms[0]), "challenger": len(arms[1])}, left_out)


def _independent(control: Sequence[Answered], challenger: Sequence[Answered]) -> list[Measure]:
    def share(name: str, hit: Callable[[Answered], bool | None]) -> Measure:
        first, second = (_proportion(hit, arm) for arm in (control, challenger))
        return Measure(name, first, second, compare_proportions(first, second))

    def mean(name: str, number: Callable[[Answered], float | None]) -> Measure:
        first, second = (Mean.of(_numbers(number, arm)) for arm in (control, challenger))
        return Measure(name, first, second, compare_means(first, second))

    return [
        *(share(f"present: {label}", _finds(label)) for label in _labels([*control, *challenger])),
        share("signed off as right", _right),
        share("not analysable", _refused),
        share("failed", _failed),
        mean("confidence", _confidence),
        mean("latency_ms", _latency),
    ]


def _paired(control: Sequence[Answered], challenger: Sequence[Answered], left_out: int) -> Comparison:
    pairs = list(zip(control, challenger, strict=True))

    def share(name: str, hit: Callable[[Answered], bool | None]) -> Measure:
        told = [(a, b) for x, y in pairs if (a := hit(x)) is not None and (b := hit(y)) is not None]
        first, second = (Proportion(sum(pair[arm] for pair in told), len(told)) for arm in (0, 1))
        only = (sum(a and not b for a, b in told), sum(b and not a for a, b in told))
        return Measure(name, first, second, compare_paired_proportions(*only, len(told)))

    def mean(name: str, number: Callable[[Answered], float | None]) -> Measure:
        told = [(a, b) for x, y in pairs if (a := number(x)) is not None and (b := number(y)) is not None]
        first, second = (Mean.of([pair[arm] for pair in told]) for arm in (0, 1))
        return Measure(name, first, second, compare_paired_means([b - a for a, b in told]))

    answered = [(x, y) for x, y in pairs if x.present is not None and y.present is not None]
    measures = [
        *(share(f"present: {label}", _finds(label)) for label in _labels([*control, *challenger])),
        share("not analysable", _refused),
        share("failed", _failed),
        mean("confidence", _confidence),
        mean("latency_ms", _latency),
    ]
    agreement = Proportion(sum(x.present == y.present for x, y in answered), len(answered))
    return Comparison(_judged(measures), agreement, {"control": len(pairs), "challenger": len(pairs)}, left_out)


def _judged(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    limit = _SIGNIFICANT / len(measures)
    return tuple(
        Measure(m.name, m.control, m.challenger, m.difference, clear=m.difference.p_value < limit) for m in measures
    )


def _finds(label: str) -> Callable[[Answered], bool | None]:
    return lambda answered: None if answered.present is None else label in answered.present


def _right(answered: Answered) -> bool | None:
    return None if answered.sign_off is None else answered.sign_off is SignOff.RIGHT


def _refused(answered: Answered) -> bool | None:
    return None if answered.failed else answered.present is None


def _failed(answered: Answered) -> bool:
    return answered.failed


def _confidence(answered: Answered) -> float | None:
    return answered.confidence


def _latency(answered: Answered) -> float | None:
    return answered.latency_ms


def _proportion(hit: Callable[[Answered], bool | None], arm: Iterable[Answered]) -> Proportion:
    told = [found for answered in arm if (found := hit(answered)) is not None]
    return Proportion(sum(told), len(told))


def _numbers(number: Callable[[Answered], float | None], arm: Iterable[Answered]) -> list[float]:
    return [found for answered in arm if (found := number(answered)) is not None]


def _labels(answers: Iterable[Answered]) -> list[str]:
    return sorted({label for answered in answers for label in answered.present or ()})


def _newest_answers(connection: sa.Connection, experiment: Experiment) -> list[sa.Row[Any]]:
    """The log of the newest revision of each study that was answered; in a shadow experiment, by both versions."""
    query = (
        sa.select(t.inference, t.revision.c.study_id, t.revision.c.number, t.sign_off.c.outcome)
        .join(t.revision, t.revision.c.id == t.inference.c.revision_id)
        .outerjoin(t.sign_off, t.sign_off.c.revision_id == t.revision.c.id)
        .where(t.inference.c.experiment_id == experiment.id)
        .order_by(t.inference.c.at, t.inference.c.id)
    )
    rows = connection.execute(query).all()
    asked: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        asked.setdefault((row.study_id, row.number), set()).add(row.version_id)
    needed = 2 if experiment.kind is ExperimentKind.SHADOW else 1
    newest: dict[str, int] = {}
    for (study, number), versions in asked.items():
        if len(versions) >= needed:
            newest[study] = max(number, newest.get(study, number))
    return [row for row in rows if newest.get(row.study_id) == row.number]


_Answer = tuple[dict[str, float], frozenset[str]]
_Opened = tuple[sa.Row[Any], _Answer | None]
"""A row of the log, and its answer if there is one."""


def _opened(keys: KeyStore, rows: Sequence[sa.Row[Any]]) -> tuple[list[_Opened], int]:
    opened, left_out = [], 0
    for row in rows:
        try:
            answer = open_answer(keys.patient(row.patient_id), row.id, row.sealed_answer) if row.sealed_answer else None
        except KeyStoreError:
            left_out += 1
            continue
        opened.append((row, answer))
    return opened, left_out


def _by_study(rows: Iterable[_Opened]) -> dict[str, Answered]:
    of_study: dict[str, list[_Opened]] = {}
    for row in rows:
        of_study.setdefault(row[0].study_id, []).append(row)
    return {study: _answered(study, _last_of_each(found)) for study, found in of_study.items()}


def _last_of_each(rows: Iterable[_Opened]) -> list[_Opened]:
    """Of rows in the order of time, the last about each instance."""
    return list({row.instance_tag: (row, answer) for row, answer in rows}.values())


def _answered(study: str, rows: Sequence[_Opened]) -> Answered:
    answers = [answer for _, answer in rows if answer is not None]
    confidences = [max(scores.values()) for scores, _ in answers if scores]
    latencies = [row.latency_ms for row, _ in rows if row.latency_ms is not None and not row.cached]
    outcome = rows[0][0].outcome
    failed = any(row.failure is not None for row, _ in rows)
    return Answered(
        study_id=study,
        present=None if failed or not answers else frozenset().union(*(present for _, present in answers)),
        confidence=fmean(confidences) if confidences else None,
        latency_ms=fmean(latencies) if latencies else None,
        failed=failed,
        sign_off=SignOff(outcome) if outcome else None,
    )


def _figure(figure: Proportion | Mean) -> dict[str, Any]:
    low, high = figure.interval
    plain = {name: value for name, value in asdict(figure).items() if name in ("hits", "total", "count")}
    return plain | {"value": _known(figure.value), "low": _known(low), "high": _known(high)}


def _known(number: float) -> float | None:
    return number if number == number else None  # NaN is no JSON
