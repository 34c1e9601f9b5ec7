"""The audit log: what happened, recorded with the transition itself, sealed into a Merkle log, verifiable by outsiders.

`AuditWriter.record` adds an `AuditEvent` in the caller's transaction; one `Sealer` orders events into the log and
signs its heads; `verify` and `verify_export` name each record that is not as it was sealed. `docs/audit.md` describes
the formats.

    AuditError
    ├── EventError          an event cannot be recorded as it was given
    ├── SigningKeyError     the signing key or the public key cannot be used
    ├── HeadsFileError      the heads file outside the database is damaged
    ├── LogDivergedError    the database and what was signed or published before contradict each other
    ├── LeaseLostError      another sealer works now
    └── ExportError         a file is no export of the audit log, or an export cannot be made
"""

from daemon.audit.errors import (
    AuditError,
    EventError,
    ExportError,
    HeadsFileError,
    LeaseLostError,
    LogDivergedError,
    SigningKeyError,
)
from daemon.audit.events import AETitle, AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.audit.export import Exported, export, verify_export
from daemon.audit.findings import Problem, ProblemKind, Report
from daemon.audit.heads import SignedHead
from daemon.audit.records import Selection
from daemon.audit.sealer import Sealer
from daemon.audit.signing import PublicKey, SigningKey, public_key_path
from daemon.audit.verify import verify

__all__ = [
    "AETitle",
    "AuditError",
    "AuditEvent",
    "AuditWriter",
    "Detail",
    "EventError",
    "ExportError",
    "Exported",
    "HeadsFileError",
    "Id",
    "Kind",
    "LeaseLostError",
    "LogDivergedError",
    "Name",
    "Problem",
    "ProblemKind",
    "PublicKey",
    "Report",
    "Sealer",
    "Selection",
    "SignedHead",
    "SigningKey",
    "SigningKeyError",
    "export",
    "public_key_path",
    "verify",
    "verify_export",
]
