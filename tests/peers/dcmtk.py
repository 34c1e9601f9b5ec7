"""The DICOM tools of dcmtk (OFFIS), as a user would run them."""

import os
import subprocess
from pathlib import Path

from tests.peers.availability import command


class Dcmtk:
    """Runs a tool by name: ``dcmtk("storescu", "-v", "127.0.0.1", port, path)``."""

    def __call__(
        self, tool: str, *arguments: str | int | Path, check: bool = True, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; its output is text. With `check`, an exit code other than 0 fails and shows the output."""
        path = command(tool)
        assert path, f"{tool} of dcmtk is not installed"
        done = subprocess.run(
            [path, *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{tool} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done
