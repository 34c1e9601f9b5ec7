"""Runs deterministic scores that are written down as tables, in a `.rules.toml` file: the sum of points for bands.

The file is data: nothing in it is evaluated, and what is unforeseen is refused. A value that is missing or outside
its limits is never replaced: what needs it has no answer.

Inputs are tensors of shape ["batch"], one number a sample. The file (of a made-up score)::

    title = "Example score"
    source = "Where the tables were published"

    [[columns]]                        # what goes in, each a tensor of the package
    name = "pulse"                     # its tensor
    present = "pulse_present"          # the uint8 tensor that is 0 where the value is missing; without it, none may be
    step = 1.0                         # what the bands count in: values are rounded to it, halves upwards
    limits = [10.0, 350.0]             # outside, the value is no pulse

    [[columns]]
    name = "consciousness"
    values = { alert = 0, confused = 1 }   # instead of step and limits: the only values there are

    [[terms]]                          # what is added up
    name = "pulse"
    column = "pulse"
    bands = [{ up_to = 50.0, points = 1 }, { up_to = 100.0, points = 0 }, { points = 2 }]

    [[terms.instead]]                  # other bands where the columns named have the values named; the first that fits
    when = { consciousness = "confused" }
    bands = [{ points = 3 }]

    [[terms]]
    name = "consciousness"
    column = "consciousness"
    points = { alert = 0, confused = 3 }   # instead of bands, for a column with values

    [[classes]]                        # of the total, ascending: the last that fits; the first fits always
    name = "low"

    [[classes]]
    name = "high"
    total_at_least = 5                 # and, or instead, term_at_least: the points of any one term

    [outputs]                          # int32 tensors of the package; -1 where something that is needed is missing
    total = "score"                    # ["batch"]
    class = "risk"                     # ["batch"], the position in [[classes]]
    highest = "highest"                # ["batch"], the most points of one term
    points = "points"                  # ["batch", terms]
    missing = "missing"                # ["batch", columns]: 0 is there, 1 missing, 2 outside its limits
"""

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.errors import PackageError, RouteUnavailable
from runtime.inference import Array, Device
from runtime.package import DType, ModelPackage, Place, Precision, TensorSpec, Variant

NONE: Final = -1
"""The points, total or class of what has none; no table gives negative points."""
THERE, MISSING, OUTSIDE = 0, 1, 2
_MOST_BYTES: Final = 1 << 20
_ALMOST: Final = 1e-4
"""In steps. 36.05 is stored as a little less, in float32 by a millionth; it is a half of a tenth nevertheless."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Points = Annotated[int, Field(ge=0, le=1000)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Column(_Table):
    """One input: a measurement with `step` and `limits`, or one of the named `values`."""

    name: Name
    present: Name | None = None
    step: float | None = Field(default=None, gt=0)
    limits: tuple[float, float] | None = None
    values: dict[Name, int] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        stated = [part is not None for part in (self.step, self.limits, self.values)]
        if stated not in ([True, True, False], [False, False, True]):
            raise ValueError(f"{self.name} has either step and limits, or values")
        if self.limits and not self.limits[0] < self.limits[1]:
            raise ValueError(f"{self.name}: the first of the limits must be the smaller one")
        if self.values and len(set(self.values.values())) != len(self.values):
            raise ValueError(f"{self.name}: two values are the same number")
        return self

    def accepts(self, numbers: Array) -> Array:
        """Which of them the column can have."""
        if self.limits is None:
            return np.isin(numbers, list((self.values or {}).values()))
        return np.asarray((numbers >= self.limits[0]) & (numbers <= self.limits[1]))

    def steps(self, numbers: Array) -> Array:
        """Them as whole steps, int64; 0 for what the column cannot have."""
        known = np.where(self.accepts(numbers), numbers, 0).astype(np.float64)
        return np.floor(known / (self.step or 1.0) + 0.5 + _ALMOST).astype(np.int64)


class Band(_Table):
    """`points` for values up to and with `up_to`; the last band of a list has no end."""

    up_to: float | None = None
    points: Points


Bands = Annotated[tuple[Band, ...], Field(min_length=1)]


class Case(_Table):
    """Other bands of a term, where all columns in `when` have the values named there."""

    when: dict[Name, Name] = Field(min_length=1)
    bands: Bands


class Term(_Table):
    """What one column adds to the total: by bands of its measurement, or for each of its values."""

    name: Name
    column: Name
    bands: Bands | None = None
    points: dict[Name, Points] | None = None
    instead: tuple[Case, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        """All columns that it needs."""
        return frozenset({self.column, *(name for case in self.instead for name in case.when)})


class Class(_Table):
    """What a total means; fits where all that it states is fulfilled."""

    name: Name
    total_at_least: Points | None = None
    term_at_least: Points | None = None


class Outputs(_Table):
    """The names of the tensors that come out."""

    total: Name
    class_: Name | None = Field(default=None, alias="class")
    highest: Name | None = None
    points: Name | None = None
    missing: Name | None = None


class Rules(_Table):
    """A whole file. Its parts agree with each other: every name leads somewhere, and the tables leave no gap."""

    title: str = Field(min_length=1)
    source: str = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)
    terms: tuple[Term, ...] = Field(min_length=1)
    classes: tuple[Class, ...] = ()
    outputs: Outputs

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        columns = {column.name: column for column in self.columns}
        _distinct("columns", [*columns, *(column.present for column in self.columns if column.present)])
        _distinct("terms", [term.name for term in self.terms])
        _distinct("outputs", list(filter(None, self.outputs.model_dump().values())))
        if len(columns) != len(self.columns):
            raise ValueError("columns: two have the same name")
        for term in self.terms:
            _check_term(term, columns)
        if (self.outputs.class_ is None) is not (not self.classes):
            raise ValueError("classes: there are classes without an output, or an output without classes")
        if self.classes and self.classes[0].model_fields_set != {"name"}:
            raise ValueError("classes: the first must fit whatever the total is, so it has a name only")
        return self

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, by name, for inputs of shape (samples,) each."""
        states = {column.name: _state(column, inputs) for column in self.columns}
        steps = {column.name: column.steps(inputs[column.name]) for column in self.columns}
        columns = {column.name: column for column in self.columns}
        each = []
        for term in self.terms:
            complete = np.all([states[name] == THERE for name in term.columns], axis=0)
            each.append(np.where(complete, _points(term, columns, steps), NONE))
        points = np.stack(each, axis=1)
        complete = (points != NONE).all(axis=1)
        total = np.where(complete, points.sum(axis=1), NONE)
        highest = np.where(complete, points.max(axis=1), NONE)
        answers = {
            self.outputs.total: total,
            self.outputs.class_: np.where(complete, self._class(total, highest), NONE),
            self.outputs.highest: highest,
            self.outputs.points: points,
            self.outputs.missing: np.stack(list(states.values()), axis=1),
        }
        return {name: answer.astype(np.int32) for name, answer in answers.items() if name is not None}

    def _class(self, total: Array, highest: Array) -> Array:
        chosen = np.full(total.shape, NONE)
        for position, candidate in enumerate(self.classes):
            fits = (total >= (candidate.total_at_least or 0)) & (highest >= (candidate.term_at_least or 0))
            chosen = np.where(fits, position, chosen)
        return chosen

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of each output."""
        named = {
            self.outputs.total: (),
            self.outputs.class_: (),
            self.outputs.highest: (),
            self.outputs.points: (len(self.terms),),
            self.outputs.missing: (len(self.columns),),
        }
        return {name: shape for name, shape in named.items() if name is not None}


class RulesBackend:
    """Rules, ready to be run."""

    device: Final = Device.CPU
    memory_bytes: Final = 0

    def __init__(self, package: ModelPackage, form: Variant, place: Place) -> None:
        """Read the file of `form`. Raises `PackageError`, and `RouteUnavailable` for a GPU, which has no use for it."""
        if place is not Place.CPU:
            raise RouteUnavailable(f"{package.name}: rules run on the CPU only")
        self.precision: Precision = form.precision
        self.tolerance = form.tolerance
        self._rules = read_rules(package, form.file)
        _check_tensors(package, self._rules)
        self._outputs = [spec.name for spec in package.outputs]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        answers = self._rules.run(inputs)
        return {name: answers[name] for name in self._outputs}

    def close(self) -> None:
        """Nothing is held."""


def read_rules(package: ModelPackage, file: str) -> Rules:
    """Read and check the rules in a file of the package; clients name columns, terms and classes by them.

    Raises `PackageError`.
    """
    path = package.directory / file
    data = package.read(file)
    if len(data) > _MOST_BYTES:
        raise PackageError(path, "", "is larger than 1 MiB; these are no rules")
    try:
        return Rules.model_validate(_with_tuples(tomllib.loads(data.decode())))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise PackageError(path, key, first["msg"].removeprefix("Value error, ")) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PackageError(path, "", f"is not TOML: {error}") from None


def _with_tuples(value: Any) -> Any:
    """TOML's arrays as the tuples that strict tables want."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(_with_tuples(part) for part in value) if isinstance(value, list) else value


def _distinct(key: str, names: Iterable[str]) -> None:
    everything = list(names)
    if len(set(everything)) != len(everything):
        raise ValueError(f"{key}: two have the same name")


def _check_term(term: Term, columns: Mapping[str, Column]) -> None:
    for name in term.columns - columns.keys():
        raise ValueError(f"terms: {term.name} needs {name}, which is no column")
    column = columns[term.column]
    if (term.bands is None) is (term.points is None):
        raise ValueError(f"terms: {term.name} has either bands or points")
    if column.values is not None:
        if term.instead or term.points is None or term.points.keys() != column.values.keys():
            raise ValueError(f"terms: {term.name} must have points for exactly the values of {column.name}")
        return
    if term.bands is None:
        raise ValueError(f"terms: {term.name} must have bands, since {column.name} is a measurement")
    for bands in (term.bands, *(case.bands for case in term.instead)):
        _check_bands(term, column, bands)
    for case in term.instead:
        for name, value in case.when.items():
            if value not in (columns[name].values or {}):
                raise ValueError(f"terms: {term.name}: {name} is never {value}")


def _check_bands(term: Term, column: Column, bands: tuple[Band, ...]) -> None:
    ends = [band.up_to for band in bands[:-1]]
    if bands[-1].up_to is not None or None in ends:
        raise ValueError(f"terms: the bands of {term.name}: all but the last have an end (up_to), the last has none")
    steps = [end / (column.step or 1.0) for end in ends if end is not None]
    if any(abs(step - round(step)) > _ALMOST for step in steps):
        raise ValueError(f"terms: the bands of {term.name} must end at whole steps of {column.step:g}")
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise ValueError(f"terms: the bands of {term.name} must ascend")


def _check_tensors(package: ModelPackage, rules: Rules) -> None:
    flags = {column.present for column in rules.columns if column.present}
    wanted = {column.name for column in rules.columns} | flags
    file = package.directory
    if {spec.name for spec in package.inputs} != wanted:
        raise PackageError(file, "inputs", f"the rules take {sorted(wanted)}")
    for position, spec in enumerate(package.inputs):
        if spec.sample_shape != () or (spec.name in flags and spec.dtype is not DType.UINT8):
            raise PackageError(file, f"inputs.{position}", 'the rules take ["batch"], and uint8 for what is present')
    shapes = rules.shapes()
    for position, output in enumerate(package.outputs):
        _check_output(package, f"outputs.{position}", output, shapes)


def _check_output(package: ModelPackage, where: str, spec: TensorSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if spec.name not in shapes:
        raise PackageError(package.directory, where, f"the rules give {sorted(shapes)}, and no {spec.name!r}")
    if spec.dtype is not DType.INT32 or spec.sample_shape != shapes[spec.name]:
        raise PackageError(package.directory, where, f"the rules give int32 {['batch', *shapes[spec.name]]}")


def _state(column: Column, inputs: Mapping[str, Array]) -> Array:
    numbers = inputs[column.name]
    known = np.where(column.accepts(numbers), THERE, OUTSIDE)
    return known if column.present is None else np.where(inputs[column.present] != 0, known, MISSING)


def _points(term: Term, columns: Mapping[str, Column], steps: Mapping[str, Array]) -> Array:
    column = columns[term.column]
    if term.points is not None:
        points = np.zeros(steps[term.column].shape, np.int64)
        for value, number in (column.values or {}).items():
            points = np.where(steps[term.column] == number, term.points[value], points)
        return points
    points = _banded(term.bands or (), column, steps[term.column])
    for case in reversed(term.instead):
        fits = np.all([steps[name] == (columns[name].values or {})[value] for name, value in case.when.items()], axis=0)
        points = np.where(fits, _banded(case.bands, column, steps[term.column]), points)
    return points


def _banded(bands: tuple[Band, ...], column: Column, steps: Array) -> Array:
    ends = [round(band.up_to / (column.step or 1.0)) for band in bands if band.up_to is not None]
    return np.array([band.points for band in bands])[np.searchsorted(ends, steps, side="left")]
