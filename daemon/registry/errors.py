"""The errors of the registry; the tree is drawn in the package's docstring."""


class RegistryError(Exception):
    """Base of all errors of this package. Messages name models, versions and ids, which no patient's data are."""


class NotServed(RegistryError):
    """No version can answer for a model now; a study that needs it waits."""


class IllegalStage(RegistryError):
    """A version was asked to go to a stage that it cannot reach from where it is."""


class NoSuchVersion(RegistryError):
    """The registry knows no such version."""


class NoSuchExperiment(RegistryError):
    """There is no such experiment, or none that runs."""


class NotComparable(RegistryError):
    """Two versions cannot be compared: they answer other questions, or one of them may not."""
