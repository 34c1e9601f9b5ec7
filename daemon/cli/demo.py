"""`kopru demo`: the whole way on this machine, in seconds: a drawn study in, a report out, and what was removed
between.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import FAILED
from daemon.cli.output import fail


def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder for everything the demo makes; a new one.")] = Path(
        "demo-output"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the daemon running afterwards.")] = False,
) -> None:
    """Start a daemon on embedded defaults, send it a sample study over C-STORE, and show what it made of it."""
    from daemon.demo.scene import DemoFailed, run_demo

    try:
        run_demo(out.absolute(), keep=keep)
    except DemoFailed as error:
        fail(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(FAILED)
