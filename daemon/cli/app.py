"""Puts the commands together. Imports of the daemon's parts happen inside commands, so that `--help` is quick."""

import importlib.metadata
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.audit import app as audit_app
from daemon.cli.config import app as config_app
from daemon.cli.deidentify import deidentify
from daemon.cli.demo import demo
from daemon.cli.infer import infer
from daemon.cli.models import app as models_app
from daemon.cli.options import FAILED, USAGE, Options
from daemon.cli.output import fail
from daemon.cli.quarantine import app as quarantine_app
from daemon.cli.send import send
from daemon.cli.serve import serve
from daemon.cli.status import status
from daemon.cli.studies import app as studies_app
from daemon.cli.tasks import app as tasks_app
from daemon.control import CommandFailed, ControlError
from daemon.logs import places
from daemon.settings import SettingsError

app = typer.Typer(
    name="kopru",
    help="Bridge between a PACS and an EHR: receives studies, de-identifies them, runs models, reports back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (serve, demo, status, send, deidentify, infer):
    app.command(command.__name__)(command)
for name, group in (
    ("studies", studies_app),
    ("quarantine", quarantine_app),
    ("tasks", tasks_app),
    ("audit", audit_app),
    ("models", models_app),
    ("config", config_app),
):
    app.add_typer(group, name=name)


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
    """The console script. Errors become one line and an exit code, never a traceback: it could quote a file's data."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's warning quotes the value that it does not like
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
    except OSError as error:  # a file or folder that the user named
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or type(error).__name__))
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - what nobody foresaw: its type and places, for whoever mends it
        fail(f"internal error ({type(error).__name__} in {' > '.join(places(error)[-3:])}); please report it")
        sys.exit(FAILED)
