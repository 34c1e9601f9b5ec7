"""Puts the commands together. Imports of the daemon's parts happen inside commands, so that `--help` is quick."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli import audit, config, demo, models, send, serve, status, studies, tasks
from daemon.cli import deidentify as deidentify_command
from daemon.cli import infer as infer_command
from daemon.cli.options import FAILED, USAGE, Options
from daemon.cli.output import fail
from daemon.control import CommandFailed, ControlError
from daemon.settings import SettingsError

app = typer.Typer(
    name="kopru",
    help="Bridge between a PACS and an EHR: receives studies, de-identifies them, runs models, reports back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("status")(status.status)
app.command("send")(send.send)
app.command("deidentify")(deidentify_command.deidentify)
app.command("infer")(infer_command.infer)
app.add_typer(studies.app, name="studies")
app.add_typer(tasks.app, name="tasks")
app.add_typer(audit.app, name="audit")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kopru {importlib.metadata.version('kopru')}")
        raise typer.Exit


@app.callback()
def kopru(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The settings file; see `kopru config show` for the default.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, such as dicom.port=104."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    pairs = [text.partition("=") for text in override or ()]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise typer.BadParameter("--set wants KEY=VALUE", param_hint="--set")
    context.obj = Options(config_file, {key.strip(): value for key, _, value in pairs})


def main() -> None:
    """The console script. Known errors become one line and an exit code."""
    try:
        app()
    except CommandFailed as error:
        fail(str(error))
        sys.exit(error.exit_code)
    except SettingsError as error:
        fail(str(error))
        sys.exit(USAGE)
    except ControlError as error:
        fail(str(error))
        sys.exit(FAILED)
