"""Brings the daemon up: folders and keys, database, packages checked, then the supervisor. What is wrong shows here."""

from collections.abc import Callable

import sqlalchemy as sa
import structlog

from adapters.fhir import FhirError
from adapters.keys import KeyStore, KeyStoreError
from adapters.storage import ObjectStore, StoreError
from daemon.audit import AuditError, AuditEvent, AuditWriter, Detail, Kind, Name, SigningKey
from daemon.database import Database
from daemon.database.migrate import migrate
from daemon.deidentification import Recipes, UnusableScript
from daemon.destinations import open_destinations
from daemon.folders import MasterKeyLost, open_master_key, prepare_folders
from daemon.logs import configure_logging
from daemon.pipelines import UnknownPipeline, open_pipelines
from daemon.settings import Settings
from daemon.supervision.chronicle import Chronicle
from daemon.supervision.supervisor import AlreadyRunning, Supervisor
from runtime import PackageError

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The daemon cannot start; the message says what to do."""


def start(
    settings: Settings,
    reload: Callable[[], Settings],
    on_ready: Callable[[Supervisor], None] | None = None,
    *,
    log: bool = True,
) -> None:
    """Prepare, then supervise until told to stop. Raises `StartError` before anything runs."""
    if log:
        configure_logging(settings.log.level, settings.log.format, process="supervisor")
    try:
        prepare(settings)
        Supervisor(settings, reload, on_ready, Chronicle(settings)).run()
    except (MasterKeyLost, KeyStoreError, StoreError, AuditError, AlreadyRunning) as error:
        raise StartError(str(error)) from None
    except (UnknownPipeline, UnusableScript, PackageError, FhirError) as error:
        raise StartError(str(error)) from None
    except sa.exc.OperationalError as error:
        shown, reason = settings.database.shown_url, " ".join(str(error.orig).split())
        raise StartError(f"the database {shown} cannot be opened ({reason}); see database.url") from None
    except OSError as error:
        if error.filename:
            raise StartError(f"{error.filename}: {error.strerror}") from None
        denied = isinstance(error, PermissionError)
        hint = "a port below 1024 wants systemd's socket" if denied else "see dicom.address and dicom.port"
        where = f"{settings.dicom.address}:{settings.dicom.port}"
        reason = str(error.strerror).partition(" (while attempting")[0]  # `socket.create_server` adds what is said here
        raise StartError(f"{where}: {reason}; {hint}") from None


def prepare(settings: Settings) -> None:
    """Make folders and keys on the first start, bring the database up to date, and open once what children will
    open.
    """
    prepare_folders(settings)
    ObjectStore(settings.store.path, KeyStore(settings.keys.mirrors, open_master_key(settings)))
    SigningKey.load_or_create(settings.audit.signing_key_file)
    SigningKey.load_or_create(settings.runtime.result_key_file)
    database = Database(settings.database.url)
    audit = AuditWriter(f"{settings.node.name}/supervisor")
    migrate(database, lambda connection, before, after: audit.record(connection, _migrated(before, after)))
    database.dispose()
    open_pipelines(settings)
    open_destinations(settings)
    Recipes(settings)


def _migrated(before: str | None, after: str) -> AuditEvent:
    details: dict[str, Detail] = {"before": Name(f"r{before}") if before else None, "after": Name(f"r{after}")}
    return AuditEvent(Kind.DATABASE_MIGRATED, actor="supervisor", details=details)
