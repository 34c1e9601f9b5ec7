"""The supervisor's chronicle records what it is told, whatever fails on the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.audit import AuditWriter
from daemon.database import Database
from daemon.settings import Settings
from daemon.settings.defaults import folder_defaults, machine_defaults
from daemon.supervision import chronicle as module
from daemon.supervision.chronicle import Chronicle
from tests.daemon.rows import events
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def chronicle(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chronicle]:
    """An opened chronicle that does not wait long before it tries again."""
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.01)
    values = folder_defaults(tmp_path, tmp_path, {}) | machine_defaults()
    values["runtime"] |= folder_defaults(tmp_path, tmp_path, {})["runtime"]
    values["database"] = {"url": database_url}
    made = Chronicle(Settings.model_validate(values))
    made.open()
    yield made
    made.close()


def recorded(database: Database) -> list[str]:
    return [str(event["kind"]) for event in events(database)]


def test_an_error_that_nobody_foresaw_costs_no_entry_and_not_their_order(
    chronicle: Chronicle, database: Database, monkeypatch: pytest.MonkeyPatch
):
    wait_until(lambda: len(recorded(database)) == 2, "the beginning to be recorded")
    record, failures = AuditWriter.record, [ZeroDivisionError("nobody foresaw this"), MemoryError()]

    def fails(writer: AuditWriter, *arguments: object) -> None:
        if failures:
            raise failures.pop()
        record(writer, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AuditWriter, "record", fails)
    chronicle.child_died("engine", -9, was_silent=False)
    chronicle.child_died("console", 1, was_silent=True)
    wait_until(lambda: len(recorded(database)) == 4, "both to be recorded")
    assert not failures
    assert [e["details"]["child"] for e in events(database, "process.child-died")] == ["engine", "console"]


def test_what_cannot_be_told_does_not_silence_what_comes_after(
    chronicle: Chronicle, database: Database, monkeypatch: pytest.MonkeyPatch
):
    def fails(_socket: object) -> None:
        raise ValueError("the runtime speaks another language")

    monkeypatch.setattr(module, "RuntimeClient", fails)
    chronicle.runtime_ready()
    chronicle.child_died("engine", -9, was_silent=False)
    wait_until(lambda: "process.child-died" in recorded(database), "the later entry to be recorded")
