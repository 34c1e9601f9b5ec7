"""Signatures of packages: Ed25519 (RFC 8032) over the bytes of `model.toml`, which holds the digest of every file.

The signature lies beside it, in `model.toml.sig`, with the public key that it was made with, so that a wrong one is
always seen. That key says nothing by itself: whom an installation trusts, its own settings say.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import AfterValidator, ValidationError

from runtime.errors import PackageError
from runtime.package.files import replace_file, sync_folder
from runtime.package.parts import Part
from runtime.package.toml import as_json, explained, parse_toml, to_toml

SIGNATURE: Final = "model.toml.sig"
_PURPOSE: Final = b"kopru model package 1\n"  # so that no signature made for something else is one of a package
_MOST_KEY_BYTES: Final = 1 << 14


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    return text


class _Signature(Part):
    algorithm: Literal["Ed25519"]
    public_key: Annotated[str, AfterValidator(_base64)]
    signature: Annotated[str, AfterValidator(_base64)]


def key_id(public: bytes) -> str:
    """The 16 hex digits by which people tell keys apart; `public` are the 32 bytes of the public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def sign(file: Path, description: bytes, key: Ed25519PrivateKey) -> None:
    """Write the signature of `description`, which `file` holds, beside it; one that is there already is replaced."""
    signature = {
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(_PURPOSE + description)).decode(),
    }
    replace_file(file.with_name(SIGNATURE), [to_toml(signature).encode()])


def check_signature(file: Path, description: bytes, signature: bytes, trusted: Iterable[Ed25519PublicKey]) -> bool:
    """Whether a trusted key made the signature, the bytes of `file`. Raises `PackageError` if it is wrong."""
    try:
        found = _Signature.model_validate_json(as_json(file, parse_toml(file, signature)))
        public = base64.b64decode(found.public_key)
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(found.signature), _PURPOSE + description)
    except ValidationError as error:
        raise explained(file, error) from None
    except ValueError:
        raise PackageError(file, "public_key", "is no Ed25519 public key") from None
    except InvalidSignature:
        raise PackageError(
            file,
            "signature",
            f"by the key {key_id(public)} does not fit model.toml: one of the two was changed; get the package anew "
            "from its maker, or sign it anew",
        ) from None
    return public in {key.public_bytes_raw() for key in trusted}


def signer(file: Path, signature: bytes) -> str:
    """The id of the key that made a signature which `check_signature` has seen."""
    return key_id(base64.b64decode(parse_toml(file, signature)["public_key"]))


def make_keys(private: Path) -> Path:
    """Make a new key pair: `private` (PEM, mode 0600) and, beside it, ``<private>.pub``, whose path is returned.

    Both are there afterwards or, where something fails, neither is new. Raises `FileExistsError` where one of them is
    there.
    """
    public = private.with_name(f"{private.name}.pub")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made: list[Path] = []
    try:
        for path, data, mode in (
            (private, pem, 0o600),
            (public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
        ):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
        sync_folder(private.parent)
    except BaseException:
        for path in made:
            path.unlink()
        raise
    return public


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key in the PEM file, which only its owner may be able to reach. Raises `PackageError`."""
    data, mode = _key_file(path)
    if mode & 0o077:
        raise PackageError(path, "", f"others can reach this key (mode {mode:04o}); chmod it to 0600")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PackageError(path, "", "is no private Ed25519 key in PEM; `kopru models keygen` makes one")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in the PEM file. Raises `PackageError`."""
    data, _ = _key_file(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise PackageError(path, "", "is no public Ed25519 key in PEM; `kopru models keygen` makes one")
    return key


def _key_file(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_KEY_BYTES), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except OSError as error:
        raise PackageError(path, "", f"cannot be read ({error.strerror})") from None
