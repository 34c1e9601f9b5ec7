"""Whatever the log says that it can record is recorded somewhere: a kind that never comes would be believed."""

import ast
from pathlib import Path

import daemon
from daemon.audit import Kind

EVENTS = Path(daemon.__file__).parent / "audit" / "events.py"


def _named_kinds(code: str) -> set[str]:
    """The members of `Kind` that the code names."""
    return {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Kind"
    }


def test_every_kind_is_recorded_somewhere():
    files = [path for path in Path(daemon.__file__).parent.rglob("*.py") if path != EVENTS]
    recorded = set().union(*(_named_kinds(path.read_text(encoding="utf-8")) for path in files))
    assert sorted(Kind.__members__.keys() - recorded) == []


def test_a_kind_that_nobody_names_is_seen():
    assert _named_kinds("record(Kind.COMMAND); 'Kind.PROCESS_STARTED'") == {"COMMAND"}
