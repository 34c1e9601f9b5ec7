"""`kopru config …`: are the settings valid, what are they, where does each value come from. Needs no daemon.

Secrets are never printed. Exit code 2 if the settings are not valid.
"""

import os
from dataclasses import asdict

import typer
from rich.padding import Padding
from rich.text import Text

from daemon.cli.options import USAGE, Json, options
from daemon.cli.output import console, print_json, print_table
from daemon.settings import Loaded, Problem, SettingsError, default_path, load_settings

app = typer.Typer(help="The settings: check them, show them.", no_args_is_help=True)


def _load(context: typer.Context) -> Loaded:
    chosen = options(context)
    return load_settings(chosen.config or default_path(os.environ), chosen.overrides, os.environ)


@app.command("check")
def check(context: typer.Context, json: Json = False) -> None:
    """Check the settings; exit code 2 and every problem if they cannot be used."""
    try:
        loaded = _load(context)
    except SettingsError as error:
        if json:
            print_json({"valid": False, "problems": [asdict(problem) for problem in error.problems]})
        else:
            for problem in error.problems:
                _print_problem(problem)
        raise typer.Exit(USAGE) from None
    if json:
        print_json({"valid": True, "file": str(loaded.path) if loaded.path else None, "problems": []})
    else:
        console.print(f"The settings are valid ({loaded.path or 'no file: defaults'}).")


def _print_problem(problem: Problem) -> None:
    console.print(Text.assemble((problem.place, "bold"), "  ", (problem.key, "bold red")), soft_wrap=True)
    for line in (problem.message, f"allowed: {problem.allowed}" if problem.allowed else ""):
        if line:
            console.print(Padding(Text(line), (0, 0, 0, 4)))


@app.command("show")
def show(context: typer.Context, json: Json = False) -> None:
    """Show each value with where it came from; secrets are masked."""
    rows = [{"key": key, "value": value, "origin": str(origin)} for key, value, origin in _load(context).shown()]
    if json:
        print_json(rows)
    else:
        print_table(rows, ("key", "value", "origin"))
