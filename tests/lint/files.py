"""The project's files as the checks see them: what git tracks, or, outside a checkout, all but what is built."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NEVER = {".git", ".venv", "node_modules", "__pycache__", "build", "dist"}


@cache
def all_files() -> tuple[Path, ...]:
    """All files of the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return tuple(path for name in names if name and (path := ROOT / name).is_file())
    return tuple(p for p in ROOT.rglob("*") if p.is_file() and not _NEVER & set(p.relative_to(ROOT).parts))


def texts() -> Iterator[tuple[str, str]]:
    """The name and text of each file that is text."""
    for path in all_files():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
