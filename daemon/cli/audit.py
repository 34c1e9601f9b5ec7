"""`kopru audit …`: look at the log, export it, verify it. `verify --export` needs no daemon, no database, no
settings.
"""

import json as json_module
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from daemon.cli.options import FAILED, Json, options
from daemon.cli.output import fail, print_json, print_table, say
from daemon.control.answers import report_as_json
from daemon.control.limits import MOST_ROWS

_SHOWN_PROBLEMS: Final = 20

app = typer.Typer(help="The audit log.", no_args_is_help=True)


@app.command("tail")
def tail(
    context: typer.Context, count: Annotated[int, typer.Option("-n", min=1, max=MOST_ROWS)] = 20, json: Json = False
) -> None:
    """Show the last events."""
    rows = [
        {**json_module.loads(row["event"]), "log_index": row["log_index"]}
        for row in options(context).daemon().ask("audit.tail", count=count)
    ]
    if json:
        print_json(rows)
        return
    columns = ("log_index", "at", "kind", "actor", "details")
    print_table((_shown(row) for row in rows), columns, empty="nothing recorded yet", first_to_go=("actor",))


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as a row: local time, and all that it names in one text."""
    names = {"subject": event["subject"], **event["details"]}
    at = datetime.fromisoformat(event["at"]).astimezone()
    return {
        **event,
        "at": f"{at:%Y-%m-%d %H:%M:%S}",
        "details": " ".join(f"{key}={value}" for key, value in names.items() if value is not None),
    }


@app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
) -> None:
    """Write the sealed log into a file that anyone can verify with the public key."""
    daemon = options(context).daemon()
    number = 0
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        try:
            for line in daemon.stream("audit.export"):
                file.write(f"{line}\n")
                number += 1
        except BaseException:
            out.unlink()  # half an export proves nothing, and would be in the way of the next
            raise
    say(f"{out}: {number} lines; verify with: kopru audit verify --export {out} --public-key FILE")


@app.command("verify")
def verify(
    context: typer.Context,
    export_file: Annotated[
        Path | None,
        typer.Option("--export", help="Verify this export instead of the daemon's log.", exists=True, dir_okay=False),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="The public key (PEM) that the heads must be signed with; by default this installation's."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            help="A copy of the heads directory, kept elsewhere, to compare the export with.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check that no record was changed, removed, reordered or inserted; names each that was. Exits with 1 if any."""
    if export_file is None:
        if heads or public_key:
            raise typer.BadParameter("goes with --export; the daemon has its own", param_hint="--heads, --public-key")
        report: dict[str, Any] = options(context).daemon().ask("audit.verify")
    else:
        if heads and not (heads / "heads.jsonl").is_file():
            raise typer.BadParameter(f"there is no heads.jsonl in {heads}", param_hint="--heads")
        report = _verify_export(export_file, public_key or _known_public_key(context, heads), heads)
    if json:
        print_json(report)
    else:
        _tell(report, is_export=export_file is not None)
    if report["problems"]:
        raise typer.Exit(FAILED)


def _tell(report: Mapping[str, Any], *, is_export: bool) -> None:
    problems, size, published = report["problems"], report["size"], report["published"]
    for problem in problems[:_SHOWN_PROBLEMS]:
        fail(problem["message"])
    found = len(problems) + report["omitted"]
    if found > _SHOWN_PROBLEMS:
        fail(f"… and {found - _SHOWN_PROBLEMS} more; --json lists {'all' if found == len(problems) else len(problems)}")
    state = (
        (f"does not verify ({found} finding{'' if found == 1 else 's'})", "red") if problems else ("verifies", "green")
    )
    say(f"audit log of {size} records ", state, f"; {report['unsealed']} not sealed yet")
    if is_export and published is not None and published > size:
        say(
            f"the export ends at {size} records ({report['head_at'] or 'none sealed'}), "
            f"the heads go on to {published}: if it was made later than that, its end was cut off"
        )
    elif is_export and published is not None and published < size:
        say(f"the heads end at {published} records: they vouch for nothing after that")


def _verify_export(export_file: Path, public_key: Path, heads: Path | None) -> dict[str, Any]:
    from daemon.audit import AuditError, PublicKey
    from daemon.audit.export import verify_export

    heads_file = heads / "heads.jsonl" if heads else None
    try:
        return report_as_json(verify_export(export_file, PublicKey.read(public_key), heads_file))
    except AuditError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None


def _known_public_key(context: typer.Context, heads: Path | None) -> Path:
    """The public key that was kept with the heads, else that of the installation whose settings are at hand."""
    from daemon.audit import public_key_path

    if heads and (kept := heads / "public-key.pem").is_file():
        return kept
    audit = options(context).settings(secrets=False).audit
    for path in (public_key_path(audit.signing_key_file), audit.heads_directory / "public-key.pem"):
        if path.is_file():
            return path
    raise typer.BadParameter(
        "there is no public key here; give the one of whoever made the export", param_hint="--public-key"
    )
