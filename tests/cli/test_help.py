"""Every `--help`, on a terminal of 80 columns."""

from itertools import pairwise

import pytest

from tests.cli.conftest import Run

COLUMNS = 80
COMMANDS = [
    "",
    *("serve", "demo", "status", "send", "deidentify", "infer"),
    *("studies", "studies list", "studies show", "studies verify", "studies reprocess"),
    *("studies recalled", "studies keep", "studies correct"),
    *("quarantine", "quarantine list", "quarantine release", "quarantine retry", "quarantine reject"),
    *("quarantine restore", "tasks", "tasks list", "tasks retry", "tasks close"),
    *("audit", "audit verify", "audit tail", "audit export"),
    *("models", "models list", "models show", "models import", "models keygen", "models sign"),
    *("models promote", "models rollback", "models feedback", "models drift", "models evaluate", "models benchmark"),
    *("models experiment", "models experiment start", "models experiment stop", "models experiment show"),
    *("config", "config check", "config show", "config api-key"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_breaks_lines_only_where_the_terminal_ends(run: Run, command: str):
    answer = run(*command.split(), "--help", columns=COLUMNS)
    assert answer.code == 0
    text = [line.strip() for line in answer.out.splitlines() if not line.startswith(("╭", "│", "╰"))]
    for line, following in pairwise(text):
        if line and following:
            assert len(f" {line} {following.split()[0]}") >= COLUMNS, f"{line!r} has room for more"
    boxes = [line for line in answer.out.splitlines() if line.startswith("│")]
    assert all(len(line) == COLUMNS and "…" not in line.replace(" …", "") and "|" not in line for line in boxes), boxes
