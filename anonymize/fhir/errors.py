"""Every error that `anonymize.fhir` raises; the tree is drawn in the package's docstring.

A message says what was wrong, where and what to do next. It never holds a value of the resource: a path names
elements of the standard only, and what the standard does not know is written as `?`.
"""

from anonymize.errors import AnonymizeError


class FhirError(AnonymizeError):
    """Base of all errors of this package."""


class MalformedResource(FhirError):
    """The JSON is no FHIR resource (FHIR R4 2.6.2): `path` says where, `reason` is a sentence without data."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"malformed resource at {path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["MalformedResource"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.path, self.reason)


class UnknownResourceType(MalformedResource):
    """The resource's type is not one of R4, so that nothing of it can be proven clean."""


class UnsafeModifier(MalformedResource):
    """The whole resource carries a modifier extension that is unknown: what it says may be the opposite."""


class InvalidRules(FhirError):
    """The rules are wrong: `where` names the rule or parameter, `reason` what to change there."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type["InvalidRules"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.where, self.reason)
