"""What bounds requests and answers, in one place: the daemon enforces it, the CLI says it beforehand."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from daemon.control.errors import CommandFailed

MOST_ROWS: Final = 1000
"""Rows of one answer."""

REFERENCE: Final = re.compile(r"[A-Z]{2,10}-?[0-9]{1,8}")
"""A ticket's number such as ``INC-4711``: too short for a national number, and no words."""


class CloseReason(StrEnum):
    """Why an operator closes a task. A code and no text: text could name a patient, and the log keeps it for good."""

    NOT_WANTED = "not-wanted"
    DONE_ELSEWHERE = "done-elsewhere"
    DESTINATION_GONE = "destination-gone"
    TEST_DATA = "test-data"
    OTHER = "other"


def rows(asked: int) -> int:
    """How many rows are answered where so many are asked for."""
    return max(0, min(asked, MOST_ROWS))


def known(what: str, there_are: Iterable[str], text: str) -> str:
    """The text, if it is one of those there are; `what` says of what. Raises `CommandFailed`."""
    if text not in set(there_are):
        raise CommandFailed(f"there is no such {what}; there are: {', '.join(there_are)}", 2)
    return text
