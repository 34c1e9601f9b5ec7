"""Words for what a peer answers: why it rejects or aborts an association (PS3.8 9.3.4, 9.3.8), which status a C-STORE
got (PS3.4 B.2.3, PS3.7 C). Pure tables; an unknown code is told as its number, never guessed.
"""

from typing import Final

CALLING_AE_NOT_RECOGNIZED: Final = (1, 3)
CALLED_AE_NOT_RECOGNIZED: Final = (1, 7)

_REJECTION_RESULTS: Final = {1: "for good", 2: "for now"}
_REJECTION_REASONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    CALLING_AE_NOT_RECOGNIZED: "calling AE title not recognized",
    CALLED_AE_NOT_RECOGNIZED: "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Source and reason (PS3.8 Table 9-21)."""

_ABORT_REASONS: Final = {
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
"""Of the service provider (PS3.8 Table 9-26); a service user gives none."""

_STATUSES: Final = {
    0x0000: "success",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "refused: not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "warning: coercion of data elements",
    0xB006: "warning: elements discarded",
    0xB007: "warning: data set does not match SOP class",
    0xFE00: "cancelled",
}
_STATUS_RANGES: Final = {
    0xA700: (0xFF00, "refused: out of resources"),
    0xA900: (0xFF00, "error: data set does not match SOP class"),
    0xC000: (0xF000, "error: cannot understand"),
    0xB000: (0xF000, "warning"),
}
"""First status to mask and name (PS3.4 Table B.2-1)."""


def rejection(result: int, source: int, reason: int) -> str:
    """An A-ASSOCIATE-RJ in words, such as ``calling AE title not recognized (for good)``."""
    why = _REJECTION_REASONS.get((source, reason), f"source {source}, reason {reason}")
    return f"{why} ({_REJECTION_RESULTS.get(result, f'result {result}')})"


def abort(source: int, reason: int) -> str:
    """An A-ABORT in words; `source` is 0 for the service user, 2 for the provider."""
    if source == 0:
        return "no reason given"
    return _ABORT_REASONS.get(reason, f"source {source}, reason {reason}")


def status_name(status: int) -> str:
    """The name of a C-STORE status, whether success, warning or failure."""
    if status in _STATUSES:
        return _STATUSES[status]
    return next((name for first, (mask, name) in _STATUS_RANGES.items() if status & mask == first), "unknown status")
