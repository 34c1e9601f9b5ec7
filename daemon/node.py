"""What a process of the daemon works with: settings, database, store, keys, vault, audit. Opened once a process.

Receivers have no `Node`: they know no database.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from adapters.keys import KeyStore, MasterKey
from adapters.storage import ObjectStore
from daemon.audit import AuditWriter
from daemon.database import Database
from daemon.settings import Settings
from daemon.vault import Vault
from runtime import RuntimeClient


@dataclass(frozen=True)
class Node:
    """One process's view of the installation."""

    name: str
    settings: Settings
    database: Database
    master: MasterKey
    keys: KeyStore
    store: ObjectStore
    audit: AuditWriter
    vault: Vault
    runtime: RuntimeClient

    @classmethod
    def open(cls, settings: Settings, name: str) -> Self:
        """Open everything; `name` ("engine", "console") tells the process's audit events from others'."""
        database = Database(settings.database.url)
        master = open_master_key(settings)
        keys = KeyStore(settings.keys.mirrors, master)
        audit = AuditWriter(f"{settings.node.name}/{name}")
        return cls(
            name=name,
            settings=settings,
            database=database,
            master=master,
            keys=keys,
            store=ObjectStore(settings.store.path, keys),
            audit=audit,
            vault=Vault(database, keys, audit),
            runtime=RuntimeClient(settings.runtime.socket),
        )


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
