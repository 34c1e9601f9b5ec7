"""The command line, `kopru`. Exit codes: 0 done, 1 failed, 2 usage, 3 quarantined or held.

Commands that ask the running daemon go through its control socket; `deidentify`, `infer` and `audit verify --export`
need no daemon. Patient identifiers never stand on a command line, which every account can read.
"""

from daemon.cli.app import main

__all__ = ["main"]
