"""What of valid settings can be found wrong only by opening what they name: scripts, model packages, keys.

Packages are read, never run, and what is sealed stays sealed, so that whoever may read the settings can check them.
`serve` would refuse the same.
"""

from collections.abc import Iterator
from functools import partial

from daemon.deidentification import Recipes, UnusableScript
from daemon.models import admission
from daemon.pipelines import UnknownPipeline, open_pipelines
from daemon.settings import FhirDestination, Loaded, PacsDestination, Problem
from runtime import ModelPackage, PackageError
from runtime.package.signing import read_public_key
from runtime.watch import Watch


def problems_in_files(loaded: Loaded) -> list[Problem]:
    """A script that cannot be used, every package that would not be admitted, every key that is none, and every
    pipeline without its model.
    """
    return [*_problems_of_script(loaded), *_problems_of_packages(loaded)]


def destinations_without_reports(loaded: Loaded) -> list[str]:
    """The names of the EHRs and PACS that get nothing, since each model whose results they would get is for research,
    and the site has not confirmed it for them. The settings are valid, and `problems_in_files` has found none.
    """
    settings = loaded.settings
    packages = [ModelPackage.load(path, admission(settings, opens_sealed=False)) for path in settings.runtime.packages]
    reported = [
        name
        for name, (_, found) in open_pipelines(settings, packages).items()
        if not all(package.research_only for package in found.by_version.values())
    ]
    return [
        destination.name
        for destination in settings.destinations
        if isinstance(destination, FhirDestination | PacsDestination)
        and not destination.confirm_research
        and not any(isinstance(destination, FhirDestination) or destination.takes(name) for name in reported)
    ]


def _problems_of_script(loaded: Loaded) -> Iterator[Problem]:
    key = "deidentification.pixel_script"
    try:
        Recipes(loaded.settings)
    except UnusableScript as error:
        yield Problem(key, str(loaded.provenance[key]), f"{str(error).removeprefix(f'{key}: ')}.")


def _problems_of_packages(loaded: Loaded) -> Iterator[Problem]:
    settings = loaded.settings

    def problem(key: str, message: str) -> Problem:
        return Problem(key, str(loaded.provenance[key]), f"{message}.")

    unusable = False
    for file in settings.runtime.trusted_keys:
        try:
            read_public_key(file)
        except PackageError as error:
            unusable = True
            yield problem("runtime.trusted_keys", str(error))
    if unusable:
        return  # nobody can say whose signatures count
    load = partial(ModelPackage.load, admission=admission(settings, opens_sealed=False))
    packages: dict[tuple[str, str], ModelPackage] = {}
    for directory in settings.runtime.packages:
        try:
            package = load(directory)
            if not package.sealed:
                Watch.of(package)
        except PackageError as error:
            unusable = True
            yield problem("runtime.packages", str(error))
            continue
        if packages.setdefault((package.name, package.version), package) is not package:
            unusable = True
            yield problem("runtime.packages", f"{directory}: another package is {package.name} {package.version} too")
    if unusable:
        return  # a pipeline may miss one of these
    try:
        open_pipelines(settings, list(packages.values()))
    except UnknownPipeline as error:
        yield problem("pipelines", str(error).removeprefix("pipelines: "))
