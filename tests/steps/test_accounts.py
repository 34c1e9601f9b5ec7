"""Who asked, where the account has no name or one that the audit log does not take."""

import os
import pwd
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from daemon.control import ControlClient
from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from tests.steps.installation import Installation


def nameless(uid: int) -> pwd.struct_passwd:
    raise KeyError(uid)


def called(name: str) -> Callable[[int], SimpleNamespace]:
    return lambda _uid: SimpleNamespace(pw_name=name)


@pytest.mark.parametrize(
    ("account", "actor"),
    [
        (called("nurse"), "user:nurse"),
        (called("WARD\\jane.doe"), None),
        (called("n" * 200), None),
        (nameless, None),
    ],
)
def test_an_account_whose_name_cannot_be_recorded_is_named_by_its_number(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    account: Callable[[int], object],
    actor: str | None,
):
    monkeypatch.setattr(pwd, "getpwuid", account)
    folder = installation.settings.node.runtime_directory
    with ControlServer(folder / SOCKET_NAME, installation.node, COMMANDS) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            (event,) = ControlClient(folder).ask("audit.tail", count=1)
        finally:
            server.shutdown()
            serving.join()
    assert f'"actor":"{actor or f"uid:{os.geteuid()}"}"' in event["event"]
