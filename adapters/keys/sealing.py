"""Seals small values (AES-256-GCM, NIST SP 800-38D) so that they open only under the same key and in the same place.

For key entries, database columns and wrapped data keys. A sealed value is version (1) + nonce (12, random) +
ciphertext + tag (16): 29 bytes more than the value. One key must seal fewer than 2^32 values (SP 800-38D 8.3).
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.keys.errors import Tampered

KEY_BYTES: Final = 32
OVERHEAD_BYTES: Final = 29
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


def seal_value(key: bytes, context: bytes, value: bytes) -> bytes:
    """Seal `value` under the 32-byte `key`. `context` says where it belongs (table, column, row) and is not stored."""
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, value, _VERSION + context)


def open_value(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """Open what `seal_value` sealed under the same key and context; raises `Tampered` otherwise."""
    if sealed[:1] != _VERSION or len(sealed) < OVERHEAD_BYTES:
        raise Tampered("a sealed value is too short or of an unknown version")
    try:
        return AESGCM(key).decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], _VERSION + context)
    except InvalidTag:
        raise Tampered("a sealed value was changed, moved, or sealed under another key") from None
