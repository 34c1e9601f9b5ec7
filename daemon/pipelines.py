"""Brings each clinical pipeline of the settings together with the packages of the model it asks."""

from collections.abc import Mapping, Sequence
from typing import Final

from daemon.models import admission
from daemon.registry import Packages
from daemon.settings import Settings
from pipelines.chest_xray import ChestXray
from pipelines.ct_lesion import CtLesion
from pipelines.pipeline import Pipeline
from runtime import ModelPackage, PackageError

_KNOWN: Final[Mapping[str, tuple[Pipeline, str]]] = {
    "chest-xray": (ChestXray(), "chest-xray-3class"),
    "ct-lesion": (CtLesion(), "ct-lesion-sample"),
}
"""Pipeline by name, with the name of its model package."""


class UnknownPipeline(Exception):
    """The settings name a pipeline or need a model package that is not there."""


def load_packages(settings: Settings) -> tuple[ModelPackage, ...]:
    """All packages that the settings name. Raises `runtime.PackageError`, also for the same version twice."""
    packages, problems = _load(settings)
    if problems:
        raise problems[0]
    return packages


def load_sound_packages(settings: Settings) -> tuple[tuple[ModelPackage, ...], tuple[str, ...]]:
    """The packages of the settings that can be used, and why the others cannot: for whoever needs one of them only."""
    packages, problems = _load(settings)
    return packages, tuple(map(str, problems))


def _load(settings: Settings) -> tuple[tuple[ModelPackage, ...], list[PackageError]]:
    admitted = admission(settings)
    packages: dict[tuple[str, str], ModelPackage] = {}
    problems = []
    for directory in settings.runtime.packages:
        try:
            package = ModelPackage.load(directory, admitted)
        except PackageError as error:
            problems.append(error)
            continue
        if packages.setdefault((package.name, package.version), package) is not package:
            what = f"another package is {package.name} {package.version} too"
            problems.append(PackageError(directory, "version", what))
    return tuple(packages.values()), problems


def open_pipelines(
    settings: Settings, packages: Sequence[ModelPackage] | None = None
) -> Mapping[str, tuple[Pipeline, Packages]]:
    """The enabled pipelines, each with all versions of its model's package. Raises `UnknownPipeline`,
    `PackageError`.
    """
    loaded = load_packages(settings) if packages is None else packages
    found = {}
    for name in settings.pipelines:
        if name not in _KNOWN:
            raise UnknownPipeline(f"pipelines: there is no {name!r}; there are: {', '.join(_KNOWN)}")
        pipeline, model = _KNOWN[name]
        versions = {package.version: package for package in loaded if package.name == model}
        if not versions:
            raise UnknownPipeline(
                f"pipelines: {name} needs the model package {model}, which is not in runtime.packages"
            )
        for package in versions.values():
            if problem := pipeline.flaw(package):
                raise PackageError(package.directory, "inputs", f"{problem}, for the pipeline {name}")
        found[name] = (pipeline, Packages(model, versions))
    return found


def pipeline_of(package: ModelPackage) -> Pipeline:
    """The pipeline that asks this model package. Raises `UnknownPipeline`."""
    for pipeline, wanted in _KNOWN.values():
        if wanted == package.name and not pipeline.flaw(package):
            return pipeline
    raise UnknownPipeline(f"no pipeline asks the model {package.name}, so DICOM files cannot be prepared for it")
