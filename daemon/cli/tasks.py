"""`kopru tasks …`: the work that waits, runs or was given up."""

from typing import Annotated

import typer

from daemon.cli.options import Json, options
from daemon.cli.output import console, print_json, print_table

app = typer.Typer(help="Waiting, running and dead work.", no_args_is_help=True)
TaskId = Annotated[int, typer.Argument(help="The task's number, from `kopru tasks list`.")]


@app.command("list")
def list_tasks(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="ready, running, done, dead or closed")] = None,
    kind: Annotated[str | None, typer.Option(help="deidentify, infer, report, deliver …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    json: Json = False,
) -> None:
    """List tasks, newest first."""
    rows = options(context).daemon().ask("tasks.list", state=state, kind=kind, limit=limit)
    if json:
        print_json(rows)
    else:
        print_table(
            rows,
            ("id", "kind", "key", "state", "priority", "attempts", "not_before", "updated_at", "last_error"),
            empty="no tasks",
        )


@app.command("retry")
def retry_task(context: typer.Context, task: TaskId, json: Json = False) -> None:
    """Let a dead, closed or waiting task run again now."""
    answer = options(context).daemon().ask("tasks.retry", task=task)
    if json:
        print_json(answer)
    else:
        console.print(f"task {task} runs again")


@app.command("close")
def close_task(
    context: typer.Context,
    task: TaskId,
    reason: Annotated[str, typer.Option(help="Why it is not to be done; no patient's data.")],
    json: Json = False,
) -> None:
    """Decide that a dead or waiting task is not to be done."""
    answer = options(context).daemon().ask("tasks.close", task=task, reason=reason)
    if json:
        print_json(answer)
    else:
        console.print(f"task {task} is closed")
