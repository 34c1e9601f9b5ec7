"""`kopru studies …`: which studies there are, what became of each, process one again."""

from typing import Annotated

import typer

from daemon.cli.options import QUARANTINED_OR_HELD, Json, options
from daemon.cli.output import console, print_json, print_table

app = typer.Typer(help="Studies, under their pseudonyms.", no_args_is_help=True)
Study = Annotated[str, typer.Argument(help="The study's id, from `kopru studies list`.")]


@app.command("list")
def list_studies(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only studies whose newest revision is in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    json: Json = False,
) -> None:
    """List studies, latest first, with the state of the newest revision."""
    rows = options(context).daemon().ask("studies.list", state=state, limit=limit)
    if json:
        print_json(rows)
    else:
        columns = ("study", "pseudonym", "source", "instances", "revision", "state", "pipeline", "reason", "updated_at")
        print_table(rows, columns, empty="no studies")


@app.command("show")
def show_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Show one study; exits with 3 while its newest revision is held or quarantined."""
    answer = options(context).daemon().ask("studies.show", study=study)
    if json:
        print_json(answer)
    else:
        console.print(f"[bold]{answer['study']}[/]  {answer['pseudonym']}  from {answer['source']}")
        print_table(
            answer["revisions"],
            ("number", "state", "reason", "pipeline", "forced", "opened_at", "closed_at"),
            "Revisions",
        )
        print_table(
            answer["instances"], ("id", "standing", "modality", "byte_length", "received_at", "reason"), "Instances"
        )
        print_table(
            answer["deliveries"],
            ("revision", "destination", "state", "attempts", "status", "outcome", "updated_at"),
            "Deliveries",
        )
    if answer["revisions"] and answer["revisions"][-1]["state"] in ("held", "quarantined"):
        raise typer.Exit(QUARANTINED_OR_HELD)


@app.command("reprocess")
def reprocess_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Process the study again: a new revision of what is in use now, and an updated report."""
    answer = options(context).daemon().ask("studies.reprocess", study=study)
    if json:
        print_json(answer)
    else:
        console.print(f"study {answer['study']}: revision {answer['revision']} is on its way")
