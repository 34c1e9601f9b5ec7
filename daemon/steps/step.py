"""The types of a step; what they mean together is told in the package's docstring."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from daemon import queue
from daemon.deidentification import Recipes
from daemon.destinations import Archive, Destination, Pacs
from daemon.node import Node
from daemon.queue import Task
from daemon.registry import Packages
from daemon.steps.preparing import KeptInputs
from daemon.workers import Workers
from pipelines.pipeline import Pipeline

Commit = Callable[[sa.Connection], None]


def nothing(_connection: sa.Connection) -> None:
    """The commit of a step that has nothing to change."""


class StepError(Exception):
    """Base of the errors by which a step ends. The message is shown to operators: codes and ids, never a value from
    data.
    """


class TryAgain(StepError):
    """Something outside is not ready. `after_seconds` is a wish of the other side (Retry-After), or None; after
    `maximum_attempts` the task is dead.
    """

    def __init__(
        self,
        message: str,
        after_seconds: float | None = None,
        *,
        maximum_attempts: int = queue.MAXIMUM_ATTEMPTS,
    ) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds
        self.maximum_attempts = maximum_attempts


class GiveUp(StepError):
    """It will never work; a person must look. `last_words` commits with the end of the task."""

    def __init__(self, message: str, last_words: Commit = nothing) -> None:
        super().__init__(message)
        self.last_words = last_words


@dataclass(frozen=True)
class Context:
    """What steps work with."""

    node: Node
    workers: Workers
    pipelines: Mapping[str, tuple[Pipeline, Packages]]
    destinations: Mapping[str, Destination]
    archives: Mapping[str, Archive]
    pacs: Mapping[str, Pacs]
    recipes: Recipes
    kept: KeptInputs = field(default_factory=KeptInputs)


class Step(Protocol):
    """One kind of task."""

    kind: str

    def run(self, context: Context, task: Task) -> Commit:
        """Do the work and give what is to be committed. Raises `TryAgain`, `GiveUp`; any other error counts as
        `TryAgain`.
        """

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """Say in the same transaction what becomes of the revision now that the task is dead."""
