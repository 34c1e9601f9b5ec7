"""`kopru status`: how the daemon is, on one screen."""

import typer
from rich.text import Text

from daemon.cli.options import Json, options
from daemon.cli.output import console, print_json, print_table


def status(context: typer.Context, json: Json = False) -> None:
    """Show what the daemon holds, what waits, what needs a person, and what was refused in the last day."""
    answer = options(context).daemon().ask("status")
    if json:
        print_json(answer)
        return
    needs = answer["needs_a_person"]
    free = answer["store_free_bytes"] / 2**30
    console.print(Text.assemble(("kopru ", "bold"), answer["node"], "   runtime ", answer["runtime"]))
    console.print(
        f"{answer['open_associations']} open associations   {free:,.1f} GiB free   "
        f"audit log {answer['audit']['sealed']} sealed, {answer['audit']['unsealed']} waiting"
    )
    if needs:
        console.print(
            Text(
                f"{needs} need a person: kopru studies list --state held|quarantined|failed|undelivered", "bold yellow"
            )
        )
    for title, counted in (
        ("Studies", answer["revisions"]),
        ("Instances", answer["instances"]),
        ("Tasks", answer["tasks"]),
    ):
        print_table(
            ({"state": name, "count": number} for name, number in sorted(counted.items())), ("state", "count"), title
        )
    print_table(answer["set_aside"], ("received_at", "id", "reason"), "Objects set aside, in no study")
    print_table(
        answer["refused_last_day"],
        ("last_at", "times", "kind", "source", "peer", "status", "detail"),
        "Refused in the last day",
    )
