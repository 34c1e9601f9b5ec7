"""The errors of `training`; the tree is drawn in the package's docstring."""


class TrainingError(Exception):
    """Base of all errors of this package."""


class ConfigError(TrainingError):
    """The configuration names an unknown key or an impossible value."""


class DataError(TrainingError):
    """The data set is incomplete or contradicts itself."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, unreadable, or of another run."""


class Interrupted(TrainingError):
    """A signal ended the run; nothing of a finished epoch is lost."""


class ParityError(TrainingError):
    """The exported model does not compute what the trained one does."""
