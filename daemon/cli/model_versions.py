"""`kopru models promote | rollback | experiment | feedback`: which version answers, and how two compare.

Joins `evaluate` and `benchmark` to them.
"""

from typing import Annotated, Any

import typer

from daemon.cli.model_trials import benchmark, evaluate
from daemon.cli.options import Json, options
from daemon.cli.output import print_json, print_table, say, warn

app = typer.Typer()
experiment_app = typer.Typer(help="Compare a candidate with the version in production.", no_args_is_help=True)
app.add_typer(experiment_app, name="experiment")
app.command("evaluate")(evaluate)
app.command("benchmark")(benchmark)

Model = Annotated[str, typer.Argument(help="The package's name.")]
Version = Annotated[str, typer.Argument(help="The version, from `kopru models list`.")]


@app.command("promote")
def promote(context: typer.Context, model: Model, version: Version, json: Json = False) -> None:
    """Let VERSION answer from the next study on. The version before is retired; an experiment that runs is ended."""
    _tell_change(options(context).daemon().ask("models.promote", model=model, version=version), json)


@app.command("rollback")
def rollback(context: typer.Context, model: Model, json: Json = False) -> None:
    """Let the version answer again that did before the present one."""
    _tell_change(options(context).daemon().ask("models.rollback", model=model), json)


@app.command("feedback")
def feedback(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="The study's id, from `kopru studies list`.")],
    outcome: Annotated[str, typer.Argument(help="right or wrong, as found when its report was signed off.")],
    json: Json = False,
) -> None:
    """Say whether the model was right about a study. It counts in experiments; what the finding was is not kept."""
    answer = options(context).daemon().ask("models.feedback", study=study, outcome=outcome)
    if json:
        print_json(answer)
    else:
        say(f"study {study}: the model was {outcome}")


@experiment_app.command("start")
def start(
    context: typer.Context,
    model: Model,
    version: Version,
    kind: Annotated[
        str, typer.Option(help="shadow: its answers are only logged; ab: those of its share are reported.")
    ],
    share: Annotated[float, typer.Option(min=0, max=1, help="Which share of the studies it gets.")] = 0.5,
    json: Json = False,
) -> None:
    """Let a candidate challenge the version in production. A study's part stays the same in all its revisions."""
    daemon = options(context).daemon()
    answer = daemon.ask("models.experiment-start", model=model, version=version, kind=kind, share=share)
    _tell_experiment(answer, json)


@experiment_app.command("stop")
def stop(context: typer.Context, model: Model, json: Json = False) -> None:
    """End the experiment; production answers all studies again. Its figures stay."""
    _tell_experiment(options(context).daemon().ask("models.experiment-stop", model=model), json)


@experiment_app.command("show")
def show(context: typer.Context, model: Model, json: Json = False) -> None:
    """Show the last experiment about MODEL, with 95 % intervals and tests."""
    answer = options(context).daemon().ask("models.experiment-show", model=model)
    _tell_experiment(answer, json)
    if json:
        return
    say(f"studies: {answer['studies']['control']} control, {answer['studies']['challenger']} challenger")
    if agreement := answer["agreement"]:
        say(f"the same labels present: {agreement['hits']} of {agreement['total']} studies")
    if answer["left_out"]:
        say(f"left out, since their patients' keys were erased: {answer['left_out']} answers")
    columns = ("measure", "control", "challenger", "difference", "interval", "p", "test", "clear")
    print_table([_row(measure) for measure in answer["measures"]], columns, first_to_go=("test", "interval"))
    if answer["looks"] > 1:
        warn(
            f"these figures were looked at {answer['looks']} times while studies came in. Who stops at a good look"
            " finds differences that are none: decide beforehand after how many studies to look"
        )


def _row(measure: dict[str, Any]) -> dict[str, Any]:
    difference = measure["difference"]
    return {
        "measure": measure["measure"],
        "control": _number(measure["control"]["value"]),
        "challenger": _number(measure["challenger"]["value"]),
        "difference": _number(difference["value"]),
        "interval": f"{_number(difference['low'])} … {_number(difference['high'])}",
        "p": _number(difference["p_value"]),
        "test": difference["test"],
        "clear": measure["clear"],
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _tell_change(answer: dict[str, Any], json: bool) -> None:
    if json:
        print_json(answer)
    else:
        say(f"{answer['model']}: {answer['version']} answers from now on, before: {answer['before']}")
        _tell_obstacle(answer)


def _tell_obstacle(answer: dict[str, Any]) -> None:
    if answer.get("obstacle"):
        warn(f"it cannot answer on this host now: {answer['obstacle']}")


def _tell_experiment(answer: dict[str, Any], json: bool) -> None:
    if json:
        print_json(answer)
        return
    control, challenger = answer["control"]["version"], answer["challenger"]["version"]
    percent = f"{answer['share'] * 100:g} %"
    say(f"{answer['kind']} experiment {answer['id']}: {challenger} against {control}, {percent}, {answer['state']}")
    _tell_obstacle(answer)
