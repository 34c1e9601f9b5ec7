"""`kopru models drift`: whether what a model sees and says is still like what it was made on."""

from typing import Annotated

import typer

from daemon.cli.options import Json, options
from daemon.cli.output import print_json, print_table, say

app = typer.Typer()


@app.command("drift")
def drift(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="The package's name; without it, all of them.")] = None,
    json: Json = False,
) -> None:
    """Compare the latest inputs and outputs of a model with its package's reference, feature by feature."""
    rows = options(context).daemon().ask("models.drift", model=model)
    if json:
        print_json(rows)
        return
    if not rows:
        say(("no model has a gate or a reference to be watched by\n", "dim"))
    for row in rows:
        state = ("  drifts", "red") if row["alert"] else ("  no alert", "green")
        say((f"{row['model']} {row['version']}", "bold"), state)
        refused = ", ".join(f"{count} {verdict}" for verdict, count in row["refused"].items()) or "none"
        say(f"samples judged since the start: {row['judged']}, not analysable: {refused}; compared: {row['samples']}")
        shown = [
            one | {name: round(one[name], 4) for name in ("stability_index", "distance", "p_value")}
            for one in row["features"]
        ]
        columns = ("feature", "samples", "stability_index", "distance", "p_value", "moved")
        print_table(shown, columns, empty="nothing was compared yet", first_to_go=("samples", "distance"))
