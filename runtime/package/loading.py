"""A package on disk: found whole, unchanged and admitted when it is loaded, and each file once more when it is read."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import PrivateAttr, ValidationError

from runtime.errors import PackageError
from runtime.package.archives import check_archive, without_pickles
from runtime.package.description import ModelDescription
from runtime.package.files import changed, check_listed, digest, new_folder, opened, replace_file, whole_name
from runtime.package.parts import Format
from runtime.package.sealing import SEALING, SUFFIX, Seal
from runtime.package.signing import SIGNATURE, check_signature, key_id, sign, signer
from runtime.package.toml import MOST_BYTES, as_json, explained, parse_toml, to_toml

DESCRIPTION: Final = "model.toml"
_SIGN_IT: Final = (
    "is not there, and only signed packages are admitted here (runtime.require_signatures): copy the package with"
    " `kopru models import`, sign the copy with `kopru models sign`, and name that in runtime.packages"
)


@dataclass(frozen=True, slots=True)
class Admission:
    """What an installation demands of packages, and how it opens sealed ones.

    `site_key` gives the 32-byte key under which packages are sealed; it is called only for a sealed package. Without
    it a sealed package can be described, but none of its files read.
    """

    trusted_keys: tuple[Ed25519PublicKey, ...] = ()
    require_signatures: bool = False
    site_key: Callable[[], bytes] | None = None


ANY: Final = Admission()


class ModelPackage(ModelDescription):
    """A package on disk whose files have been checked. Made by `load`; can be handed to another process, but for the
    key of a sealed one: there it must be loaded again.
    """

    directory: Path
    signed_by: str | None = None  # the id of the key
    sealed: bool = False
    _seal: Seal | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, directory: Path, admission: Admission = ANY) -> Self:
        """Read and check the package in `directory`. Raises `PackageError` that names file and key.

        A wrong signature is always refused, an absent or unknown one if `admission` demands signatures.
        """
        return cls._loaded(directory, admission)[0]

    @classmethod
    def _loaded(cls, directory: Path, admission: Admission) -> tuple[Self, bytes]:
        """The package, and the bytes of its description that were read for it."""
        file = directory / DESCRIPTION
        description = _read_small(file)
        if description is None:
            raise PackageError(file, "", "is not there; a package is a directory with it")
        signed_by = _admitted(file, description, admission)
        sealing = _read_small(directory / SEALING)
        found = {"directory": str(directory.absolute()), "signed_by": signed_by, "sealed": sealing is not None}
        package = cls._described(file, description, found)
        if sealing is not None and admission.site_key is not None:
            key = admission.site_key()
            package._seal = Seal.unwrap(directory / SEALING, sealing, package.name, package.version, key)
        package._check_folder()
        return package, description

    @classmethod
    def _described(cls, file: Path, description: bytes, found: Mapping[str, Any]) -> Self:
        raw = parse_toml(file, description)
        for key in found:
            if key in raw:
                raise PackageError(file, key, "unknown key; remove it")
        try:
            return cls.model_validate_json(as_json(file, {**raw, **found}))
        except ValidationError as error:
            raise explained(file, error) from None

    def _check_folder(self) -> None:
        suffix = SUFFIX if self.sealed else ""
        own = (DESCRIPTION, SIGNATURE) + ((SEALING,) if self.sealed else ())
        check_listed(self.directory, {*own, *(name + suffix for name in self.files)}, own)
        for name in self.files:
            if not self.sealed:
                self._check_digest(name, digest(self.directory / name))
            elif self._seal is not None:
                self._read(name)
            else:
                with opened(self.directory / (name + suffix)):
                    pass

    @property
    def description(self) -> ModelDescription:
        """What `model.toml` says, without where it was found."""
        return ModelDescription.model_validate(self.model_dump(include=set(ModelDescription.model_fields)))

    def read(self, name: str) -> bytes:
        """The bytes of one of the package's files, checked once more: what was checked is what is used.

        Of a `.pt2` file that is its graph and weights, without the pickles that PyTorch puts beside them. Raises
        `PackageError`.
        """
        data = self._read(name)
        kind = Format.of(name)
        if kind is Format.TORCH_EXPORT:
            return without_pickles(self.directory / name, data)
        if kind is Format.TORCHSCRIPT:
            check_archive(self.directory / name, data)
        return data

    def read_weights(self) -> bytes:
        """The bytes of the weights file. Raises `PackageError` for a package whose weights are on a server."""
        if self.weights is None:
            raise PackageError(self.directory / DESCRIPTION, "weights", "is missing: the weights are on a server")
        return self.read(self.weights)

    def _read(self, name: str) -> bytes:
        file = self.directory / name
        if not self.sealed:
            with opened(file) as stream:
                data = stream.read()
        elif self._seal is None:
            raise PackageError(file, "", "is sealed, and there is no key here to open it with")
        else:
            data = self._seal.open(self.directory / (name + SUFFIX), name)
        self._check_digest(name, hashlib.sha256(data).hexdigest())
        return data

    def _check_digest(self, name: str, found: str) -> None:
        expected = self.files[name]
        if found != expected:
            raise changed(self.directory / DESCRIPTION, f"files.{name}", expected, found)

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: never the key."""
        return {**super().__getstate__(), "__pydantic_private__": {"_seal": None}}


def write_package(directory: Path, description: Mapping[str, Any]) -> ModelPackage:
    """Write `model.toml` into `directory` beside the files that are already there, and load the package.

    `description` holds the keys of `model.toml` but ``files``: that is filled in with every file of the directory.
    Raises `PackageError` if the package would be refused, or is signed or sealed already; nothing is written then, and
    an older `model.toml` stays.
    """
    file = directory / DESCRIPTION
    for name in (SIGNATURE, SEALING):
        if (directory / name).exists():
            raise PackageError(directory / name, "", "belongs to the present model.toml; write the package elsewhere")
    names = sorted(path.name for path in directory.iterdir() if whole_name(path.name) not in (DESCRIPTION, SIGNATURE))
    text = described(file, description, {name: digest(directory / name) for name in names})
    replace_file(file, [text.encode()])
    return ModelPackage.load(directory)


def store_package(
    directory: Path,
    description: Mapping[str, Any],
    files: Mapping[str, bytes],
    site_key: bytes | None = None,
    check: Callable[[ModelPackage], object] | None = None,
) -> ModelPackage:
    """Write a new package of these files into the folder `directory`, which appears whole or not at all, and load it.

    With `site_key` the files are sealed under it; their plain bytes touch no disk. `check` looks at it before it
    appears, and raises `PackageError` if it must not. Raises that for a wrong description, too, and `FileExistsError`
    where the folder is there.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    text = described(directory / DESCRIPTION, description, digests)
    return _stored(directory, {DESCRIPTION: text.encode()}, files, site_key, check)


def copy_package(package: ModelPackage, directory: Path, site_key: bytes | None = None) -> ModelPackage:
    """Write a copy of the package, with its signature, into the new folder `directory`: see `store_package`."""
    own = {}
    for name in (DESCRIPTION, SIGNATURE):
        content = _read_small(package.directory / name)
        if content is not None:
            own[name] = content
    return _stored(directory, own, {name: package._read(name) for name in package.files}, site_key)


def _stored(
    directory: Path,
    own: Mapping[str, bytes],
    files: Mapping[str, bytes],
    site_key: bytes | None,
    check: Callable[[ModelPackage], object] | None = None,
) -> ModelPackage:
    admission = Admission(site_key=(lambda: site_key) if site_key else None)
    with new_folder(directory) as partial:
        for name, data in own.items():
            replace_file(partial / name, [data])
        if site_key is None:
            for name, data in files.items():
                replace_file(partial / name, [data])
        else:
            said = ModelPackage._described(directory / DESCRIPTION, own[DESCRIPTION], {"directory": str(directory)})
            seal = Seal.new(said.name, said.version)
            for name, data in files.items():
                replace_file(partial / (name + SUFFIX), seal.seal(name, data))
            replace_file(partial / SEALING, [seal.wrap(site_key)])
        try:
            package = ModelPackage.load(partial, admission)
            if check:
                check(package)
        except PackageError as error:
            if not error.file.is_relative_to(partial):
                raise
            raise PackageError(directory / error.file.relative_to(partial), error.key, error.problem) from None
    return ModelPackage.load(directory, admission)


def sign_package(directory: Path, key: Ed25519PrivateKey, admission: Admission = ANY) -> str:
    """Check the package and sign it, in the place of any signature that it has; the answer is the key's id.

    Raises `PackageError`.
    """
    _, description = ModelPackage._loaded(directory, admission)  # signed is what was checked, and no later one
    sign(directory / DESCRIPTION, description, key)
    return key_id(key.public_key().public_bytes_raw())


def described(file: Path, description: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The text of a `model.toml` with these [files] (SHA-256 by name). Raises `PackageError` if it would be refused."""
    complete = {**description, "files": files}
    try:
        ModelDescription.model_validate_json(json.dumps(complete))
    except ValidationError as error:
        raise explained(file, error) from None
    return to_toml(complete)


def _read_small(file: Path) -> bytes | None:
    """The bytes of a small file, None if it is not there."""
    if not os.path.lexists(file):
        return None
    with opened(file) as stream:
        return stream.read(MOST_BYTES + 1)


def _admitted(file: Path, description: bytes, admission: Admission) -> str | None:
    """The id of the key that signed the description. Raises `PackageError` if that is wrong, or demanded and absent."""
    place = file.with_name(SIGNATURE)
    signature = _read_small(place)
    if signature is None:
        if admission.require_signatures:
            raise PackageError(place, "", _SIGN_IT)
        return None
    trusted = check_signature(place, description, signature, admission.trusted_keys)
    found = signer(place, signature)
    if admission.require_signatures and not trusted:
        raise PackageError(place, "public_key", f"the key {found} is not among the trusted ones (runtime.trusted_keys)")
    return found
