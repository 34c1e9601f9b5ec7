"""The way from a model to a package: read it, try it, describe it, store it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from runtime.backend import RemoteAccess
from runtime.errors import PackageError
from runtime.importing.bundles import is_bundle, read_bundle
from runtime.importing.details import check_details
from runtime.importing.servers import ask_server, server_place
from runtime.importing.sources import Source, read_file
from runtime.importing.trial import Trial, try_model
from runtime.package import DESCRIPTION, Admission, ModelPackage, copy_package, store_package, write_arrays
from runtime.package.files import opened
from runtime.watch import Watch

CHECK_FILE: Final = "check.npz"
TOLERANCE: Final = 1e-3
_BATCH: Final = {"size": 8, "wait_ms": 5}
_MUST_BE_SAID: Final = ("name", "version", "intended_use", "licence", "training_data")
_NAMED_FILES: Final = ("check", "gate", "reference")


def import_model(
    source: Path | str,
    into: Path,
    details: Mapping[str, Any],
    *,
    details_folder: Path | None = None,
    site_key: bytes | None = None,
    admission: Admission | None = None,
    access: RemoteAccess | None = None,
) -> ModelPackage:
    """Make the package ``<into>/<name>-<version>`` of `source`, and load it.

    `source` is a file, a MONAI bundle, a package (which is copied with its signature), or the URL of a model on a
    server of the Open Inference Protocol, ``grpcs://host:8001/NAME`` or ``https://host/v2/models/NAME``. `details`
    are keys of `model.toml`; they go before what the source says of itself, and files that they name lie in
    `details_folder`. With `site_key` the package is sealed. Raises `PackageError`, `FileExistsError`,
    `RemoteUnavailable`.
    """
    if isinstance(source, Path) and (source / DESCRIPTION).is_file():
        for key in details:
            raise PackageError(source, key, "cannot be said anew: a package is copied as it is; leave that out")
        package = ModelPackage.load(source, admission or Admission())
        return copy_package(package, into / f"{package.name}-{package.version}", site_key)
    check_details(source if isinstance(source, Path) else server_place(source), details)
    read = _read(source, details, access or RemoteAccess())
    place = read.place
    known = {"research_only": True, "batch": _BATCH, **read.says, **details}
    for key in _MUST_BE_SAID:
        if key not in known:
            raise PackageError(place, key, "is missing: the model does not say it, so it must be described")
    trial = try_model(read, known, access or RemoteAccess())
    files = {**_named_files(known, details_folder, (read.weights, *read.files)), **read.files}
    if trial.weights is not None:
        files[str(read.weights)] = trial.weights
    description = _description(place, read, known, trial, files)
    directory = into / f"{known['name']}-{known['version']}"
    return store_package(directory, description, files, site_key, check=Watch.of)


def _read(source: Path | str, details: Mapping[str, Any], access: RemoteAccess) -> Source:
    if isinstance(source, str):
        return ask_server(source, details, access)
    if is_bundle(source):
        return read_bundle(source, details)
    return read_file(source)


def _named_files(known: Mapping[str, Any], folder: Path | None, there: Collection[str | None]) -> dict[str, bytes]:
    """The files that the description names beside those that are `there`: of a variant that is the same file in another
    precision, what was tried.
    """
    tables = [known[key] for key in _NAMED_FILES if key in known] + list(known.get("variants") or ())
    found = {}
    for table in tables:
        name = table.get("file") if isinstance(table, Mapping) else None
        if folder is not None and isinstance(name, str) and name == Path(name).name and name not in there:
            with opened(folder / name) as stream:
                found[name] = stream.read()
    return found


def _description(
    place: Path, read: Source, known: Mapping[str, Any], trial: Trial, files: dict[str, bytes]
) -> dict[str, Any]:
    description = {**known, "inputs": trial.inputs, "outputs": trial.outputs}
    if read.weights is not None:
        description["weights"] = read.weights
    if trial.one_at_a_time:
        description["batch"] = {**known["batch"], "size": 1}
    if "check" not in known and trial.answers:
        files[CHECK_FILE] = write_arrays(trial.answers)
        description["check"] = {"file": CHECK_FILE, "tolerance": TOLERANCE}
    if read.weights is None and "check" not in description:
        raise PackageError(place, "check", "is missing: the server's answers to a trial are not finite, or too large")
    return description
