"""A power loss without a switch: `shadow.c` keeps what a process has fsynced; this builds the tree that is left."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.peers.availability import command


def compile_shadow(folder: Path) -> Path:
    """The shared library to preload."""
    library = folder / "shadow.so"
    compiler = command("cc")
    assert compiler
    source = Path(__file__).with_name("shadow.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


class ForgetfulDisk:
    """A folder `source` on a disk that keeps only what was fsynced."""

    def __init__(self, library: Path, source: Path, target: Path) -> None:
        self._library = library
        self._source = source
        self._target = target
        source.mkdir()
        for name in ("files", "folders", "new"):
            (target / name).mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to work on this disk."""
        return {
            "LD_PRELOAD": str(self._library),
            "SHADOW_SOURCE": str(self._source),
            "SHADOW_TARGET": str(self._target),
        }

    def fill(self, content: Path) -> None:
        """Put a tree on the disk, all of it safe: what the last power loss left."""
        shutil.copytree(content, self._source, dirs_exist_ok=True)
        for folder, _, names in os.walk(self._source):
            entries = sorted(Path(folder).iterdir())
            lines = [f"{'d' if entry.is_dir() else 'f'} {entry.stat().st_ino} {entry.name}\n" for entry in entries]
            (self._target / "folders" / str(Path(folder).stat().st_ino)).write_text("".join(lines))
            for name in names:
                file = Path(folder) / name
                shutil.copy(file, self._target / "files" / str(file.stat().st_ino))

    def after_power_loss(self, destination: Path) -> Path:
        """Build what is left of `source`: call it when all processes are dead."""
        self._restore(self._source.stat().st_ino, destination)
        return destination

    def _restore(self, inode: int, destination: Path) -> None:
        destination.mkdir(mode=0o700)
        listing = self._target / "folders" / str(inode)
        if not listing.exists():  # never fsynced: its entries are lost
            return
        for line in listing.read_text().splitlines():
            kind, number, name = line.split(" ", 2)
            if kind == "d":
                self._restore(int(number), destination / name)
            else:
                kept = self._target / "files" / number
                (destination / name).write_bytes(kept.read_bytes() if kept.exists() else b"")
                (destination / name).chmod(0o600)
