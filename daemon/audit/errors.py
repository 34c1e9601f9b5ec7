"""What can go wrong with the audit log.

No message repeats a value that was refused: it might be a patient's data.

AuditError
├── EventError          an event cannot be recorded as it was given (a programming error; nothing was written)
├── SigningKeyError     the signing key or the public key cannot be used
├── HeadsFileError      the heads file outside the database is damaged
├── LogDivergedError    the database and what was signed or published before contradict each other
├── LeaseLostError      another sealer works now; nothing was written
└── ExportError         a file is no export of the audit log, or nothing can be exported as asked
"""


class AuditError(Exception):
    """Something about the audit log. `str()` is fit for logs and operators."""


class EventError(AuditError, ValueError):
    """An event holds something that the log does not take."""


class SigningKeyError(AuditError):
    """The signing key or a public key cannot be used."""


class HeadsFileError(AuditError):
    """The heads file has a line that is no head."""


class LogDivergedError(AuditError):
    """The log in the database is not the one that was signed or published before."""


class LeaseLostError(AuditError):
    """The sealing lease has passed to another process."""


class ExportError(AuditError):
    """A file is no export, or an export cannot be made."""
