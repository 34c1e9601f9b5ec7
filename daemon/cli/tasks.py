"""`kopru tasks …`: the work that waits, runs or was given up."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from daemon.cli.options import CLOSE_REASONS, FAILED, Json, Limit, Reference, options
from daemon.cli.output import fail, print_json, print_table, say
from daemon.control import CommandFailed, ControlClient
from daemon.control.limits import CloseReason

app = typer.Typer(help="Waiting, running and dead work.", no_args_is_help=True)
TaskId = Annotated[int, typer.Argument(help="The task's number, from `kopru tasks list`.")]


@app.command("list")
def list_tasks(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="ready, running, done, dead or closed")] = None,
    kind: Annotated[str | None, typer.Option(help="deidentify, infer, report, deliver …")] = None,
    every: Annotated[bool, typer.Option("--all", help="Housekeeping, too, that did not fail.")] = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List tasks of studies and deliveries, and what failed; newest first."""
    rows = options(context).daemon().ask("tasks.list", state=state, kind=kind, limit=limit, housekeeping=every)
    if json:
        print_json(rows)
    else:
        print_table(
            rows,
            ("id", "kind", "state", "key", "priority", "attempts", "not_before", "updated_at", "last_error"),
            empty="no tasks",
            first_to_go=("priority", "not_before", "attempts", "updated_at"),
        )


@app.command("retry")
def retry_tasks(
    context: typer.Context,
    tasks: Annotated[list[int] | None, typer.Argument(help="The tasks' numbers, from `kopru tasks list`.")] = None,
    state: Annotated[str | None, typer.Option(help="All tasks in this state: dead, closed or ready.")] = None,
    kind: Annotated[str | None, typer.Option(help="With --state: only tasks of this kind.")] = None,
    json: Json = False,
) -> None:
    """Let dead, closed or waiting tasks run again now. Exits with 1 if any cannot."""
    if bool(tasks) == bool(state) or (kind and not state):
        raise typer.BadParameter("give numbers of tasks, or --state (and --kind) for all such", param_hint="TASKS")
    daemon = options(context).daemon()
    if state:
        answer: dict[str, list[Any]] = daemon.ask("tasks.retry-all", state=state, kind=kind)
    else:
        answer = _retry_each(daemon, tasks or [])
    if json:
        print_json({"count": len(answer["retried"]), **answer})
    else:
        for refused in answer["refused"]:
            fail(f"task {refused['task']}: {refused['reason']}")
        number = len(answer["retried"])
        say(f"{number} {'task runs' if number == 1 else 'tasks run'} again")
    if answer["refused"]:
        raise typer.Exit(FAILED)


def _retry_each(daemon: ControlClient, tasks: Iterable[int]) -> dict[str, list[Any]]:
    answer: dict[str, list[Any]] = {"retried": [], "refused": []}
    for task in dict.fromkeys(tasks):
        try:
            daemon.ask("tasks.retry", task=task)
            answer["retried"].append(task)
        except CommandFailed as error:
            answer["refused"].append({"task": task, "reason": str(error)})
    return answer


@app.command("close")
def close_task(
    context: typer.Context,
    task: TaskId,
    reason: Annotated[CloseReason, typer.Option(metavar="CODE", help=f"Why it is not to be done: {CLOSE_REASONS}.")],
    reference: Reference = None,
    json: Json = False,
) -> None:
    """Decide that a dead or waiting task is not to be done. Reason and reference go into the audit log for good."""
    answer = options(context).daemon().ask("tasks.close", task=task, reason=reason, reference=reference)
    if json:
        print_json(answer)
    else:
        say(f"task {task} is closed")
