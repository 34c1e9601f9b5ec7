"""`kopru send`: a storage SCU, to try a receiver without other tools. Sends files as they are, never transcoded."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.files import walk_files
from daemon.cli.options import FAILED, Json
from daemon.cli.output import fail, print_json, print_table

if TYPE_CHECKING:
    from adapters.dicom import SendError, SendResult

_PEER = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@]+):(?P<port>\d{1,5})")


def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
    to: Annotated[str, typer.Option("--to", metavar="AE@host:port", help="Where to send.")],
    calling: Annotated[str, typer.Option(help="The AE title to call ourselves.")] = "KOPRU-SEND",
    json: Json = False,
) -> None:
    """Send DICOM files over C-STORE and say for each what the peer answered."""
    from adapters.dicom import SendError, SendResult, send_files

    match = _PEER.fullmatch(to)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise typer.BadParameter(
            "AE@host:port, such as KOPRU@127.0.0.1:11112, with a port of 1 to 65535", param_hint="--to"
        )
    host, port = match["host"].strip("[]"), int(match["port"])
    files = walk_files(paths)
    results: dict[Path, SendResult] = {}
    problem: SendError | None = None
    try:
        for result in send_files(files, called_ae=match["ae"], host=host, port=port, calling_ae=calling):
            results[result.path] = result
    except SendError as error:
        problem = error
    rows = [_row(results.get(path) or SendResult(path, None, "not sent: no association")) for path in files]
    if json:
        print_json(rows)
    elif results or not problem:
        print_table(rows, ("stored", "status", "file", "detail"), empty="no files")
    if problem:
        fail(f"{problem}{_hint(problem, calling, match['ae'])}")
    if not rows or not all(row["stored"] for row in rows):
        raise typer.Exit(FAILED)


def _row(result: "SendResult") -> dict[str, Any]:
    return {
        "file": str(result.path),
        "stored": result.stored,
        "status": None if result.status is None else f"0x{result.status:04X}",
        "detail": result.message,
    }


def _hint(problem: "SendError", calling: str, called: str) -> str:
    """What to change, where the peer said what it did not like."""
    from adapters.dicom import AssociationRejected
    from adapters.dicom.peer_answers import CALLED_AE_NOT_RECOGNIZED, CALLING_AE_NOT_RECOGNIZED

    if isinstance(problem, AssociationRejected):
        if (problem.source, problem.reason) == CALLING_AE_NOT_RECOGNIZED:
            return f"; it must know us as {calling}: let it, or give a title that it knows with --calling"
        if (problem.source, problem.reason) == CALLED_AE_NOT_RECOGNIZED:
            return f"; it is not called {called}: give its own title before the @ of --to"
    return ""
