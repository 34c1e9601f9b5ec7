"""The errors of the control socket; the tree is drawn in the package's docstring."""


class ControlError(Exception):
    """Base of all errors of this package."""


class DaemonUnreachable(ControlError):
    """No daemon listens on the socket."""


class CommandFailed(ControlError):
    """A command cannot be carried out. `exit_code` is that of the CLI: 1 failed, 2 usage, 3 quarantined or held."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def no_such_study() -> CommandFailed:
    """Does not repeat what was asked for: it may be a name or a number that somebody took for the study's id."""
    return CommandFailed("there is no such study; `kopru studies list` shows the ids of those there are")
