"""The errors of `runtime`; the package's docstring draws the tree. A message never holds a value of a tensor.

`retryable` says whether the very same request may succeed later without anyone changing anything.
"""

from pathlib import Path
from typing import ClassVar


class RuntimeFailure(Exception):  # what went wrong is said by the classes below
    """Base of all errors of this package."""

    retryable: ClassVar[bool] = False


class PackageError(RuntimeFailure):
    """A model package cannot be used; `file` and `key` name the place (`key` is empty when the whole file is meant)."""

    def __init__(self, file: Path, key: str, problem: str) -> None:
        where = f"{file}: {key}" if key else str(file)
        super().__init__(_visible(f"{where}: {problem}"))
        self.file = file
        self.key = key
        self.problem = problem

    def __reduce__(self) -> tuple[type["PackageError"], tuple[Path, str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.file, self.key, self.problem)


def _visible(text: str) -> str:
    """Names in files of others can hold what a terminal obeys, and file names what is no text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class InvalidInput(RuntimeFailure):
    """The request is not what the package declares: names, dtypes, shapes, or numbers that are not finite."""


class ModelNotFound(RuntimeFailure):
    """No model of that name and version is loaded."""


class DeadlineExceeded(RuntimeFailure):
    """No answer within the time the caller gave. Whether the model ran is unknown and does not matter."""

    retryable = True


class Overloaded(RuntimeFailure):
    """The queue of the model is full; nothing was accepted."""

    retryable = True


class BackendFailure(RuntimeFailure):
    """The model ran and failed, or gave what its package does not declare. The same input will fail again."""


class BackendLost(BackendFailure):
    """The device under the model is gone (a CUDA fault): only a new process can use it again."""

    retryable = True


class OutOfMemory(BackendFailure):
    """The device, or this machine, has not the memory for so many samples at once; fewer may fit."""

    retryable = True


class RemoteUnavailable(BackendFailure):
    """The server that has the model does not answer, is not ready, does not let us in, has the model no more, or failed
    for reasons of its own.
    """

    retryable = True


class RouteUnavailable(BackendFailure):
    """A route that cannot be gone on this machine: there is no such device, or a library for it is not installed."""


class NoRoute(RuntimeFailure):
    """None of the model's routes can answer at present; the message says for each of them why. Nothing was answered."""

    retryable = True


class RuntimeUnavailable(RuntimeFailure):
    """No runtime process answers on the socket, or it stopped before it answered."""

    retryable = True
