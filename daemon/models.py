"""Which model packages this installation admits, the key under which it seals them, and what opens their servers."""

from daemon.folders import open_master_key
from daemon.settings import Settings
from runtime.backend import RemoteAccess
from runtime.package import Admission
from runtime.package.signing import read_public_key


def admission(settings: Settings, *, opens_sealed: bool = True) -> Admission:
    """What the settings demand of packages. Raises `runtime.PackageError` for a key file that cannot be used.

    Without `opens_sealed`, sealed packages are described but not read: that needs no access to the master key.
    """
    return Admission(
        trusted_keys=tuple(map(read_public_key, settings.runtime.trusted_keys)),
        require_signatures=settings.runtime.require_signatures,
        site_key=(lambda: site_key(settings)) if opens_sealed else None,
    )


def site_key(settings: Settings) -> bytes:
    """The 32-byte key that wraps the keys of sealed packages, derived from the master key. Raises `MasterKeyError`."""
    return open_master_key(settings).subkey("models")


def remote_access(settings: Settings) -> dict[str, RemoteAccess]:
    """What the servers that packages name demand of us, by their authority. The settings hold secrets."""
    return {
        remote.authority: RemoteAccess(
            remote.token.get_secret_value() if remote.token else None, remote.ca_file, remote.timeout_seconds
        )
        for remote in settings.runtime.remotes.values()
    }
