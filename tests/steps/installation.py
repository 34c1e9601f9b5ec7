"""One installation in this process, driven a step at a time: real store, keys, database, indexer, steps and folders.

Only the model is made up, and a destination fails where a test says so. What runs at once in a daemon runs here in the
order that a test wants: `paused_after` holds a transaction open at a given function, `meanwhile` hooks into a step.
"""

import shutil
import tempfile
import threading
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Any, TypeVar

import numpy as np
import pytest
import sqlalchemy as sa
import structlog
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from adapters.directory import DirectoryDestination
from adapters.fhir import DeliveryOutcome, PatientMatch
from adapters.keys import PatientEntry
from adapters.storage import EventKind, IntakeWriter, ObjectRef, Receipt, ReceiptKind
from daemon import queue
from daemon.audit import Kind
from daemon.control import commands
from daemon.database import schema as t
from daemon.database.lease import acquire
from daemon.deidentification import Recipes
from daemon.destinations import Destination, open_archives, open_destinations, open_pacs
from daemon.engine.tasks import STEPS, TaskLoop
from daemon.folders import prepare_folders
from daemon.intake import INDEX_LEASE_SECONDS, Indexer
from daemon.node import Node
from daemon.pipelines import load_packages, open_pipelines
from daemon.queue import Task, TaskState
from daemon.registry import Packages, register
from daemon.settings import Settings
from daemon.settings.defaults import folder_defaults, machine_defaults
from daemon.states import TERMINAL, DeliveryState, RevisionState, Standing
from daemon.steps import Context
from daemon.vault import open_column, seal_column
from pipelines.identity import PatientIdentity
from pipelines.results import StudyResult
from runtime import ModelHealth
from runtime.inference import InferenceResult
from runtime.package import Role
from runtime.verdict import Verdict
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image
from tests.waiting import wait_until

T = TypeVar("T")

LEASE_SECONDS = 3600.0
_MUCH_LATER = 3600.0
EXPIRED = 0.0
"""A lease of no length: what a worker that fell silent leaves behind, without waiting for it."""
OPERATOR = "user:operator"
_LIVE = {TaskState.READY, TaskState.RUNNING}
_WAITING = {DeliveryState.PENDING, DeliveryState.PREPARED, DeliveryState.SENDING}


def image(patient: int = 1, **changes: Any) -> Dataset:
    """A chest image of a patient who does not exist; `changes` are attributes by keyword."""
    made = as_dx(drawn_image(patient), MadeUpPatient(patient))
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def another(of: Dataset, seed: int = 99) -> Dataset:
    """One more image of the same patient and study."""
    pixels = drawn_image(seed)
    patient = MadeUpPatient(int(of.PatientID.removeprefix("PLANTID")))
    return as_dx(pixels, patient, study_uid=of.StudyInstanceUID, number=seed)


class Model:
    """Stands in for the runtime process: the same answer for every image, from the weights of the version asked for.

    `before` is called before each answer; `scores` are the answers of versions that give another; `verdict` is what the
    gate says of each image, None if the runtime does not judge; `heat` is how strongly each label is spoken for, the
    same in every place, None for answers without a heatmap.
    """

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self.before: Callable[[], object] = lambda: None
        self.scores: dict[str, list[float]] = {}
        self.verdict: Verdict | None = Verdict.FITS
        self.heat: list[float] | None = None
        self.routes: tuple[ModelHealth, ...] = ()

    def infer(self, model: str, inputs: Any, *, version: str, priority: int, timeout_seconds: float) -> InferenceResult:
        self.before()
        package = self._packages.by_version[version]
        answer = np.array([self.scores.get(version, [0.7, 0.2, 0.1])], dtype=np.float32)
        outputs = {package.outputs[0].name: answer}
        spec = package.output(Role.HEATMAP)
        if spec is not None and self.heat is not None:
            fields = np.ones((1, *spec.sample_shape), np.float32)
            outputs[spec.name] = fields * np.array(self.heat, np.float32).reshape(-1, 1, 1)
        gate = (self.verdict,) if self.verdict else ()
        return InferenceResult(outputs, package.name, package.version, package.weights_sha256, 1, 0.0, 0.0, gate=gate)

    def models(self) -> tuple[()]:
        return ()

    def health(self) -> tuple[ModelHealth, ...]:
        return self.routes


@dataclass(frozen=True)
class Instead:
    """What happens to one delivery: `outcome` is answered; `written` is whether the real destination took it before."""

    outcome: DeliveryOutcome
    written: bool = False


@dataclass
class SpoiltDestination:
    """A real destination. Each planned `Instead` spoils one delivery, each of `matches` answers one match in its place;
    `before_match` and `before` are called before each match and delivery.
    """

    real: Destination
    plan: deque[Instead] = field(default_factory=deque)
    matches: deque[PatientMatch] = field(default_factory=deque)
    before: Callable[[], object] = lambda: None
    before_match: Callable[[], object] = lambda: None
    asked: int = 0

    def match_patient(self, identity: PatientIdentity) -> PatientMatch:
        self.before_match()
        return self.matches.popleft() if self.matches else self.real.match_patient(identity)

    def deliver(self, document: bytes) -> DeliveryOutcome:
        self.asked += 1
        self.before()
        if not self.plan:
            return self.real.deliver(document)
        instead = self.plan.popleft()
        if instead.written:
            self.real.deliver(document)
        return instead.outcome


class InProcess:
    """What worker processes do, done here; `before` is called before each piece of work."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        self.before()
        return function(*args, **kwargs)


@dataclass
class Pause:
    """A transaction that is held open: `reached` once it is, `go` lets it end."""

    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@contextmanager
def paused_after(
    owner: object, name: str, when: Callable[..., bool] = lambda *_arguments, **_named: True
) -> Iterator[Pause]:
    """The first call of a function (by its owner and name, with arguments such as `when` wants) that ends is held up
    before it returns: until the test lets it go, at the latest at the end of the block.
    """
    pause, original, first = Pause(), getattr(owner, name), [True]

    def paused(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        if when(*arguments, **named) and first and first.pop():
            pause.reached.set()
            assert pause.go.wait(30), "the test never let the transaction go on"
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, paused)
        try:
            yield pause
        finally:
            pause.go.set()


def records(kind: Kind) -> Callable[..., bool]:
    """Whether a call of `AuditWriter.record` records an event of the kind."""
    return lambda _writer, _connection, *events: any(event.kind is kind for event in events)


class Association:
    """One association with a modality, as the receiver notes it."""

    def __init__(self, installation: "Installation", calling_ae: str = "TESTPACS") -> None:
        self.id = uuid.uuid4().hex
        self._installation = installation
        self._calling_ae = calling_ae
        self._note(EventKind.ASSOCIATION_OPENED)

    def store(self, data_set: Dataset | bytes) -> ObjectRef:
        """C-STORE up to the acknowledgement; gives where the bytes lie."""
        uids = {}
        if isinstance(data_set, Dataset):
            uids = {"sop_class_uid": data_set.SOPClassUID, "sop_instance_uid": data_set.SOPInstanceUID}
            uids["transfer_syntax_uid"] = _syntax_of(data_set)
            data_set = _encoded(data_set)
        ref = self._installation.receiver.write(self._receipt(ReceiptKind.INSTANCE, **uids), data_set)
        self._installation.acknowledged.append(ref)
        return ref

    def release(self) -> None:
        self._note(EventKind.ASSOCIATION_RELEASED)

    def _note(self, event: EventKind) -> None:
        self._installation.receiver.write(self._receipt(ReceiptKind.EVENT, event=event))

    def _receipt(self, kind: ReceiptKind, **values: Any) -> Receipt:
        if kind is ReceiptKind.INSTANCE:
            values.setdefault("transfer_syntax_uid", str(ExplicitVRLittleEndian))
        peer = {"calling_ae": self._calling_ae, "called_ae": "KOPRU", "peer_address": "127.0.0.1"}
        return Receipt(kind, received_at=time(), association_id=self.id, **peer, **values)


Make = Callable[..., "Installation"]
"""Makes an installation with these tables of `archives`."""


class Installation:
    """See the module. `acknowledged` is everything that a modality was told is safe.

    `destinations` are folders that get reports; `archives` are tables of destinations on this machine, of kind `dicom`
    unless they say otherwise;
    `sections` replace those of the settings.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        destinations: tuple[str, ...],
        archives: Sequence[dict[str, Any]] = (),
        **sections: Any,
    ) -> None:
        self.folder = folder
        self._runtime_directory = Path(tempfile.mkdtemp(prefix="kopru-test-"))  # sockets want short paths
        values = _values(folder, self._runtime_directory, database_url, destinations) | sections
        values["destinations"] += [{"kind": "dicom", "address": "127.0.0.1"} | archive for archive in archives]
        self.settings = Settings.model_validate(values)
        prepare_folders(self.settings)
        packages = load_packages(self.settings)
        pipelines = open_pipelines(self.settings, packages)
        self.packages = pipelines["chest-xray"][1]
        self.model = Model(self.packages)
        self.node = replace(Node.open(self.settings, "engine"), runtime=self.model)  # type: ignore[arg-type]
        self.database = self.node.database
        self.receiver = IntakeWriter(self.node.store, "receiver-1", objects_per_batch=4)
        self.database.retrying(lambda connection: register(connection, self.node.audit, packages))
        self.acknowledged: list[ObjectRef] = []
        self.destinations = {name: SpoiltDestination(d) for name, d in open_destinations(self.settings).items()}
        self.workers = InProcess()
        self.context = Context(
            self.node,
            self.workers,  # type: ignore[arg-type]
            pipelines,
            self.destinations,
            open_archives(self.settings),
            open_pacs(self.settings),
            Recipes(self.settings),
        )
        self.loop = TaskLoop(self.context, "worker")
        self._threads = ThreadPoolExecutor(4)
        self.indexer = self.new_indexer()

    def change(self, destination: str, **values: Any) -> None:
        """The settings of one destination are others from now on, and the engine has started again."""
        changed = {
            "destinations": tuple(
                type(one).model_validate(one.model_dump() | values) if one.name == destination else one
                for one in self.settings.destinations
            )
        }
        self.settings = self.settings.model_copy(update=changed)
        self.node = replace(self.node, settings=self.settings)
        self.context = replace(self.context, node=self.node, recipes=Recipes(self.settings))
        self.loop = TaskLoop(self.context, "worker")

    def close(self) -> None:
        self._threads.shutdown()
        self.receiver.close()
        self.database.dispose()
        shutil.rmtree(self._runtime_directory)

    # Intake

    def new_indexer(self) -> Indexer:
        """The indexer of an engine that has just started; the one before has lost its right."""
        owner = uuid.uuid4().hex
        with self.database.write() as connection:
            connection.execute(sa.update(t.lease).where(t.lease.c.name == "indexer").values(until=0.0))
            lease = acquire(connection, "indexer", owner, INDEX_LEASE_SECONDS)
        assert lease is not None
        self.indexer = Indexer(self.node, lease, self.workers)  # type: ignore[arg-type]
        return self.indexer

    def send(self, *data_sets: Dataset | bytes) -> list[ObjectRef]:
        """One association with these instances, from its beginning to its end, indexed."""
        association = Association(self)
        refs = [association.store(data_set) for data_set in data_sets]
        association.release()
        self.indexer.pass_once()
        return refs

    # Tasks

    def claim(self, kind: str, lease_seconds: float = LEASE_SECONDS) -> Task:
        """The next task of the kind, leased by a worker."""
        (task,) = queue.claim(self.database, "worker", [kind], 1, lease_seconds)
        return task

    def attempt(self, task: Task) -> None:
        """Run a claimed task as a worker does. If it is to be tried again, that is when a test hurries, however long
        this machine takes meanwhile.
        """
        self.loop._attempt(task, structlog.get_logger())
        again = (t.task.c.id == task.id, t.task.c.state == TaskState.READY, t.task.c.not_before > 0)
        with self.database.write() as connection:
            connection.execute(sa.update(t.task).where(*again).values(not_before=t.task.c.not_before + _MUCH_LATER))

    def work(self, *kinds: str) -> None:
        """Run what is due of these kinds, by default everything, and what follows from it, until nothing is due."""
        while tasks := queue.claim(self.database, "worker", kinds or tuple(STEPS), 1, LEASE_SECONDS):
            self.attempt(tasks[0])

    def maintain(self, kind: str) -> None:
        """Run one kind of recurring work now."""
        with self.database.write() as connection:
            queue.enqueue(connection, kind, uuid.uuid4().hex, {})
        self.work(kind)

    def hurry(self) -> None:
        """Let what waits to be tried again be due now."""
        with self.database.write() as connection:
            connection.execute(sa.update(t.task).where(t.task.c.state == TaskState.READY).values(not_before=0.0))

    # At once

    def beside(self, work: Callable[[], T]) -> "Future[T]":
        """Do it in a thread."""
        return self._threads.submit(work)

    def collide(
        self, held_open: AbstractContextManager[Pause], first: Callable[[], object], second: Callable[[], object]
    ) -> None:
        """Let `second` begin while a transaction of `first` is held open (`paused_after`), and both end."""
        with held_open as pause:
            holding = self.beside(first)
            assert pause.reached.wait(20)
            coming = self.beside(second)
            self._wait_until_held_up(coming)
            pause.go.set()
            holding.result(20)
            coming.result(20)

    def _wait_until_held_up(self, work: "Future[Any]") -> None:
        """Wait until the work waits for a lock or is done. (SQLite has one writer, and cannot be asked who waits.)"""
        if self.database.is_sqlite:
            return
        waiting = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

        def held_up() -> bool:
            with self.database.read() as connection:
                return work.done() or connection.execute(waiting).scalar_one() > 0

        wait_until(held_up, "the other transaction to wait or to end")

    def meanwhile(self, kind: str, happens: Callable[[], object]) -> None:
        """Let something happen in the middle of the next step of the kind, once."""
        waiting = [happens]

        def once() -> None:
            if waiting:
                waiting.pop()()

        reports = self.destinations["reports"]
        match kind:
            case "deidentify":
                self.workers.before = once
            case "infer":
                self.model.before = once
            case "report":
                reports.before_match = once
            case "deliver":
                reports.before = once

    # What an operator sees

    def ask(self, command: str, **arguments: Any) -> Any:
        return commands.COMMANDS[command](self.node, OPERATOR, **arguments)

    def shown(self) -> dict[str, Any]:
        """The only study."""
        (study,) = self.ask("studies.list")
        return dict(self.ask("studies.show", study=study["study"]))

    def revisions(self) -> list[str]:
        """The states of the only study's revisions, oldest first."""
        return [str(revision["state"]) for revision in self.shown()["revisions"]]

    def deliveries(self) -> dict[tuple[int, str], str]:
        """The states of the only study's deliveries, by revision and destination."""
        return {(row["revision"], row["destination"]): str(row["state"]) for row in self.shown()["deliveries"]}

    def standings(self) -> list[str]:
        """The standings of all instances that the index knows, sorted."""
        with self.database.read() as connection:
            return sorted(connection.execute(sa.select(t.instance.c.standing)).scalars())

    def task(self, kind: str, state: TaskState) -> int:
        """The only task of the kind and state."""
        (task,) = self.ask("tasks.list", kind=kind, state=state)
        return int(task["id"])

    def members(self, number: int = 1) -> int:
        """How many instances the only study's revision with this number has."""
        revision = self.shown()["revisions"][number - 1]["id"]
        with self.database.read() as connection:
            query = sa.select(sa.func.count()).select_from(t.revision_instance)
            return connection.execute(query.where(t.revision_instance.c.revision_id == revision)).scalar_one()

    def result(self) -> StudyResult:
        """What is stored of the only revision with a result."""
        row, entry = self._stored_result()
        return StudyResult.from_json(open_column(entry, "result", row.id, row.sealed_result))

    def put_result(self, result: StudyResult) -> None:
        """Store another in its place."""
        row, entry = self._stored_result()
        sealed = seal_column(entry, "result", row.id, result.to_json())
        with self.database.write() as connection:
            connection.execute(sa.update(t.result).values(sealed_result=sealed))

    def _stored_result(self) -> tuple[sa.Row[Any], PatientEntry]:
        with self.database.read() as connection:
            row = connection.execute(sa.select(t.result)).one()
        return row, self.node.keys.patient(row.patient_id)

    def report(self, destination: str = "reports") -> bytes | None:
        """The document of the only report that lies at the destination."""
        folder = self.destinations[destination].real
        assert isinstance(folder, DirectoryDestination)
        reports = folder.reports()
        assert len(reports) <= 1
        return reports[0].document.read_bytes() if reports else None

    def assert_nothing_is_dropped(self) -> None:
        """Every acknowledged instance is listed, and nothing that is under way has been forgotten by the queue."""
        set_aside = {row["id"] for row in self.ask("status")["set_aside"]}
        studies = [self.ask("studies.show", study=row["study"]) for row in self.ask("studies.list")]
        shown = {instance["id"]: instance for study in studies for instance in study["instances"]}
        assert {ref.id for ref in self.acknowledged} <= set_aside | set(shown) | self._without_revision()
        with self.database.read() as connection:
            live = {
                row.key for row in connection.execute(sa.select(t.task.c.key).where(t.task.c.state.in_(_LIVE))).all()
            }
        for study in studies:
            moving = {delivery["id"] for delivery in study["deliveries"] if delivery["state"] in _WAITING}
            assert moving <= live, f"deliveries that nobody will bring on: {study['deliveries']}"
            for revision in study["revisions"]:
                if revision["state"] not in TERMINAL | {RevisionState.ASSEMBLING}:
                    assert revision["id"] in live or moving, f"a revision that nobody will bring on: {revision}"

    def _without_revision(self) -> set[str]:
        """Instances that make no revision: `status` counts them by their standing."""
        counted = (Standing.OWN_RESULT, Standing.UNSELECTED, Standing.REJECTED, Standing.DUPLICATE)
        with self.database.read() as connection:
            query = sa.select(t.instance.c.id).where(t.instance.c.standing.in_(counted))
            return set(connection.execute(query).scalars())


def _values(folder: Path, runtime_directory: Path, database_url: str, destinations: tuple[str, ...]) -> dict[str, Any]:
    data = folder / "data"
    values: dict[str, Any] = folder_defaults(data, runtime_directory, {}) | machine_defaults()
    values["runtime"] |= folder_defaults(data, runtime_directory, {})["runtime"]
    values["database"] = {"url": database_url}
    values["store"]["minimum_free_bytes"] = 0
    values["source_defaults"] = {"issuer": "test-hospital", "settle_seconds": 0.0}
    values["destinations"] = [{"name": name, "kind": "directory", "path": str(folder / name)} for name in destinations]
    return values


def _syntax_of(data_set: Dataset) -> UID:
    file_meta = getattr(data_set, "file_meta", None)  # a copy of the attributes alone has none
    return UID(file_meta.TransferSyntaxUID if file_meta else ExplicitVRLittleEndian)


def _encoded(data_set: Dataset) -> bytes:
    """As it goes over the network: no File Meta Information."""
    syntax = _syntax_of(data_set)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, Dataset(data_set))
    encoded: bytes = buffer.getvalue()
    if not syntax.is_deflated:
        return encoded
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(encoded) + deflating.flush()
