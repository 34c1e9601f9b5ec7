"""Why an operator decides that something is not to be done, or is seen to: a code, and the number of a ticket.

Both go into the audit log, from which nothing can be taken; so neither is free text, which could name a patient.
"""

from dataclasses import dataclass

from daemon.audit import Detail, Name
from daemon.control.errors import CommandFailed
from daemon.control.limits import REFERENCE, CloseReason


@dataclass(frozen=True, slots=True)
class Why:
    """An operator's reason. `str` gives it for a row that is listed."""

    reason: CloseReason
    reference: str | None = None

    @classmethod
    def of(cls, reason: str, reference: str | None) -> "Why":
        """What was given on the command line. Raises `CommandFailed` for any other text, and does not repeat it."""
        if reason not in set(CloseReason):
            raise CommandFailed(f"there is no such reason; there are: {', '.join(CloseReason)}", 2)
        if reference is not None and not REFERENCE.fullmatch(reference):
            raise CommandFailed("a reference is a ticket's number such as INC-4711, and never a patient's", 2)
        return cls(CloseReason(reason), reference)

    def __str__(self) -> str:
        return f"{self.reason}, {self.reference}" if self.reference else self.reason

    def details(self) -> dict[str, Detail]:
        """As the audit log has it."""
        return {"reason": self.reason, "reference": Name(self.reference) if self.reference else None}
