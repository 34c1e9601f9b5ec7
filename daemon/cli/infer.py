"""`kopru infer`: run a model over files without a daemon: one JSON object for each input.

DICOM files go the pipeline's way, de-identified in memory first; JPEG and PNG images are taken as they are, for
trying a model out. A pipeline that looks at whole series gets them (`daemon.cli.infer_series`). Nothing is reported
anywhere, and nothing is stored but the outlines that are asked for.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from adapters.keys import KeyStoreError
from daemon.cli.files import NotDicom, read_instance, walk_files
from daemon.cli.infer_series import answers_about_series
from daemon.cli.options import FAILED, QUARANTINED_OR_HELD, options
from daemon.cli.output import fail
from daemon.models import admission, remote_access
from daemon.pipelines import UnknownPipeline, pipeline_of
from daemon.settings.defaults import bundled_packages
from runtime import LocalRuntime, ModelPackage, PackageError, Runtime, RuntimeFailure

_MOST_NUMBERS = 1000
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


def infer(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The package's name, or its folder.")],
    paths: Annotated[list[Path], typer.Argument(help="DICOM, JPEG or PNG files, or folders of them.", exists=True)],
    seg: Annotated[
        Path | None,
        typer.Option("--seg", help="Write what was outlined in a series to this new file (-2, -3 … for more series)."),
    ] = None,
) -> None:
    """Run MODEL over files. Prints one JSON object a line; exits with 3 if any input was not analysable."""
    package = package_of(context, model)
    files = walk_files(paths)
    failed, held = not files, False
    if not files:
        fail("there are no files to analyse")
    try:
        with runtime_of(context, package) as runtime:
            for answer in _answers(files, package, runtime, seg):
                typer.echo(json.dumps(answer, ensure_ascii=False))
                failed |= "error" in answer
                held |= "not_analysable" in answer
    except RuntimeFailure as error:
        fail(f"the model cannot be loaded: {error}")
        raise typer.Exit(FAILED) from None
    if failed:
        raise typer.Exit(FAILED)
    if held:
        raise typer.Exit(QUARANTINED_OR_HELD)


def _answers(files: list[Path], package: ModelPackage, runtime: Runtime, seg: Path | None) -> Iterator[dict[str, Any]]:
    try:
        pipeline = pipeline_of(package)
    except UnknownPipeline:
        pipeline = None
    if pipeline is not None and pipeline.by_series:
        return answers_about_series(files, package, pipeline, runtime, seg)
    if seg is not None:
        raise typer.BadParameter(f"{package.name} outlines nothing in a series", param_hint="--seg")
    return (answer_about(path, package, runtime) for path in files)


def package_of(context: typer.Context, model: str) -> ModelPackage:
    """The package of that name in the settings or of the program, or in that folder. Raises `typer.BadParameter`."""
    try:
        settings = options(context).settings(secrets=False)
        admitted = admission(settings)
        if Path(model).is_dir():
            return ModelPackage.load(Path(model), admitted)
        loaded = (ModelPackage.load(path, admitted) for path in settings.runtime.packages)
        packages = {package.name: package for package in loaded}
        if model not in packages and model in (bundled := bundled_packages()):
            packages[model] = ModelPackage.load(bundled[model], admitted)
    except (PackageError, KeyStoreError) as error:
        raise typer.BadParameter(str(error), param_hint="MODEL") from None
    if model not in packages:
        there_are = ", ".join(packages) or "none"
        raise typer.BadParameter(f"there is no model {model}; there are: {there_are}, or a folder", param_hint="MODEL")
    return packages[model]


def runtime_of(context: typer.Context, package: ModelPackage) -> LocalRuntime:
    """The package in this process. Where it names a server, that is asked with what the settings have for it, which
    takes secrets. Raises `RuntimeFailure`, `SettingsError`.
    """
    access = remote_access(options(context).settings()) if package.remote else None
    return LocalRuntime([package], access=access)


def answer_about(path: Path, package: ModelPackage, runtime: Runtime) -> dict[str, Any]:
    """What is printed of a file: the answer, why it is not analysable, or the error."""
    about = {"file": str(path), "model": package.name, "version": package.version}
    try:
        tensor = _image(path, package) if path.suffix.lower() in _IMAGE_SUFFIXES else _instance(path, package)
        if isinstance(tensor, str):
            return about | {"not_analysable": tensor}
        output = runtime.infer(package.name, {package.inputs[0].name: tensor[np.newaxis]}, timeout_seconds=60.0)
    except (NotDicom, OSError, RuntimeFailure, UnknownPipeline) as error:
        return about | {"error": f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"}
    refused = [verdict.sentence for verdict in output.gate if not verdict.fits]
    if refused:
        return about | {"not_analysable": refused[0]}
    if not package.labels:
        return about | {"outputs": {name: _told(values[0]) for name, values in output.outputs.items()}}
    scores = output.outputs[package.outputs[0].name][0]
    probabilities = {label.name: float(scores[label.index]) for label in package.labels}
    return about | {"label": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}


def _told(values: npt.NDArray[Any]) -> Any:
    """An output that no labels explain: its numbers, or of many their shape alone."""
    return values.tolist() if values.size <= _MOST_NUMBERS else {"shape": list(values.shape)}


def _image(path: Path, package: ModelPackage) -> npt.NDArray[Any]:
    from runtime import read_grey, to_input

    return to_input(read_grey(path), package.preprocessing)


def _instance(path: Path, package: ModelPackage) -> npt.NDArray[Any] | str:
    """The model's input, or why the pipeline does not take the image."""
    import os

    from anonymize import MalformedDataSet, PatientPseudonym, Quarantine, deidentify
    from pipelines.pipeline import NotAnalysable

    received = read_instance(path)
    try:
        clean = deidentify(received, PatientPseudonym("KP-INFER", os.urandom(32), 30)).instance
    except Quarantine as error:
        return f"cannot be proven clean: {error.reason.value}"
    except MalformedDataSet:
        return "the data set cannot be read"
    (prepared,) = pipeline_of(package).prepare([clean], package)
    return prepared.reason if isinstance(prepared, NotAnalysable) else prepared.tensor
