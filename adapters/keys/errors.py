"""Every error that `adapters.keys` raises; the tree is drawn in the package's docstring. None holds a key or a name."""


class KeyStoreError(Exception):
    """Base of all errors of this package."""


class MasterKeyError(KeyStoreError):
    """The master key cannot be used: absent, readable by others, or of the wrong length."""


class Tampered(KeyStoreError):
    """Sealed bytes do not open: changed, cut, swapped, or sealed under another key."""


class KeyStoreUnavailable(KeyStoreError):
    """A mirror cannot be read or written: an unmounted, full or broken disk. Nothing was promised to the caller."""


class KeyStoreCorrupt(KeyStoreError):
    """An entry is damaged in both mirrors: restore the key store from its backup."""


class KeyMissing(KeyStoreError):
    """No mirror has the key, and the erasure ledger does not name it: restore the key store from its backup."""


class KeyDestroyed(KeyStoreError):
    """The key was destroyed on purpose; the erasure ledger names it. What it sealed is gone for good."""
