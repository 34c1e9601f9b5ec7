"""Puts the commands together. Imports of the daemon's parts happen inside commands, so that `--help` is quick."""

import importlib
import importlib.metadata
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from daemon.cli.options import FAILED, USAGE, Options
from daemon.cli.output import fail
from daemon.control import CommandFailed, ControlError
from daemon.logs import places
from daemon.settings import SettingsError

_UsageError: Final[type[Exception]] = typer.BadParameter.__bases__[0]
"""What all mistakes in a call are: click's class or, in later versions, typer's own."""
_COMMANDS: Final = (
    *("serve", "demo", "status", "send", "deidentify", "infer"),
    *("studies", "quarantine", "tasks", "audit", "models", "config"),
)
"""In the order of the help. Each has a module of its name, with a function of that name or, for several, an `app`."""


class _Commands(TyperGroup):
    """Loads a command when it is asked for: what de-identifies or verifies takes a second to load."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(_COMMANDS)  # type: ignore[assignment]  # the names, for "did you mean"

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"daemon.cli.{cmd_name}")
        if hasattr(module, "app"):
            group = get_group(module.app)
            group.name = cmd_name
            return _reflowed(group)
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(getattr(module, cmd_name))
        return _reflowed(get_command(single))


def _reflowed(command: Any) -> Any:
    """The command, and those below it, with each paragraph of the help in one line: it ends where the terminal does,
    not where a line of the source did.
    """
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for part in getattr(command, "commands", {}).values():
        _reflowed(part)
    return command


app = typer.Typer(
    name="kopru",
    help="Bridge between a PACS and an EHR: receives studies, de-identifies them, runs models, reports back.",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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
        ended = app(prog_name="kopru", standalone_mode=False)
    except _UsageError as error:
        _tell_mistake(error)
        sys.exit(USAGE)
    except typer.Abort:
        fail("aborted")
        sys.exit(FAILED)
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
    sys.exit(ended if isinstance(ended, int) else 0)


def _tell_mistake(error: Any) -> None:
    """What was wrong with the call, in one line, and where help is. (Without a command, the help was shown.)"""
    if type(error).__name__ == "NoArgsIsHelpError":
        return
    hint = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
    fail(" ".join(error.format_message().split()).rstrip(".") + hint)
