"""A package on disk: found whole and unchanged when it is loaded, and each file once more when it is read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError

from runtime.errors import PackageError
from runtime.package.description import ModelDescription
from runtime.package.files import changed, check_listed, digest, opened
from runtime.package.toml import MOST_BYTES, as_json, explained, parse_toml, to_toml

DESCRIPTION: Final = "model.toml"


class ModelPackage(ModelDescription):
    """A package on disk whose files have been checked. Made by `load`; can be handed to another process."""

    directory: Path

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read and check the package in `directory`. Raises `PackageError` that names file and key."""
        file = directory / DESCRIPTION
        package = cls._described(directory, _read_description(file))
        check_listed(directory, {DESCRIPTION: None, **package.files})
        for name, expected in package.files.items():
            found = digest(directory / name)
            if found != expected:
                raise changed(file, f"files.{name}", expected, found)
        return package

    @classmethod
    def _described(cls, directory: Path, description: bytes) -> Self:
        file = directory / DESCRIPTION
        raw = parse_toml(file, description)
        if "directory" in raw:
            raise PackageError(file, "directory", "unknown key; remove it")
        try:
            return cls.model_validate_json(as_json(file, {**raw, "directory": str(directory.absolute())}))
        except ValidationError as error:
            raise explained(file, error) from None

    def read(self, name: str) -> bytes:
        """The bytes of one of the package's files, checked once more: what was checked is what is used."""
        file = self.directory / name
        expected = self.files[name]
        with opened(file) as stream:
            data = stream.read()
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise changed(self.directory / DESCRIPTION, f"files.{name}", expected, found)
        return data

    def read_weights(self) -> bytes:
        """The bytes of the weights file. Raises `PackageError` for a package whose weights are on a server."""
        if self.weights is None:
            raise PackageError(self.directory / DESCRIPTION, "weights", "is missing: the weights are on a server")
        return self.read(self.weights)


def write_package(directory: Path, description: Mapping[str, Any]) -> ModelPackage:
    """Write `model.toml` into `directory` beside the files that are already there, and load the package.

    `description` holds the keys of `model.toml` but ``files``: that is filled in with every file of the directory.
    Raises `PackageError` if the package would be refused; nothing is written then, and an older `model.toml` stays.
    """
    file = directory / DESCRIPTION
    names = sorted(path.name for path in directory.iterdir() if path.name != DESCRIPTION)
    complete = {**description, "files": {name: digest(directory / name) for name in names}}
    try:
        ModelDescription.model_validate_json(json.dumps(complete))
    except ValidationError as error:
        raise explained(file, error) from None
    file.write_text(to_toml(complete), encoding="utf-8")
    return ModelPackage.load(directory)


def _read_description(file: Path) -> bytes:
    try:
        with opened(file) as stream:
            return stream.read(MOST_BYTES + 1)
    except PackageError as error:
        raise PackageError(file, "", f"{error.problem}; a package is a directory with it") from None
