"""`kopru config …`: are the settings valid, what are they, where does each value come from. Needs no daemon.

Secrets are never printed. Exit code 2 if the settings are not valid.
"""

import json as json_module
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.padding import Padding
from rich.text import Text

from daemon.cli.options import USAGE, Json, options
from daemon.cli.output import console, print_json, print_table, say, warn
from daemon.settings import FhirDestination, Loaded, Problem, Settings, SettingsError, default_path, load_settings

app = typer.Typer(help="The settings: check them, show them.", no_args_is_help=True)


def _load(context: typer.Context) -> Loaded:
    chosen = options(context)
    return load_settings(chosen.config or default_path(os.environ), chosen.overrides, os.environ)


@app.command("check")
def check(context: typer.Context, json: Json = False) -> None:
    """Check the settings, and the files that they name; exit code 2 and every problem if they cannot be used.

    Model packages are read and not run. What is sealed is not opened.
    """
    from daemon.checking import destinations_without_reports, problems_in_files

    try:
        loaded = _load(context)
        if problems := problems_in_files(loaded):
            raise SettingsError(problems)
    except SettingsError as error:
        if json:
            print_json({"valid": False, "problems": [asdict(problem) for problem in error.problems]})
        else:
            for problem in error.problems:
                _print_problem(problem)
        raise typer.Exit(USAGE) from None
    warnings = [*_warnings(loaded.settings), *map(_nothing_goes_to, destinations_without_reports(loaded))]
    if json:
        print_json(
            {"valid": True, "file": str(loaded.path) if loaded.path else None, "problems": [], "warnings": warnings}
        )
        return
    say(f"The settings are valid ({loaded.path or 'no file: defaults'}).")
    for warning in warnings:
        warn(warning)


def _warnings(settings: Settings) -> Iterator[str]:
    """What is valid, but hardly meant."""
    if not settings.sources and not settings.dicom.accept_any_calling:
        yield (
            "nobody can send: there is no source, so every association is rejected (calling AE title not recognized). "
            "Add a table [[sources]] with the ae_title and issuer of each system that sends"
        )
    for destination in settings.destinations:
        if not isinstance(destination, FhirDestination):
            continue
        issuers = {source.issuer for source in settings.sources} - set(destination.patient_systems)
        for issuer in sorted(issuers):
            yield (
                f"destination {destination.name}: what comes with the issuer {issuer} is held, since no patient can be "
                "looked up. Say in its patient_systems which identifier system the server has for it"
            )


def _nothing_goes_to(destination: str) -> str:
    return (
        f"destination {destination}: every report for it is withheld, since all models are meant for research. "
        "confirm_research = true says that this site wants them there"
    )


def _print_problem(problem: Problem) -> None:
    say((problem.place, "bold"), "  ", (problem.key, "bold red"))
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
        shown = ({"key": row["key"], "value": f"{_text(row['value'])}  ({row['origin']})"} for row in rows)
        print_table(shown, ("key", "value"))


def _text(value: object) -> str:
    """A value about as TOML has it."""
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)


@app.command("api-key")
def api_key(name: Annotated[str, typer.Argument(help="What the client is called in the settings.")]) -> None:
    """Make a key for a client of the inference API: prints it once, and the table for the settings."""
    from adapters.open_inference import new_api_key
    from daemon.settings.sections.console import ApiKeySettings

    key, digest = new_api_key()
    try:
        ApiKeySettings(name=name, sha256=digest)
    except ValidationError:
        allowed = ApiKeySettings.model_fields["name"].description
        raise typer.BadParameter(f"it wants {allowed}, the first a letter", param_hint="NAME") from None
    say("The key, for the client alone. It is kept nowhere and cannot be shown again:")
    typer.echo(key)
    say("For the settings:")
    typer.echo(f'[[console.api_keys]]\nname = "{name}"\nsha256 = "{digest}"')
