"""The whole description of a model, and the rules by which its parts must agree with each other."""

from collections.abc import Iterable, Sequence
from typing import Final, Self

from pydantic import Field, model_validator

from runtime.package.parts import (
    Batch,
    Check,
    FileName,
    Format,
    Gate,
    Grayscale,
    Label,
    NoPreprocessing,
    OutputSpec,
    Part,
    Place,
    Precision,
    Preprocessing,
    Reference,
    Remote,
    Role,
    Route,
    Sha256,
    TensorSpec,
    Text,
    Variant,
)

MOST_FILES: Final = 1024
_DIMENSIONS: Final = {Role.SCORES: 2, Role.HEATMAP: 4, Role.EMBEDDING: 2}


class ModelDescription(Part):
    """All that `model.toml` says. Equal descriptions name the same files by digest, so the same model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")
    weights: FileName | None = None
    precision: Precision = Precision.FLOAT32
    intended_use: Text
    research_only: bool
    licence: Text
    training_data: Text
    batch: Batch
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    preprocessing: Preprocessing = NoPreprocessing()
    labels: tuple[Label, ...] = ()
    variants: tuple[Variant, ...] = ()
    remote: Remote | None = None
    routes: tuple[Route, ...] = ()
    check: Check | None = None
    gate: Gate | None = None
    reference: Reference | None = None
    metrics: dict[Text, float] = Field(default_factory=dict)
    files: dict[FileName, Sha256] = Field(max_length=MOST_FILES)

    @property
    def weights_sha256(self) -> str:
        """The hex digest of the weights file. Where the weights are on a server, that of the check they must pass."""
        named = self.weights or (self.check.file if self.check else None)
        assert named is not None  # one of the two is there
        return self.files[named]

    @property
    def forms(self) -> tuple[Variant, ...]:
        """What can be run here: the weights file first, then the variants."""
        if self.weights is None:
            return ()
        tolerance = self.check.tolerance if self.check else 0.0
        return (Variant(file=self.weights, precision=self.precision, tolerance=tolerance), *self.variants)

    @property
    def chosen_routes(self) -> tuple[Route, ...]:
        """The routes in order of preference; without any in `model.toml`: cuda, then cpu, then remote."""
        if self.routes:
            return self.routes
        local = (Route(on=Place.CUDA), Route(on=Place.CPU)) if self.weights else ()
        return (*local, Route(on=Place.REMOTE)) if self.remote else local

    def form_of(self, route: Route) -> Variant:
        """Which file a local route runs, and in which precision. Raises `ValueError` if none fits, or several do."""
        precision = route.precision or (None if route.file else self.precision)
        fitting = [
            form
            for form in self.forms
            if precision in (None, form.precision)
            and route.file in (None, form.file)
            and (route.on is not Place.TENSORRT or form.format is Format.ONNX)
        ]
        wanted = " ".join(filter(None, (route.on, route.precision, route.file)))
        if not fitting:
            there = ", ".join(f"{form.file} ({form.precision})" for form in self.forms) or "none"
            raise ValueError(f"nothing fits {wanted}; there are: {there}")
        if len(fitting) > 1 and fitting[0].file != self.weights:
            raise ValueError(f"several files fit {wanted}: say which one with `file` or `precision`")
        return fitting[0]

    def output(self, role: Role) -> OutputSpec | None:
        """The output with that role, None without; where there are labels, the first output has the scores."""
        if role is Role.SCORES and self.labels:
            return self.outputs[0]
        return next((spec for spec in self.outputs if spec.role is role), None)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        self._check_files()
        for key, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            _distinct(key, "two tensors have the same name", (tensor.name for tensor in tensors))
        self._check_labels()
        self._check_roles()
        self._check_preprocessing()
        self._check_variants()
        self.check_routes(self.routes)
        return self

    def _check_files(self) -> None:
        runnable = [("weights", self.weights)] + [(f"variants.{n}.file", v.file) for n, v in enumerate(self.variants)]
        data = (("check.file", self.check), ("gate.file", self.gate), ("reference.file", self.reference))
        named = runnable + [(key, part.file) for key, part in data if part]
        for key, file in named:
            if file is not None and file not in self.files:
                raise ValueError(f"{key}: {file} is not listed in [files]")
        for key, file in runnable:
            if file is not None and Format.of(file) is None:
                raise ValueError(f"{key}: no backend runs this kind of file; known suffixes: {', '.join(Format)}")
        for key, file in named[len(runnable) :]:
            suffix = ".json" if key.startswith("reference") else ".npz"
            if file is not None and not file.endswith(suffix):
                raise ValueError(f"{key}: is not a {suffix} file")
        if self.weights is None and (self.remote is None or self.check is None):
            raise ValueError("weights: is missing; only a package with [remote] and [check] can do without")

    def _check_labels(self) -> None:
        if not self.labels:
            return
        count = len(self.labels)
        if [label.index for label in self.labels] != list(range(count)):
            raise ValueError("labels: the indices must be 0, 1, 2 … in this order")
        _distinct("labels", "two labels have the same name", (label.name for label in self.labels))
        if self.outputs[0].sample_shape != (count,):
            raise ValueError(f'labels: there are {count}, so the first output must have the shape ["batch", {count}]')
        if self.outputs[0].role not in (None, Role.SCORES):
            raise ValueError('labels: they are about the first output, so its role can only be "scores"')

    def _check_roles(self) -> None:
        _distinct("outputs", "two have the same role", (spec.role for spec in self.outputs if spec.role))
        for position, spec in enumerate(self.outputs):
            role = spec.role
            if role in _DIMENSIONS and len(spec.shape) != _DIMENSIONS[role]:
                raise ValueError(f"outputs.{position}.shape: {role} has {_DIMENSIONS[role]} dimensions, batch included")
            if role is Role.HEATMAP and self.labels and spec.sample_shape[0] != len(self.labels):
                raise ValueError(f"outputs.{position}.shape: a heatmap has one channel for each of the labels")

    def _check_preprocessing(self) -> None:
        if not isinstance(self.preprocessing, Grayscale):
            return
        expected = (self.preprocessing.channels, *self.preprocessing.size)
        first = self.inputs[0]
        dtype = self.preprocessing.dtype
        if first.dtype is not dtype or first.sample_shape != expected:
            raise ValueError(
                f'preprocessing: gives {dtype} ["batch", {", ".join(map(str, expected))}], '
                "but the first input has another dtype or shape"
            )

    def _check_variants(self) -> None:
        if self.variants and self.weights is None:
            raise ValueError("variants: there are no weights that they could be variants of")
        if self.variants and self.check is None:
            raise ValueError("variants: need [check], which shows that they answer as the weights do")
        _distinct(
            "variants", "two are the same file in the same precision", ((f.file, f.precision) for f in self.forms)
        )
        precision: dict[str, Precision] = {}
        for form in self.forms:
            if precision.setdefault(form.file, form.precision) is not form.precision and not form.format.converts:
                raise ValueError(f"variants: {form.file} has one precision within; only PyTorch files can take another")

    def check_routes(self, routes: Sequence[Route]) -> None:
        """Raise `ValueError`, which names the route's position, if this model cannot go one of these routes."""
        for position, route in enumerate(routes):
            if route in routes[:position]:
                raise ValueError(f"routes.{position}: the same route stands above")
            if position == 0 and route.waiting_at_least is not None:
                raise ValueError("routes.0.waiting_at_least: there is no route before the first")
            if route.on is Place.REMOTE:
                if self.remote is None:
                    raise ValueError(f"routes.{position}.on: there is no [remote]")
                continue
            try:
                self.form_of(route)
            except ValueError as error:
                raise ValueError(f"routes.{position}: {error}") from None


def _distinct(key: str, problem: str, values: Iterable[object]) -> None:
    everything = list(values)
    if len(set(everything)) != len(everything):
        raise ValueError(f"{key}: {problem}")
