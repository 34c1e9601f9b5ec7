"""Tells the audit log what only the supervisor sees: which settings hold, that a child died, which models were loaded,
that the daemon stopped.

The supervisor's loop must never wait for a database, so a thread records in its place, in the order in which things
happened. While the database does not answer they wait here; those that still wait when the daemon stops are in its log
only.
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa
import structlog

from daemon.audit import AuditError, AuditEvent, AuditWriter, Detail, Id, Kind, Name, Sealer, SigningKey
from daemon.audit.events import canonical_json
from daemon.database import Database
from daemon.logs import places
from daemon.settings import Settings, SettingsError
from runtime import RuntimeClient, RuntimeFailure

_ACTOR: Final = "supervisor"
_AGAIN_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)

_Told = Callable[[], Sequence[AuditEvent]]


class Chronicle:
    """Records from `open` to `close`; whoever tells it something never waits. It stays with the database of its
    settings, also when a reload names another: that one is brought up to date at the next start only.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.database.url)
        self._audit = AuditWriter(f"{settings.node.name}/supervisor")
        self._told: queue.SimpleQueue[_Told | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._record_all, name="chronicle", daemon=True)

    def open(self) -> None:
        """The daemon starts, with its settings."""
        self._thread.start()
        self._tell(Kind.PROCESS_STARTED)
        self.configuration_loaded(self._settings)

    def configuration_loaded(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._settings = settings
        self._tell(Kind.CONFIGURATION_LOADED, settings=_digest(settings), sources=len(settings.sources))

    def configuration_refused(self, error: SettingsError | OSError) -> None:
        """The settings that were to be taken at a reload cannot be; those before hold on."""
        problems = len(error.problems) if isinstance(error, SettingsError) else 1
        self._tell(Kind.CONFIGURATION_REFUSED, problems=problems)

    def child_died(self, child: str, code: int, *, was_silent: bool) -> None:
        """A child ended though nobody had told it to. `code` is minus the signal where one ended it."""
        self._tell(Kind.CHILD_DIED, child=Name(child), code=code, was_silent=was_silent)

    def runtime_ready(self) -> None:
        """The runtime has loaded its models; which, it says itself."""
        self._told.put(self._loaded_models)

    def close(self) -> None:
        """Record that the daemon stopped, and seal that, unless the database does not answer in time."""
        self._tell(Kind.PROCESS_STOPPED)
        self._told.put(None)
        self._ending.set()
        self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive():
            _log.error("chronicle_unfinished")
            return
        self._seal()
        self._database.dispose()

    def _tell(self, kind: Kind, **details: Detail) -> None:
        event = AuditEvent(kind, actor=_ACTOR, details=details)
        self._told.put(lambda: [event])

    def _loaded_models(self) -> list[AuditEvent]:
        try:
            with RuntimeClient(self._settings.runtime.socket) as runtime:
                models = runtime.models()
        except RuntimeFailure as error:  # it has ended again; the next one loads them again
            _log.warning("models_not_told", error=type(error).__name__)
            return []
        return [
            AuditEvent(
                Kind.MODEL_LOADED,
                actor=_ACTOR,
                details={
                    "model": Name(model.name),
                    "version": Name(f"v{model.version}"),
                    "weights": Id(model.weights_sha256),
                },
            )
            for model in models
        ]

    def _record_all(self) -> None:
        while (told := self._told.get()) is not None:
            events = _made(told)
            while events and not self._recorded(events) and not self._ending.wait(_AGAIN_SECONDS):
                pass

    def _recorded(self, events: Sequence[AuditEvent]) -> bool:
        try:
            self._database.retrying(lambda connection: self._audit.record(connection, *events))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next ones must be recorded, and these again
            kinds = [event.kind.value for event in events]
            _log.error("not_recorded", kinds=kinds, error=type(error).__name__, trace=places(error))
            return False
        return True

    def _seal(self) -> None:
        """The engine that sealed is gone: seal what it could not have sealed any more."""
        audit = self._settings.audit
        try:
            Sealer(self._database, SigningKey.load_or_create(audit.signing_key_file), audit.heads_directory).seal()
        except (AuditError, sa.exc.SQLAlchemyError, OSError) as error:
            _log.error("audit_sealing_stopped", error=type(error).__name__)


def _made(told: _Told) -> Sequence[AuditEvent]:
    try:
        return told()
    except Exception as error:  # noqa: BLE001 - one thing that cannot be told must not silence the others
        _log.error("not_told", error=type(error).__name__, trace=places(error))
        return ()


def _digest(settings: Settings) -> Id:
    """Names the settings: the same digest, the same settings. Secrets do not go into it."""
    shown = settings.model_dump(mode="json")
    shown["database"]["url"] = settings.database.shown_url
    return Id(hashlib.sha256(canonical_json(shown)).hexdigest())
