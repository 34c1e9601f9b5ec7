"""The worker pool: what a worker's end means for those who wait, for those who come after, and for the parent's end."""

import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from pathlib import Path

import pytest

from anonymize import DeidentifiedInstance, MalformedDataSet, PatientPseudonym, Quarantine, ReceivedInstance, deidentify
from anonymize.errors import AnonymizeError, QuarantineReason
from anonymize.pixels.errors import PixelError
from daemon.logs import configure_logging
from daemon.workers import WorkerDied, Workers
from pipelines.errors import PipelineError, UnsuitableImage
from tests.daemon.work import PLANTED, block, die, fail, finish_when_told, speak, take
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def workers():
    """One pool for all tests: each must leave it as able to work as it was."""
    pool = Workers(2)
    yield pool
    pool.close()


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or read
        return False


def processes_of(session: int) -> set[int]:
    """All processes that run in a session."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state not in ("Z", "X"):
            found.add(int(stat.parent.name))
    return found


def test_a_worker_that_hangs_is_ended_and_the_pool_works_again(tmp_path: Path):
    pool = Workers(1, longest_seconds=3.0)
    try:
        with pytest.raises(WorkerDied, match="did not answer within 3 seconds"):
            pool.call(block, tmp_path / "pid")
        hung = int((tmp_path / "pid").read_text())
        wait_until(lambda: not is_alive(hung), "the worker that hung to be ended")
        assert pool.call(pow, 2, 10) == 1024
    finally:
        pool.close()


def test_the_wait_for_a_free_process_does_not_count_against_the_work():
    pool = Workers(1, longest_seconds=2.5)
    pool.call(abs, -1)
    try:
        with ThreadPoolExecutor(4) as threads:  # the last begins after 2.4 s
            for work in [threads.submit(pool.call, take, 0.8) for _ in range(4)]:
                work.result(30)
    finally:
        pool.close()


def test_the_work_is_done_in_another_process_and_its_answer_comes_back(workers: Workers):
    assert workers.call(pow, 2, 10, mod=1000) == 24
    assert workers.call(os.getpid) != os.getpid()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_by_its_work_is_told_and_the_pool_goes_on(workers: Workers, how: signal.Signals):
    with pytest.raises(WorkerDied):
        workers.call(die, how)
    assert workers.call(len, "abc") == 3


def test_all_at_work_when_a_worker_dies_hear_of_it_and_who_waited_is_served_by_a_new_pool(
    workers: Workers, tmp_path: Path
):
    with ThreadPoolExecutor(6) as threads:
        working = [threads.submit(workers.call, block, tmp_path / str(number)) for number in range(2)]
        at_work = wait_until(lambda: len(list(tmp_path.glob("?"))) == 2 and list(tmp_path.glob("?")), "two at work")
        waiting = [threads.submit(workers.call, abs, -number) for number in range(4)]
        victim = int(at_work[0].read_text())
        os.kill(victim, signal.SIGKILL)
        for one in working:
            with pytest.raises(WorkerDied):
                one.result(30)
        assert [one.result(30) for one in waiting] == list(range(4))
        again = [threads.submit(workers.call, abs, -number) for number in range(6)]
        assert [one.result(30) for one in again] == list(range(6))


def test_a_worker_outlives_the_thread_that_first_called_it(workers: Workers):
    """PR_SET_PDEATHSIG goes by the *thread* that made the process (prctl(2)), and any thread may call."""
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(workers.call(os.getpid)))
    first.start()
    first.join()
    [pid] = answers
    wait_until(lambda: not _has_thread(first.native_id), "the kernel to have ended the first caller's thread")
    assert is_alive(pid)
    assert workers.call(abs, -1) == 1


def _has_thread(thread_id: int | None) -> bool:
    return Path(f"/proc/self/task/{thread_id}").exists()


_PARENT = """
import os, sys, threading
from pathlib import Path
from daemon.workers import Workers
from tests.daemon.work import block

if __name__ == "__main__":
    workers = Workers(2)
    for number in range(2):
        threading.Thread(target=workers.call, args=(block, Path(sys.argv[1], str(number)))).start()
    threading.Event().wait()
"""


def test_workers_end_with_their_parent_however_busy_they_are(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    busy = tmp_path / "busy"
    busy.mkdir()
    parent = subprocess.Popen([sys.executable, script, busy], start_new_session=True)
    try:
        wait_until(lambda: len(list(busy.glob("?"))) == 2, "both workers to be at work")
        workers = {int(file.read_text()) for file in busy.glob("?")}
        assert workers < processes_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not processes_of(parent.pid), "workers, and all that came with them, to end with their parent")


def test_close_lets_running_work_finish_and_leaves_no_process(tmp_path: Path):
    workers = Workers(1)
    pid = workers.call(os.getpid)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(workers.call, finish_when_told, tmp_path)
        wait_until((tmp_path / "began").exists, "the work to begin")
        closing = threading.Thread(target=workers.close)
        closing.start()
        (tmp_path / "finish").touch()
        assert running.result(30) == "finished"
        closing.join(30)
    assert not is_alive(pid)


def test_a_worker_that_died_is_told_as_such_though_its_pool_is_closed_meanwhile():
    workers = Workers(1)
    pool = workers._pool
    workers.close()
    workers._replace(pool)  # by the thread whose work ended with the processes
    workers.close()


def test_work_that_is_abandoned_keeps_nobody_from_ending(tmp_path: Path):
    workers = Workers(1)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(workers.call, block, tmp_path / "pid")
        pid = int(
            wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the work to begin")
        )
        workers.close(abandon=True)
        with pytest.raises(WorkerDied):
            running.result(30)
    wait_until(lambda: not is_alive(pid), "the worker to be ended")
    with pytest.raises(WorkerDied):
        workers.call(abs, -1)


def test_a_workers_libraries_do_not_speak_to_standard_error(capfd: pytest.CaptureFixture[str]):
    workers = Workers(1, partial(configure_logging, "info", "json", process="worker"))
    workers.call(speak)
    workers.close()
    said = capfd.readouterr()
    assert PLANTED not in said.out + said.err
    assert '"event": "uncaught"' in said.err
    assert "library_message" in said.err


# --- the errors that come back ----------------------------------------------------------------------------------------


def _every(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(kind for below in base.__subclasses__() for kind in _every(below))]


def _made(kind: type[Exception]) -> Exception:
    """An error of the class, with a value for each argument that its constructor takes."""
    if kind.__init__ is Exception.__init__:
        return kind("a reason")
    taken = [parameter.annotation for parameter in inspect.signature(kind, eval_str=True).parameters.values()]
    return kind(*(next(iter(one)) if issubclass(one, Enum) else {int: 7, str: "a reason"}[one] for one in taken))


@pytest.mark.parametrize("kind", [*_every(AnonymizeError), *_every(PixelError), *_every(PipelineError)])
def test_every_error_of_what_runs_in_workers_survives_the_way_back(kind: type[Exception]):
    """One that does not would break the pool instead, and a study that is to be quarantined would fail for ever."""
    error = _made(kind)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


def test_errors_come_back_from_a_worker_as_what_they_were(workers: Workers):
    with pytest.raises(Quarantine) as quarantined:
        workers.call(fail, Quarantine(QuarantineReason.BURNED_IN_ANNOTATION))
    assert quarantined.value.reason is QuarantineReason.BURNED_IN_ANNOTATION
    with pytest.raises(MalformedDataSet) as malformed:
        workers.call(fail, MalformedDataSet(132, "an element ends behind the data set"))
    assert (malformed.value.offset, malformed.value.reason) == (132, "an element ends behind the data set")
    with pytest.raises(UnsuitableImage, match="lateral"):
        workers.call(fail, UnsuitableImage("lateral"))
    assert workers.call(abs, -1) == 1


def _deidentified(instance: ReceivedInstance, patient: PatientPseudonym) -> DeidentifiedInstance:
    return deidentify(instance, patient).instance


@pytest.mark.parametrize(
    ("data", "syntax", "error"),
    [
        (b"\x10\x00\x10\x00PN\xff\x00short", "1.2.840.10008.1.2.1", (Quarantine, MalformedDataSet)),
        (b"", "1.2.3.4", (Quarantine,)),
    ],
)
def test_what_cannot_be_deidentified_is_refused_by_the_worker_and_not_by_its_death(
    workers: Workers, data: bytes, syntax: str, error: tuple[type[Exception], ...]
):
    received = ReceivedInstance("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", syntax, data)
    with pytest.raises(error):
        workers.call(_deidentified, received, PatientPseudonym("KP-TEST", bytes(32), 30))
