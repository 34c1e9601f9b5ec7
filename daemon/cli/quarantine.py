"""`kopru quarantine …`: what could not be proven clean, why, and what to do with it. Shows no value."""

from typing import Annotated, Any

import typer

from anonymize import Option
from daemon.cli.options import Json, Limit, options
from daemon.cli.output import print_json, print_table, say

app = typer.Typer(help="Instances that could not be proven clean.", no_args_is_help=True)
Instance = Annotated[str, typer.Argument(help="The instance's id, from `kopru quarantine list`.")]


@app.command("list")
def list_instances(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """List the instances that are kept back, latest first, each with its reason."""
    rows = options(context).daemon().ask("quarantine.list", limit=limit)
    if json:
        print_json(rows)
    else:
        columns = ("instance", "study", "modality", "releasable", "received_at", "reason")
        print_table(rows, columns, empty="nothing is in quarantine", first_to_go=("received_at", "modality", "study"))


@app.command("release")
def release(
    context: typer.Context,
    instance: Instance,
    reason: Annotated[str, typer.Option(help="The code of the reason that you saw, such as burned-in-annotation.")],
    json: Json = False,
) -> None:
    """Vouch that an instance holds nothing that identifies, and process its study again. The audit log names you.

    Exits with 3 if it is kept back for another reason by now.
    """
    answer = options(context).daemon().ask("quarantine.release", instance=instance, reason=reason)
    _tell(answer, json, f"released ({answer['reason']})")


@app.command("retry")
def retry(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="The study's id, from `kopru quarantine list`.")],
    option: Annotated[
        list[Option] | None,
        typer.Option(
            metavar="OPTION",
            help=f"Retain no more than by this option of PS3.15; can be given again. One of {', '.join(Option)}.",
        ),
    ] = None,
    basic: Annotated[bool, typer.Option("--basic", help="Retain nothing that the Basic Profile does not.")] = False,
    year_only: Annotated[bool, typer.Option("--year-only", help="Of dates, retain the year.")] = False,
    json: Json = False,
) -> None:
    """Process a study with something in quarantine again.

    Under the policy that the settings have now or, with options, under one for this time that retains no more.
    """
    if basic and option:
        raise typer.BadParameter("--basic is without any --option", param_hint="--basic")
    narrowed = {"options": list(option or []), "year_only": year_only} if option or basic or year_only else {}
    answer = options(context).daemon().ask("quarantine.retry", study=study, **narrowed)
    _tell(answer, json)


@app.command("reject")
def reject(context: typer.Context, instance: Instance, json: Json = False) -> None:
    """Take an instance out of its study; it stays stored and listed, and can be restored. The rest is processed."""
    answer = options(context).daemon().ask("quarantine.reject", instance=instance)
    _tell(answer, json, "rejected")


@app.command("restore")
def restore(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="The id of a rejected instance, from `kopru studies show`.")],
    json: Json = False,
) -> None:
    """Put an instance that was rejected here back into its study, where what kept it back is judged again."""
    answer = options(context).daemon().ask("quarantine.restore", instance=instance)
    _tell(answer, json, "restored")


def _tell(answer: dict[str, Any], json: bool, *done: str) -> None:
    if json:
        print_json(answer)
    else:
        say("; ".join([*done, f"study {answer['study']}: revision {answer['revision']} is on its way"]))
