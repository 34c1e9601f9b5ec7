"""Every error that `anonymize.fhir` raises; the tree is drawn in the package's docstring.

A message says what was wrong, where and what to do next. It never holds a value of the resource: a path names
elements of the standard only, and what the standard does not know is written as `?`.
"""

from enum import StrEnum, unique

from anonymize.errors import AnonymizeError


@unique
class ResourceReason(StrEnum):
    """Why a resource could not be proven clean. The value is stable: it is stored and shown to operators."""

    MALFORMED_RESOURCE = "malformed-resource"
    UNKNOWN_RESOURCE_TYPE = "unknown-resource-type"
    TOO_DEEP = "too-deep"
    UNKNOWN_MODIFIER = "unknown-modifier"  # the whole resource may mean the opposite of what it says
    SEVERAL_PATIENTS = "several-patients"  # one pseudonym for two people would join them
    RULE_FAILED = "rule-failed"
    TEXT_CLEANER_FAILED = "text-cleaner-failed"


class ResourceQuarantine(AnonymizeError):
    """The resource is not passed on: `reason` says why, for a machine, `path` where. Holds no data."""

    def __init__(self, reason: ResourceReason, path: str) -> None:
        super().__init__(f"quarantined: {reason.value} at {path}")
        self.reason = reason
        self.path = path

    def __reduce__(self) -> tuple[type["ResourceQuarantine"], tuple[ResourceReason, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.reason, self.path)


class InvalidRules(AnonymizeError):
    """The rules are wrong: `where` names the rule or parameter, `reason` what to change there."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type["InvalidRules"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.where, self.reason)


class InvalidTables(AnonymizeError):
    """A table that ships with the package is damaged: install the package anew."""
