"""The Ed25519 key (RFC 8032) that signs the log's heads: made at the first start, mode 0600, its public half beside it.

Whoever holds the private file can sign a false log; whoever holds the public one can check a true one. Both are PEM,
so that `openssl pkeyutl` reads them too. The private key is never overwritten.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

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

from adapters.keys import is_credential
from daemon.audit.errors import SigningKeyError


class PublicKey:
    """Checks signatures. `fingerprint` is the SHA-256 of the 32 raw bytes of the key, in hexadecimal."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.fingerprint = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """Read a PEM file. Raises SigningKeyError when it is absent or holds no Ed25519 public key."""
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(f"{path} is not a public key in PEM: {type(error).__name__}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SigningKeyError(f"{path} holds a key of another kind than Ed25519")
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The key as SubjectPublicKeyInfo in PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def publish(self, path: Path) -> None:
        """Write the key to a file, durably. Raises SigningKeyError when the file holds another key."""
        if not path.exists():
            _write_partial(path, self.pem, 0o644).replace(path)
            sync_folder(path.parent)
        if PublicKey.read(path).fingerprint != self.fingerprint:
            raise SigningKeyError(
                f"{path} is not the public half of the signing key in use; restore the signing key, or move the file "
                "(and the heads beside it) aside if the key was replaced on purpose"
            )

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's, over this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """Signs heads. `public` checks them."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKey":
        """Read the private key; make it and the public key ``<path>.pub`` where there is neither.

        Two starts at once agree on one key. Raises SigningKeyError when others can read the file, when it is no such
        key, and when only the public key is there: a log goes on under the key it was begun with.
        """
        public = public_key_path(path)
        if not path.exists():
            if public.exists():
                raise SigningKeyError(
                    f"the signing key {path} is gone, though {public} is there; restore it from a backup"
                )
            _create(path)
        key = cls._load(path)
        if not is_credential(path):
            key.public.publish(public)
        return key

    @classmethod
    def _load(cls, path: Path) -> "SigningKey":
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077 and not is_credential(path):
                raise SigningKeyError(f"others can reach the signing key {path} (mode {mode:04o}); chmod it to 0600")
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise SigningKeyError(f"the signing key {path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(
                f"the signing key {path} cannot be read: it holds no private key in PEM; restore it from a backup"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"the signing key {path} is of another kind than Ed25519")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)


def public_key_path(signing_key: Path) -> Path:
    """Where the public key lies: beside the private one, with ``.pub`` added."""
    return signing_key.with_name(f"{signing_key.name}.pub")


def _create(path: Path) -> None:
    """Make the private key; what another process made first stays."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = _write_partial(path, pem, 0o600)
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        return
    finally:
        partial.unlink()
    sync_folder(path.parent)


def _write_partial(path: Path, data: bytes, mode: int) -> Path:
    """Write a file beside its final name, durably; its name."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return partial


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
