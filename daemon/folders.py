"""The folders of the installation, and the master key within: what is there before anything is opened.

Knows neither database nor patients, so that a receiver and the runtime, which need no more than this, load no more.
"""

from pathlib import Path

from adapters.keys import MasterKey
from daemon.settings import Settings


def open_master_key(settings: Settings) -> MasterKey:
    """The master key, from the file of the settings; systemd's credential is that file unless another is set."""
    return MasterKey.from_file(settings.keys.master_key_file)


def prepare_folders(settings: Settings) -> None:
    """First start: make the folders (0700) and a master key where there is none and nothing sealed under one yet."""
    for folder in (settings.node.data, settings.node.runtime_directory, settings.store.path, *settings.keys.mirrors):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not settings.keys.master_key_file.exists():
        if _holds_anything(settings.store.path) or any(_holds_anything(mirror) for mirror in settings.keys.mirrors):
            raise MasterKeyLost(
                f"the master key {settings.keys.master_key_file} is gone but sealed data is there; restore the key's "
                "backup (a new key would open none of it)"
            )
        MasterKey.create_file(settings.keys.master_key_file)


class MasterKeyLost(Exception):
    """There is sealed data but no master key."""


def _holds_anything(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))
