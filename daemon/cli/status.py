"""`kopru status`: how the daemon is, on one screen."""

from collections.abc import Mapping
from typing import Any

import typer

from daemon.cli.options import Json, options
from daemon.cli.output import cell, print_json, print_table, say


def status(context: typer.Context, json: Json = False) -> None:
    """Show what the daemon holds, what waits, what needs a person, and what was refused in the last day."""
    answer = options(context).daemon().ask("status")
    if json:
        print_json(answer)
        return
    free = answer["store_free_bytes"]
    room = "" if free is None else f"{free / 2**30:,.1f} GiB free   "
    say(("kopru ", "bold"), answer["node"], "   runtime ", answer["runtime"])
    say(
        f"{answer['open_associations']} open associations   {room}"
        f"audit log {answer['audit']['sealed']} sealed, {answer['audit']['unsealed']} waiting"
    )
    _tell_index(answer["index"])
    for one in answer["without_route"]:
        model = " ".join(filter(None, (one["model"], one["version"], one["stage"] and f"({one['stage']})")))
        so = "" if one["stage"] == "shadow" else ", so studies wait"
        say((f"{model} cannot answer{so}: {one['reason']}", "bold red"))
    for kind in answer["put_back"]:
        since = cell("since_at", kind["since"])
        say((f"{kind['count']} {kind['kind']} to be tried again, the oldest of ", "yellow"), since)
        say((f"    {kind['last_error']}", "yellow"))
    if answer["needs_a_person"]:
        what = "needs a person" if answer["needs_a_person"] == 1 else "need a person"
        say((f"{answer['needs_a_person']} {what}: held, quarantined, failed or undelivered, as in", "bold yellow"))
        say(("    kopru studies list --state held", "bold yellow"))
    say()
    for title, counted in (
        ("Revisions of studies", answer["revisions"]),
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
        first_to_go=("peer", "status"),
    )


def _tell_index(index: Mapping[str, Any]) -> None:
    waiting, oldest, error = index["waiting"], index["oldest_seconds"], index["last_error"]
    if waiting is None:
        say(("the object store cannot be read: nothing is received or processed until it can", "bold red"))
    elif waiting:
        say(f"{waiting} stored objects are not indexed yet, the oldest for {oldest:,.0f} s")
    else:
        say("all stored objects are indexed")
    if error:
        at = cell("at_at", error["at"])
        say(("indexing failed last at ", "yellow"), at, (f": {error['error']}; see the engine's log", "yellow"))
