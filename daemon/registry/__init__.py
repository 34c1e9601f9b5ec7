"""The registry of models: their versions, which one answers, experiments between two, and a log of what was asked.

It is rows of the database; the packages themselves lie where the settings say. Nothing here runs a model.

RegistryError
├── NotServed           no version can answer now: the study waits
├── IllegalStage        a version cannot go to the stage that was asked for
├── NoSuchVersion       the registry knows no such version
├── NoSuchExperiment    there is no such experiment, or none runs
└── NotComparable       two versions that no experiment can compare
"""

from daemon.registry.errors import (
    IllegalStage,
    NoSuchExperiment,
    NoSuchVersion,
    NotComparable,
    NotServed,
    RegistryError,
)
from daemon.registry.experiments import Assignment, Experiment, ExperimentKind, ExperimentState, assign
from daemon.registry.packages import Packages
from daemon.registry.promotion import promote, register, rollback
from daemon.registry.stages import MOVES, Stage, Version, move
from daemon.registry.versions import package_sha256

__all__ = [
    "MOVES",
    "Assignment",
    "Experiment",
    "ExperimentKind",
    "ExperimentState",
    "IllegalStage",
    "NoSuchExperiment",
    "NoSuchVersion",
    "NotComparable",
    "NotServed",
    "Packages",
    "RegistryError",
    "Stage",
    "Version",
    "assign",
    "move",
    "package_sha256",
    "promote",
    "register",
    "rollback",
]
