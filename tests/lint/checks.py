"""The ready-made tools that `make lint` and the tests run, from the environment that runs them."""

import subprocess
import sys
from pathlib import Path

from tests.lint.files import ROOT

_PROGRAMS = Path(sys.executable).parent

TOOLS: dict[str, list[str]] = {
    "style": ["ruff", "check", "--quiet", "."],
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "types": ["mypy", "--no-error-summary"],
    "layers": ["lint-imports", "--no-logo"],
}


def run_tool(name: str) -> subprocess.CompletedProcess[str]:
    """Run one of TOOLS over the project; its output is text."""
    program, *arguments = TOOLS[name]
    return subprocess.run(
        [_PROGRAMS / program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
