"""What a process of the daemon works with: settings, database, store, keys, vault, audit. Opened once a process.

Receivers have no `Node`: they know no database.
"""

from dataclasses import dataclass
from typing import Self

from adapters.keys import KeyStore, MasterKey
from adapters.storage import ObjectStore
from daemon.audit import AuditWriter
from daemon.database import Database
from daemon.folders import open_master_key
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
