"""Brings each clinical pipeline of the settings together with the model package it asks."""

from collections.abc import Mapping
from typing import Final

from daemon.models import admission
from daemon.settings import Settings
from pipelines.chest_xray import ChestXray
from pipelines.pipeline import Pipeline
from runtime import ModelPackage

_KNOWN: Final[Mapping[str, tuple[Pipeline, str]]] = {"chest-xray": (ChestXray(), "chest-xray-3class")}
"""Pipeline by name, with the name of its model package."""


class UnknownPipeline(Exception):
    """The settings name a pipeline or need a model package that is not there."""


def open_pipelines(settings: Settings) -> Mapping[str, tuple[Pipeline, ModelPackage]]:
    """The enabled pipelines with their packages. Raises `UnknownPipeline`, `runtime.PackageError`."""
    admitted = admission(settings)
    packages = {
        package.name: package
        for package in (ModelPackage.load(directory, admitted) for directory in settings.runtime.packages)
    }
    found = {}
    for name in settings.pipelines:
        if name not in _KNOWN:
            raise UnknownPipeline(f"pipelines: there is no {name!r}; there are: {', '.join(_KNOWN)}")
        pipeline, package = _KNOWN[name]
        if package not in packages:
            raise UnknownPipeline(
                f"pipelines: {name} needs the model package {package}, which is not in runtime.packages"
            )
        found[name] = (pipeline, packages[package])
    return found


def pipeline_of(package: str) -> Pipeline:
    """The pipeline that asks this model package. Raises `UnknownPipeline`."""
    for pipeline, wanted in _KNOWN.values():
        if wanted == package:
            return pipeline
    raise UnknownPipeline(f"no pipeline asks the model {package}, so DICOM files cannot be prepared for it")
