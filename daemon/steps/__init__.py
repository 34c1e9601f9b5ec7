"""What the engine does with a task: one module a step, each a function from a task to the change that is to be
committed.

A step reads, computes and calls adapters; it changes nothing itself. What it gives back, a `Commit`, runs in the same
transaction as the task's completion (DESIGN §2.2), so a step that is cut off at any point has done nothing, and is run
again. A step finds by the state of its revision that it came too late, and then gives an empty commit.

StepError
├── TryAgain     not now: the task goes back into the queue, later each time, up to a limit
└── GiveUp       never: the task is dead at once and `on_dead` says what becomes of the revision
"""

from daemon.steps.step import Commit, Context, GiveUp, Step, StepError, TryAgain, nothing

__all__ = ["Commit", "Context", "GiveUp", "Step", "StepError", "TryAgain", "nothing"]
