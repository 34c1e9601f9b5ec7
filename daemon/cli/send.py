"""`kopru send`: a storage SCU, to try a receiver without other tools. Sends files as they are, never transcoded."""

import re
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.files import walk_files
from daemon.cli.options import FAILED, Json
from daemon.cli.output import fail, print_json, print_table

_PEER = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@]+):(?P<port>\d{1,5})")


def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
    to: Annotated[str, typer.Option("--to", metavar="AE@host:port", help="Where to send.")],
    calling: Annotated[str, typer.Option(help="The AE title to call ourselves.")] = "KOPRU-SEND",
    json: Json = False,
) -> None:
    """Send DICOM files over C-STORE and say for each what the peer answered."""
    from adapters.dicom import SendError, send_files

    match = _PEER.fullmatch(to)
    if match is None:
        raise typer.BadParameter("AE@host:port, such as KOPRU@127.0.0.1:11112", param_hint="--to")
    host, port = match["host"].strip("[]"), int(match["port"])
    try:
        results = [
            {
                "file": str(result.path),
                "stored": result.stored,
                "status": None if result.status is None else f"0x{result.status:04X}",
                "detail": result.message,
            }
            for result in send_files(walk_files(paths), called_ae=match["ae"], host=host, port=port, calling_ae=calling)
        ]
    except SendError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None
    if json:
        print_json(results)
    else:
        print_table(results, ("file", "stored", "status", "detail"), empty="no files")
    if not results or not all(result["stored"] for result in results):
        raise typer.Exit(FAILED)
