"""The control socket: who asks is what the kernel says; whatever comes in, the answer is clear and the server stays."""

import contextlib
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from daemon.audit import AuditEvent, Kind
from daemon.control import CommandFailed, ControlClient, DaemonUnreachable
from daemon.control import server as server_module
from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from daemon.node import Node
from tests.daemon.rows import add_revision_of_its_own, events
from tests.planted import search_bytes
from tests.waiting import wait_until

ME = f"user:{pwd.getpwuid(os.geteuid()).pw_name}"
PLANTED = ("KURMACA^BELGIN", "98765432198")
MOST_BYTES = 65_536
WITH_ANY_DATABASE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what has nothing to do with the database: one will do."""


def crash(node: Node, actor: str, text: str = "") -> None:
    """A command with a fault in it, whose exception quotes what it was given."""
    raise RuntimeError(f"cannot do it for {text}")


def count_up(node: Node, actor: str, upto: int) -> Iterator[int]:
    """A command whose answers are streamed."""
    yield from range(upto)


@pytest.fixture
def path(node: Node) -> Path:
    return node.settings.node.runtime_directory / SOCKET_NAME


@pytest.fixture
def server(node: Node, path: Path) -> Iterator[ControlServer]:
    """The console's socket, with two commands more."""
    served = ControlServer(path, node, {**COMMANDS, "crash": crash, "count": count_up})
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def client(server: ControlServer, path: Path) -> ControlClient:
    return ControlClient(path.parent)


def tell(path: Path, data: bytes, *, end: bool = True) -> bytes:
    """All that the server says to these bytes; with `end`, to these bytes and no more."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while some := connection.recv(65_536):
                said += some
        return said


def request(command: object, **arguments: object) -> bytes:
    return json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"


def refusal(said: bytes) -> dict:
    """The one answer that there is, which says that nothing was done."""
    [line] = said.splitlines()
    answer = json.loads(line)
    assert set(answer) == {"error", "exit_code"}, answer
    return answer


# --- who asks ---------------------------------------------------------------------------------------------------------


def test_a_command_is_audited_with_the_account_that_the_kernel_names(client: ControlClient, node: Node):
    assert client.ask("studies.list") == []
    [event] = events(node.database)
    assert (event["kind"], event["actor"], event["details"]) == ("command.run", ME, {"command": "studies.list"})


_ASK_AS = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"command": "studies.list", "arguments": {}}\\n')
    print(connection.makefile().read())
"""


@WITH_ANY_DATABASE
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_another_account_is_kept_out_by_the_socket_and_named_when_let_in(client: ControlClient, path: Path, node: Node):
    path.parent.chmod(0o755)

    def ask_as(uid: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-c", _ASK_AS, path, str(uid)]
        return subprocess.run(command, capture_output=True, text=True)

    stranger, nobody = 54_321, pwd.getpwnam("nobody").pw_uid
    refused = ask_as(stranger)
    assert (refused.returncode, "PermissionError" in refused.stderr) == (1, True)
    assert events(node.database) == []
    path.chmod(0o666)
    for uid in (stranger, nobody):
        assert json.loads(ask_as(uid).stdout.splitlines()[0]) == {"result": []}
    assert [event["actor"] for event in events(node.database)] == [f"uid:{stranger}", "user:nobody"]


@WITH_ANY_DATABASE
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_is_for_its_account_and_group_only_whatever_the_umask(node: Node, path: Path, umask: int):
    before = os.umask(umask)
    try:
        ControlServer(path, node, {}).server_close()
        assert os.umask(umask) == umask, "the process's own umask is as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@WITH_ANY_DATABASE
def test_a_socket_that_a_killed_console_left_behind_is_replaced(node: Node, path: Path):
    ControlServer(path, node, {}).server_close()
    with pytest.raises(DaemonUnreachable, match="it is reloading, or not running"):
        ControlClient(path.parent).ask("status")
    ControlServer(path, node, {}).server_close()


def test_an_actor_cannot_be_given_with_the_request(client: ControlClient, path: Path, node: Node):
    for name in ("actor", "node"):
        assert refusal(tell(path, request("studies.list", **{name: "user:root"})))["exit_code"] == 2
    assert events(node.database) == []
    tell(path, json.dumps({"command": "studies.list", "arguments": {}, "actor": "user:admin"}).encode() + b"\n")
    assert [event["actor"] for event in events(node.database)] == [ME]


def test_a_command_that_fails_half_way_is_not_said_to_have_done_nothing(client: ControlClient, server: ControlServer):
    def half(node: Node, actor: str) -> None:
        node.database.retrying(lambda connection: node.audit.record(connection, AuditEvent(Kind.COMMAND, actor=actor)))
        raise sa.exc.OperationalError("", {}, Exception())

    server.commands = {"half": half}
    with pytest.raises(CommandFailed, match="what was done before it failed"):
        client.ask("half")


@WITH_ANY_DATABASE
def test_a_command_does_not_run_unless_it_can_be_audited(client: ControlClient, server: ControlServer, node: Node):
    ran: list[str] = []
    server.commands = {"note": lambda node, actor: ran.append(actor)}
    with node.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_event RENAME TO audit_event_gone")
    with pytest.raises(CommandFailed, match="the database cannot be used now"):
        client.ask("note")
    assert ran == []
    with node.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_event_gone RENAME TO audit_event")
    client.ask("note")
    assert ran == [ME]


# --- what is no request -----------------------------------------------------------------------------------------------

NO_REQUESTS = {
    "nothing": b"\n",
    "no JSON": b"GET /status HTTP/1.1\r\n",
    "no UTF-8": b'{"command": "\xff\xfe"}\n',
    "a list": b"[]\n",
    "a text": b'"status"\n',
    "a number": b"1e999\n",
    "no arguments": b'{"command": "status"}\n',
    "arguments that are none": b'{"command": "status", "arguments": 7}\n',
    "arguments in a list": b'{"command": "status", "arguments": ["a"]}\n',
    "a command that is a list": b'{"command": ["status"], "arguments": {}}\n',
    "a command that is none": b'{"command": null, "arguments": {}}\n',
    "nested deep": b'{"command": "status", "arguments": ' + b"[" * 30_000 + b"\n",
    "cut short": request("studies.list")[:-1],
    "too long": request("studies.show", study="x" * MOST_BYTES),
    "much too long": b"x" * (8 << 20),
}


@WITH_ANY_DATABASE
@pytest.mark.parametrize("kind", NO_REQUESTS)
def test_what_is_no_request_gets_a_clear_answer_and_does_nothing(
    client: ControlClient, path: Path, node: Node, capfd: pytest.CaptureFixture[str], kind: str
):
    answer = refusal(tell(path, NO_REQUESTS[kind]))
    assert answer["exit_code"] == 2
    assert "request" in answer["error"]
    assert events(node.database) == []
    assert client.ask("studies.list") == []
    assert "Traceback" not in capfd.readouterr().err


@WITH_ANY_DATABASE
def test_the_longest_request_is_taken_and_one_byte_more_is_not(client: ControlClient, path: Path):
    room = MOST_BYTES - len(request("studies.show", study=""))
    assert "no such study" in refusal(tell(path, request("studies.show", study="x" * room)))["error"]
    assert "65536 bytes" in refusal(tell(path, request("studies.show", study="x" * (room + 1))))["error"]
    with pytest.raises(CommandFailed, match="65536 bytes"):
        client.ask("studies.show", study="x" * (4 << 20))


@WITH_ANY_DATABASE
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["command", "arguments", "state", "limit", "task"]) | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode() + b"\n")
)
@example(data=b'{"command": "studies.list", "arguments": {"limit": true}}\n')
def test_whatever_comes_in_the_server_answers_in_json_or_not_at_all(client: ControlClient, path: Path, data: bytes):
    for line in tell(path, data).splitlines():
        assert set(json.loads(line)) <= {"result", "end", "error", "exit_code"}
    assert client.ask("count", upto=2) == 1


# --- commands that are asked wrongly ----------------------------------------------------------------------------------


@WITH_ANY_DATABASE
@pytest.mark.parametrize("name", ["", "stauts", "__class__", "studies.list ", "../status", PLANTED[0]])
def test_an_unknown_command_is_told_so_with_what_to_do(client: ControlClient, path: Path, node: Node, name: str):
    answer = refusal(tell(path, request(name)))
    assert "does not know this command" in answer["error"]
    assert answer["exit_code"] == 2
    assert events(node.database) == []


@WITH_ANY_DATABASE
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("studies.show", {}),
        ("studies.show", {"study": 7}),
        ("studies.show", {"study": None}),
        ("studies.list", {"colour": "red"}),
        ("studies.list", {"limit": "10"}),
        ("tasks.close", {"task": "7", "reason": "x"}),
        ("tasks.retry", {"task": [7]}),
        ("audit.tail", {"count": 1.5}),
    ],
)
def test_arguments_that_a_command_does_not_take_are_refused_before_it_is_audited(
    client: ControlClient, path: Path, node: Node, command: str, arguments: dict
):
    answer = refusal(tell(path, request(command, **arguments)))
    assert "does not take these arguments" in answer["error"]
    assert answer["exit_code"] == 2
    assert events(node.database) == []


def test_a_list_is_never_longer_than_asked_nor_without_end(client: ControlClient, node: Node):
    add_revision_of_its_own(node.database, "closed")
    for command, name in (("studies.list", "limit"), ("tasks.list", "limit"), ("audit.tail", "count")):
        for number in (-1, 0, 1, 10**30):
            assert len(client.ask(command, **{name: number})) <= max(0, min(number, 1000)), (command, number)
    assert len(client.ask("studies.list", limit=10**30)) == 1


@WITH_ANY_DATABASE
def test_every_command_tells_a_usage_error_from_a_failure(client: ControlClient):
    with pytest.raises(CommandFailed, match="there is no such state; there are: assembling") as usage:
        client.ask("studies.list", state="lost")
    with pytest.raises(CommandFailed, match="there is no task 7") as failed:
        client.ask("tasks.retry", task=7)
    assert (usage.value.exit_code, failed.value.exit_code) == (2, 1)


# --- no PHI -----------------------------------------------------------------------------------------------------------


def test_nothing_of_what_was_asked_is_repeated_in_the_answer_or_the_audit(
    client: ControlClient, path: Path, node: Node
):
    """An operator may type a name or a number where an id belongs. (The log of errors: `test_logs.py`.)"""
    said = b""
    for text in PLANTED:
        for command, name in (
            ("studies.show", "study"),
            ("studies.reprocess", "study"),
            ("studies.list", "state"),
            ("tasks.list", "kind"),
            ("tasks.list", "state"),
            ("crash", "text"),
        ):
            said += tell(path, request(command, **{name: text}))
        said += (
            tell(path, request(text)) + tell(path, text.encode() + b"\n") + tell(path, request("status", **{text: 1}))
        )
    assert search_bytes(said, PLANTED, "answers") == []
    assert b"internal error (RuntimeError)" in said
    assert search_bytes(json.dumps(events(node.database)).encode(), PLANTED, "audit log") == []


# --- many, slow and leaving clients -----------------------------------------------------------------------------------


@WITH_ANY_DATABASE
def test_clients_that_say_nothing_keep_nobody_waiting(client: ControlClient, path: Path):
    with contextlib.ExitStack() as open_ones:
        for number in range(60):
            silent = open_ones.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(path))
            silent.sendall(request("studies.list")[: number % 9])
        assert client.ask("count", upto=3) == 2


@WITH_ANY_DATABASE
def test_a_client_that_says_nothing_is_let_go_in_the_end(client: ControlClient, path: Path, node: Node, monkeypatch):
    monkeypatch.setattr(server_module._Conversation, "timeout", 0.2)
    answer = refusal(tell(path, b'{"command": "stu', end=False))
    assert "no request came" in answer["error"]
    assert events(node.database) == []


@WITH_ANY_DATABASE
def test_a_client_that_does_not_take_its_answer_is_let_go_in_the_end(
    client: ControlClient, path: Path, monkeypatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(server_module._Conversation, "timeout", 0.2)
    before = threading.active_count()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request("count", upto=10**9))
        wait_until(lambda: threading.active_count() > before, "the command to run")
        wait_until(lambda: threading.active_count() == before, "the server to let the client go")
    assert client.ask("count", upto=3) == 2
    assert "Traceback" not in capfd.readouterr().err


@WITH_ANY_DATABASE
def test_clients_that_leave_at_any_time_harm_nobody(
    client: ControlClient, path: Path, capfd: pytest.CaptureFixture[str]
):
    before = threading.active_count()
    for sent in (b"", b"{", request("count", upto=10**6), request("crash"), b"x" * MOST_BYTES * 2):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(sent)
    assert client.ask("count", upto=3) == 2
    wait_until(lambda: threading.active_count() == before, "all conversations to end")
    assert "Traceback" not in capfd.readouterr().err


def test_many_clients_at_once_all_get_their_own_answer(client: ControlClient, node: Node):
    def ask(number: int) -> object:
        return list(client.stream("count", upto=number)) if number % 2 else client.ask("studies.list", limit=number)

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(ask, range(80)))
    assert answers == [list(range(number)) if number % 2 else [] for number in range(80)]
    log = events(node.database)
    assert (len(log), {event["actor"] for event in log}) == (80, {ME})
