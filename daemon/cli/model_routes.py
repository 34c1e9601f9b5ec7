"""`kopru models routes`: how each way in which a model can be asked is doing, and how long answers take."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from daemon.cli.options import Json, options
from daemon.cli.output import print_json, print_table, say

app = typer.Typer()

_SHOWN = ("model", "version", "route", "state", "samples", "per_second", "p50", "p95", "waiting", "memory", "failures")


@app.command("routes")
def routes(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="The package's name; without it, all of them.")] = None,
    json: Json = False,
) -> None:
    """Show each route of each model on this host: its state, load, times from request to answer, memory, failures.

    Counted since the runtime process started.
    """
    answer = options(context).daemon().ask("models.routes", model=model)
    if json:
        print_json(answer)
        return
    print_table([_row(row) for row in answer["routes"]], _SHOWN, empty="no models", first_to_go=("failures", "waiting"))
    for row in answer["routes"]:
        if row["reason"]:
            say((f"{row['model']} {row['version']}, {row['on']}: {row['reason']}", "yellow"))
    for one in answer["memory"]:
        limit = "" if one["limit_bytes"] is None else f" of {_mebibytes(one['limit_bytes'])}"
        say(f"{one['device']}: {_mebibytes(one['used_bytes'])}{limit} held by loaded models")
    cache = answer["cache"]
    used = f"{_mebibytes(cache['used_bytes'])} of {_mebibytes(cache['limit_bytes'])}"
    say(f"cache: {cache['hits'] + cache['joined']} requests answered, {cache['misses']} not; {used}")


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": row["model"],
        "version": row["version"],
        "route": " ".join(filter(None, (row["on"], row["precision"]))),
        "state": row["state"],
        "samples": row["samples"],
        "per_second": round(row["samples_per_second"], 2),
        "p50": _within(row["latency"], 0.5),
        "p95": _within(row["latency"], 0.95),
        "waiting": row["waiting_samples"],
        "memory": _mebibytes(row["memory_bytes"]),
        "failures": row["failures"],
    }


def _within(latency: Sequence[Mapping[str, Any]], share: float) -> str:
    """In what time so many of the requests were answered: the upper bound of the bucket in which that lies."""
    total = sum(bucket["requests"] for bucket in latency)
    passed = 0
    for bucket in latency:
        passed += bucket["requests"]
        if total and passed >= share * total:
            bound = bucket["at_most"]
            return f"> {latency[-2]['at_most']:g} s" if bound is None else f"≤ {bound * 1000:g} ms"
    return "–"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
