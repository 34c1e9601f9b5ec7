"""Defaults that depend on the machine.

Folders follow systemd's variables or the user's data folder; counts follow the cores that this process may use.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pipelines

SYSTEM_CONFIGURATION = Path("/etc/kopru")
"""Settings that lie here are those of the service that the whole machine shares."""
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Set by systemd to the folder of a unit's credentials (systemd.exec(5))."""


def data_directory(environ: Mapping[str, str], file: Path | None) -> Path:
    """Where everything is kept: systemd's state directory, else the user's data folder (XDG base directories).

    A command line beside the service is not told by systemd, so it goes by where the settings file lies.
    """
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    if _is_system(file):
        return Path("/var/lib/kopru")
    if home := environ.get("XDG_DATA_HOME"):
        return Path(home, "kopru")
    return Path(environ.get("HOME") or Path.home(), ".local", "share", "kopru")


def runtime_directory(data: Path, environ: Mapping[str, str], file: Path | None) -> Path:
    """Where the Unix sockets are: systemd's runtime directory, else in the data folder."""
    if runtime := environ.get("RUNTIME_DIRECTORY"):
        return Path(runtime.split(":")[0])
    return Path("/run/kopru") if _is_system(file) else data / "run"


def _is_system(file: Path | None) -> bool:
    return file is not None and file.is_relative_to(SYSTEM_CONFIGURATION)


def folder_defaults(data: Path, runtime: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The defaults that follow from the two folders of `[node]`, as sections of the settings."""
    return {
        "node": {"data": str(data), "runtime_directory": str(runtime)},
        "runtime": {
            "socket": str(runtime / "runtime.sock"),
            "result_key_file": str(credential("runtime.result_key", environ) or data / "result-signing.key"),
        },
        "database": {"url": f"sqlite:///{data / 'kopru.sqlite'}"},
        "store": {"path": str(data / "store")},
        "keys": {
            "master_key_file": str(credential("keys.master_key", environ) or data / "master.key"),
            "mirrors": [str(data / "keys-1"), str(data / "keys-2")],
        },
        "audit": {
            "heads_directory": str(data / "audit-heads"),
            "signing_key_file": str(credential("audit.signing_key", environ) or data / "audit-signing.key"),
        },
        "destinations": [{"name": "reports", "kind": "directory", "path": str(data / "reports")}],
    }


def machine_defaults() -> dict[str, Any]:
    """The defaults that follow from the number of cores and from the model packages that come with the program."""
    cores = len(os.sched_getaffinity(0))
    bundled = [path for name, path in bundled_packages().items() if not name.endswith("-sample")]  # none asks those
    return {
        "dicom": {"receivers": cores},
        "engine": {"pixel_workers": cores},
        "runtime": {"threads": cores, "packages": [str(path) for path in bundled]},
    }


def bundled_packages() -> dict[str, Path]:
    """The folders of the model packages that come with the program, by their models' names."""
    described = sorted(Path(pipelines.__file__).parent.glob("packages/*/model.toml"))
    return {path.parent.name: path.parent for path in described}


def credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """The file of the systemd credential called as the key it is for, if the unit has it."""
    if folder := environ.get(CREDENTIALS):
        path = Path(folder, name)
        return path if "/" not in name and path.is_file() else None
    return None
