"""`kopru audit …`: look at the log, export it, verify it. `verify --export` needs no daemon, no database, no
settings.
"""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.options import FAILED, Json, options
from daemon.cli.output import console, fail, print_json, print_table
from daemon.control.answers import report_as_json

app = typer.Typer(help="The audit log.", no_args_is_help=True)


@app.command("tail")
def tail(
    context: typer.Context, count: Annotated[int, typer.Option("-n", min=1, max=1000)] = 20, json: Json = False
) -> None:
    """Show the last events."""
    rows = [
        {**json_module.loads(row["event"]), "log_index": row["log_index"]}
        for row in options(context).daemon().ask("audit.tail", count=count)
    ]
    if json:
        print_json(rows)
        return
    shown = [row | {"details": " ".join(f"{k}={v}" for k, v in row["details"].items())} for row in rows]
    print_table(shown, ("at", "kind", "actor", "subject", "details", "log_index"), empty="nothing recorded yet")


@app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
) -> None:
    """Write the sealed log into a file that anyone can verify with the public key."""
    with out.open("x", encoding="utf-8") as file:
        number = 0
        for line in options(context).daemon().stream("audit.export"):
            file.write(f"{line}\n")
            number += 1
    console.print(f"{out}: {number} lines; verify with: kopru audit verify --export {out} --public-key FILE")


@app.command("verify")
def verify(
    context: typer.Context,
    export_file: Annotated[
        Path | None, typer.Option("--export", help="Verify this export instead of the daemon's log.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="The public key (PEM) that the heads must be signed with; by default this installation's."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that no record was changed, removed, reordered or inserted; names each that was. Exits with 1 if any."""
    if export_file is None:
        report: dict[str, Any] = options(context).daemon().ask("audit.verify")
    else:
        report = _verify_export(export_file, public_key or _own_public_key(context))
    if json:
        print_json(report)
    else:
        for problem in report["problems"]:
            fail(problem["message"])
        state = "[red]does not verify[/]" if report["problems"] else "[green]verifies[/]"
        console.print(f"audit log of {report['size']} records {state}; {report['unsealed']} not sealed yet")
    if report["problems"]:
        raise typer.Exit(FAILED)


def _verify_export(export_file: Path, public_key: Path) -> dict[str, Any]:
    from daemon.audit import AuditError, PublicKey
    from daemon.audit.export import verify_export

    try:
        return report_as_json(verify_export(export_file, PublicKey.read(public_key)))
    except AuditError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None


def _own_public_key(context: typer.Context) -> Path:
    """The public key of the installation whose settings are at hand."""
    from daemon.audit import public_key_path

    audit = options(context).settings().audit
    for path in (public_key_path(audit.signing_key_file), audit.heads_directory / "public-key.pem"):
        if path.is_file():
            return path
    raise typer.BadParameter(
        "there is no public key here; give the one of whoever made the export", param_hint="--public-key"
    )
