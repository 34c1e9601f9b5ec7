"""Processes come back, go together, and drain."""

import os
import signal
from pathlib import Path

from tests.system.kopru import Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _all(children: dict[str, list[int]]) -> list[int]:
    return [pid for pids in children.values() for pid in pids]


def test_a_killed_child_of_every_kind_comes_back_and_work_goes_on(kopru: Kopru, tmp_path: Path):
    before = kopru.children()
    assert set(before) == {"receiver", "engine", "runtime", "console"}
    for kind in before:
        kopru.kill_child(kind)
    wait_until(
        lambda: set(kopru.children()) == set(before) and not set(_all(kopru.children())) & set(_all(before)),
        "new children",
        60,
    )
    wait_until(kopru._is_ready, "the daemon to work again", 60)
    wait_until(
        lambda: kopru.send([save(as_dx(drawn_image(1), MadeUpPatient(1)), tmp_path / "in" / "1.dcm")]),
        "the receiver to take a study",
        30,
    )
    kopru.wait_for_states({"delivered": 1})


def test_sigterm_finishes_what_runs_and_ends_with_zero(kopru: Kopru, tmp_path: Path):
    files = [save(as_dx(drawn_image(n), MadeUpPatient(n)), tmp_path / "in" / f"{n}.dcm") for n in range(4)]
    assert len(kopru.send(files)) == 4
    children = _all(kopru.children())
    assert kopru.stop() == 0
    assert not any(map(_alive, children))
    kopru.start()
    kopru.wait_for_states({"delivered": 4})


def test_sighup_with_bad_settings_keeps_the_daemon_as_it_was(kopru: Kopru):
    good = kopru.settings.read_text()
    kopru.settings.write_text(good.replace("settle_seconds = 0.5", 'settle_seconds = "soon"'))
    assert kopru.process is not None
    before = kopru.children()
    os.kill(kopru.process.pid, signal.SIGHUP)
    wait_until(lambda: "reload_refused" in kopru.log.read_text(), "the refusal in the log")
    assert kopru.children() == before
    kopru.settings.write_text(good)
    os.kill(kopru.process.pid, signal.SIGHUP)
    wait_until(lambda: not set(_all(kopru.children())) & set(_all(before)), "new children", 60)
    wait_until(kopru._is_ready, "the daemon to work again", 60)


def test_a_second_daemon_on_the_same_data_is_refused(kopru: Kopru):
    assert "another kopru works on" in kopru.cli("serve", code=1)


def test_a_killed_supervisor_leaves_no_process_behind(kopru: Kopru):
    children = _all(kopru.children())
    grandchildren = [
        int(child)
        for pid in children
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    kopru.kill()
    wait_until(lambda: not any(map(_alive, children + grandchildren)), "all processes to end", 20)


def test_systemd_is_told_and_its_socket_is_used(tmp_path: Path, sqlite_url: str):
    import socket
    import subprocess
    import sys

    kopru = Kopru(tmp_path, sqlite_url)
    notices = tmp_path / "notify"
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notices))
        manager.settimeout(60)
        # LISTEN_PID must be the daemon's own pid, so a shell sets it and becomes the daemon.
        script = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&"$FD"'
        descriptor = listener.fileno()
        kopru.process = subprocess.Popen(
            ["bash", "-c", script, "bash", sys.executable, "-m", "daemon.cli", "--config", kopru.settings, "serve"],
            pass_fds=[descriptor],
            env={**os.environ, "NOTIFY_SOCKET": str(notices), "FD": str(descriptor), "WATCHDOG_USEC": "2000000"},
            stdout=kopru.log.open("ab"),
            stderr=subprocess.STDOUT,
        )
        try:
            said = [manager.recv(512).decode()]
            while not any("READY=1" in one for one in said):
                said.append(manager.recv(512).decode())
            while "WATCHDOG=1" not in said:
                said.append(manager.recv(512).decode())
            kopru.port = port
            sent = kopru.send([save(as_dx(drawn_image(1), MadeUpPatient(1)), tmp_path / "in" / "1.dcm")])
            assert len(sent) == 1
            kopru.process.terminate()
            while "STOPPING=1" not in said:
                said.append(manager.recv(512).decode())
        finally:
            kopru.close()
            listener.close()
