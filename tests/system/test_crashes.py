"""kill -9 of receiver, engine, runtime, console and supervisor at random moments under load.

Afterwards every acknowledged instance is there, each study has exactly one report at the server and about the right
patient, the log verifies. The seed decides who is killed and when; the long form does it at least 100 times.
"""

import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from adapters.dicom import SendError
from adapters.keys import KeyStore, MasterKey
from adapters.storage import ObjectStore, ReceiptKind
from anonymize import read_header
from tests.system.kopru import SYSTEM, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until

VICTIMS = ("receiver", "receiver", "engine", "engine", "runtime", "console", "supervisor")
SECONDS_BETWEEN = (0.2, 2.5)
_IMAGES_PER_STUDY = 2


class Load:
    """A modality that sends one study after the other and repeats what was not acknowledged, as modalities do."""

    def __init__(self, kopru: Kopru, fhir_server, folder: Path, pause_seconds: float) -> None:
        self.kopru, self.fhir, self.folder, self.pause_seconds = kopru, fhir_server, folder, pause_seconds
        self.acknowledged: dict[str, MadeUpPatient] = {}  # SOP Instance UID
        self.patients: list[MadeUpPatient] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Begin no new study; bring the last one to its end."""
        self._stop.set()
        self._thread.join(timeout=120)
        assert not self._thread.is_alive(), "the load did not end"

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self._send_study(MadeUpPatient(number))
            self._stop.wait(self.pause_seconds)

    def _send_study(self, patient: MadeUpPatient) -> None:
        self.fhir.create(patient.fhir(SYSTEM))
        self.patients.append(patient)
        study_uid = None
        waiting: dict[Path, str] = {}
        for number in range(_IMAGES_PER_STUDY):
            image = as_dx(drawn_image(patient.number * 10 + number), patient, study_uid=study_uid, number=number + 1)
            study_uid = image.StudyInstanceUID
            path = save(image, self.folder / f"{patient.number}-{number}.dcm")
            waiting[path] = image.SOPInstanceUID
        end = 600
        while waiting and end:
            end -= 1
            try:
                stored = self.kopru.send(list(waiting))
            except (SendError, RuntimeError):
                stored = []
            for path in stored:
                self.acknowledged[waiting.pop(path)] = patient
            if waiting:
                threading.Event().wait(0.3)
        assert not waiting, "the daemon did not come back"


def _crash(kopru: Kopru, load: Load, kills: int, seed: int) -> Counter:
    dice = random.Random(seed)
    killed: Counter = Counter()
    for _ in range(kills):
        threading.Event().wait(dice.uniform(*SECONDS_BETWEEN))
        victim = dice.choice(VICTIMS)
        killed[victim] += 1
        if victim == "supervisor":
            kopru.kill()
            kopru.start()
        else:
            kopru.kill_child(victim)
    return killed


def _check(kopru: Kopru, load: Load, fhir_server) -> None:
    studies = len(load.patients)
    wait_until(kopru._is_ready, "the daemon after the last kill", 90)
    kopru.wait_for_states({"delivered": studies}, seconds=600)
    assert kopru.ask("audit.verify")["problems"] == []
    assert kopru.stop() == 0
    assert _stored_uids(kopru) >= set(load.acknowledged)
    for patient in load.patients:
        (known,) = fhir_server.search("Patient", identifier=f"{SYSTEM}|{patient.patient_id}")
        reports = fhir_server.search("DiagnosticReport", subject=f"Patient/{known['id']}")
        assert len(reports) == 1, f"{len(reports)} reports for one study"
        order = reports[0]["basedOn"][0]["identifier"]["value"]
        assert order == patient.accession


def _stored_uids(kopru: Kopru) -> set[str]:
    master = MasterKey.from_file(next(kopru.data.rglob("master*")))
    keys = KeyStore(sorted(path.parent for path in kopru.data.rglob("erased.ledger")), master)
    root = next(path.parent for path in kopru.data.rglob("objects") if path.is_dir())
    store = ObjectStore(root, keys)
    found = set()
    for receiver in store.receivers():
        for batch in store.batches(receiver):
            for ref in store.objects(batch):
                receipt, data = store.open(ref)
                if receipt.kind is ReceiptKind.INSTANCE:
                    found.add(read_header(data, receipt.transfer_syntax_uid).sop_instance_uid)
    return found


def _crash_and_check(
    tmp_path: Path, url: str, fhir_server, kills: int, seed: int, pause_seconds: float = 0.3
) -> Counter:
    kopru = Kopru(tmp_path / "node", url, fhir_url=fhir_server.url, receivers=2)
    try:
        kopru.start()
        load = Load(kopru, fhir_server, tmp_path / "in", pause_seconds)
        load.start()
        killed = _crash(kopru, load, kills, seed)
        load.finish()
        _check(kopru, load, fhir_server)
        print(f"seed {seed}: {sum(killed.values())} kills {dict(killed)}, {len(load.patients)} studies")
        return killed
    finally:
        kopru.close()


@pytest.mark.node
def test_nothing_is_lost_or_doubled_by_a_few_kills(tmp_path: Path, fhir_server):
    _crash_and_check(tmp_path, f"sqlite:///{tmp_path / 'node' / 'data' / 'kopru.sqlite'}", fhir_server, 4, seed=1)


@pytest.mark.soak
@pytest.mark.node
@pytest.mark.timeout(3000)
def test_nothing_is_lost_or_doubled_by_a_hundred_kills(tmp_path: Path, empty_database_url: str, fhir_server):
    kills = int(os.environ.get("KOPRU_SOAK_KILLS", "110"))
    killed = _crash_and_check(tmp_path, empty_database_url, fhir_server, kills, seed=2026, pause_seconds=1.5)
    assert sum(killed.values()) >= kills
