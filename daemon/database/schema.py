"""The tables. What each row means, which columns are sealed, and nothing else: no queries, no state changes.

Times are seconds since the Unix epoch, UTC, as doubles (microsecond resolution). Columns named `sealed_…` hold bytes
sealed under the key of the row's patient; columns named `…_tag` hold keyed digests (HMAC-SHA-256, hex) of normalised
values. No column holds identified data in any other form (DESIGN §2.3, §2.5).
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = sa.String(36)
_Tag = sa.String(64)
_Uid = sa.String(64)
_Time = sa.Double
_State = sa.String(24)

# How far the index has read the intake of one receiver process: batches up to `complete_batch` are indexed for good and
# need never be looked at again.
receiver = sa.Table(
    "receiver",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("complete_batch", sa.Integer, nullable=False, default=-1),
)

association = sa.Table(
    "association",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("receiver_id", _Id, nullable=False),
    sa.Column("source", sa.String(16), nullable=False, index=True),  # calling AE title
    sa.Column("called", sa.String(16), nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),  # network address
    sa.Column("state", _State, nullable=False, index=True),  # open, released, aborted, lost
    sa.Column("opened_at", _Time, nullable=False),
    sa.Column("closed_at", _Time),
    sa.Column("stored", sa.Integer, nullable=False, default=0),
    sa.Column("refused", sa.Integer, nullable=False, default=0),
)

# Something that happened at a receiver, as it noted it in its intake: what `status` shows of refusals and rejections.
intake_event = sa.Table(
    "intake_event",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("at", _Time, nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("association_id", _Id),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),  # DIMSE status of a refused instance
    sa.Column("detail", sa.String(400), nullable=False),  # a sentence without data
)

# A patient scope (DESIGN §5). `id` is also the name of the patient's key in the key store.
patient = sa.Table(
    "patient",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("scope_tag", _Tag, nullable=False, unique=True),
    sa.Column("pseudonym", sa.String(64), nullable=False, unique=True),
    sa.Column("audit_tag", _Id, nullable=False, unique=True),
    sa.Column("sealed_identity", sa.LargeBinary, nullable=False),
    sa.Column("merged_into", _Id, sa.ForeignKey("patient.id")),
    sa.Column("created_at", _Time, nullable=False),
)

study = sa.Table(
    "study",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("patient_id", _Id, sa.ForeignKey("patient.id"), nullable=False, index=True),
    sa.Column("uid_tag", _Tag, nullable=False, unique=True),
    sa.Column("accession_tag", _Tag, index=True),
    sa.Column("sealed_description", sa.LargeBinary, nullable=False),  # UIDs, accession number, dates
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("created_at", _Time, nullable=False),
)

# An immutable list of instances once closed. `state` changes only through `daemon.states`.
revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("study_id", _Id, sa.ForeignKey("study.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    # Whose the study was held to be until its patient was corrected; none: whose it is. Never superseded then.
    sa.Column("former_patient_id", _Id, index=True),
    sa.Column("state", _State, nullable=False, index=True),
    sa.Column("reason", sa.String(400)),  # why held, quarantined, failed …; never a value from the data
    sa.Column("pipeline", sa.String(64)),
    sa.Column("policy", sa.JSON(none_as_null=True)),  # {options, year_only} that an operator chose for this one
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("expected_instances", sa.Integer),
    sa.Column("forced", sa.Boolean, nullable=False, default=False),  # closed by a limit, not by a completeness rule
    sa.Column("opened_at", _Time, nullable=False),
    sa.Column("last_instance_at", _Time, nullable=False),
    sa.Column("closed_at", _Time),
    sa.Column("updated_at", _Time, nullable=False),
    sa.UniqueConstraint("study_id", "number"),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("object_ref", sa.String(160), nullable=False, unique=True),
    sa.Column("study_id", _Id, sa.ForeignKey("study.id"), index=True),
    sa.Column("patient_id", _Id, sa.ForeignKey("patient.id"), index=True),
    sa.Column("association_id", _Id, index=True),
    sa.Column("uid_tag", _Tag, nullable=False, index=True),
    sa.Column("series_tag", _Tag),
    sa.Column("sop_class_uid", _Uid, nullable=False),
    sa.Column("transfer_syntax_uid", _Uid, nullable=False),
    sa.Column("modality", sa.String(16)),  # a defined term; none for any other value
    sa.Column("standing", _State, nullable=False, index=True),  # see daemon.states.Standing
    sa.Column("reason", sa.String(400)),
    sa.Column("accepted", sa.JSON, nullable=False, server_default="[]"),  # reasons of quarantine a person set aside
    sa.Column("sealed_identity", sa.LargeBinary),  # who the patient is and what the study is called, as this one says
    sa.Column("sealed_correction", sa.LargeBinary),  # … and as a person has decided against it
    sa.Column("repeats", _Id),  # the instance in use with its UIDs and its image that said another patient
    sa.Column("content_tag", _Tag, nullable=False),
    sa.Column("identity_tag", _Tag, nullable=False),
    sa.Column("pixel_tag", _Tag, nullable=False),
    sa.Column("byte_length", sa.BigInteger, nullable=False),
    sa.Column("received_at", _Time, nullable=False),
)

# What a rejection note named (IHE IOCM). Kept, since notes and images may be indexed in any order.
rejected_uid = sa.Table(
    "rejected_uid",
    metadata,
    sa.Column("study_id", _Id, sa.ForeignKey("study.id"), primary_key=True),
    sa.Column("uid_tag", _Tag, primary_key=True),
)

revision_instance = sa.Table(
    "revision_instance",
    metadata,
    sa.Column("revision_id", _Id, sa.ForeignKey("revision.id"), primary_key=True),
    sa.Column("instance_id", _Id, sa.ForeignKey("instance.id"), primary_key=True, index=True),
    sa.Column("deidentified_ref", sa.String(160)),  # the sealed de-identified object, once made
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column(
        "key", sa.String(120), nullable=False
    ),  # one task of a kind and key, ever, unless closed ones are removed
    sa.Column("payload", sa.JSON, nullable=False),  # ids only
    sa.Column("state", _State, nullable=False),  # see daemon.queue.TaskState
    sa.Column("priority", sa.Integer, nullable=False),  # smaller runs first
    sa.Column("not_before", _Time, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", _Time),
    sa.Column("last_error", sa.String(2000)),  # scrubbed
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("updated_at", _Time, nullable=False),
    sa.UniqueConstraint("kind", "key"),
)
sa.Index("ix_task_ready", task.c.state, task.c.priority, task.c.not_before, task.c.id)

result = sa.Table(
    "result",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("revision_id", _Id, sa.ForeignKey("revision.id"), nullable=False, unique=True),
    sa.Column("patient_id", _Id, sa.ForeignKey("patient.id"), nullable=False),
    sa.Column("sealed_result", sa.LargeBinary, nullable=False),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("model_version", sa.String(64), nullable=False),
    sa.Column("created_at", _Time, nullable=False),
)

# A version of a model that this installation has met. `stage` changes only through `daemon.registry.stages`.
model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("weights_sha256", sa.String(64), nullable=False),
    sa.Column("package_sha256", sa.String(64), nullable=False),  # of the whole description, so of every file
    sa.Column("stage", _State, nullable=False),  # see daemon.registry.Stage
    sa.Column("decided_by_person", sa.Boolean, nullable=False, default=False),  # the stage was; else it followed
    sa.Column("replaced_id", _Id, sa.ForeignKey("model_version.id")),  # what was in production before: for a rollback
    sa.Column("imported_at", _Time, nullable=False),
    sa.Column("stage_since", _Time, nullable=False),
    sa.UniqueConstraint("name", "version"),
)
sa.Index(
    "uq_model_version_production",
    model_version.c.name,
    unique=True,
    sqlite_where=model_version.c.stage == "production",
    postgresql_where=model_version.c.stage == "production",
)

# Two versions of one model compared on the studies that come: which share of them the challenger gets, and whether its
# answers are reported (ab) or only logged (shadow).
experiment = sa.Table(
    "experiment",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("kind", _State, nullable=False),  # see daemon.registry.ExperimentKind
    sa.Column("model", sa.String(64), nullable=False, index=True),
    sa.Column("control_id", _Id, sa.ForeignKey("model_version.id"), nullable=False),
    sa.Column("challenger_id", _Id, sa.ForeignKey("model_version.id"), nullable=False),
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("state", _State, nullable=False),  # running, ended
    sa.Column("looks", sa.Integer, nullable=False, default=0),  # how often its figures were read while it ran
    sa.Column("started_at", _Time, nullable=False),
    sa.Column("ended_at", _Time),
)
sa.Index(
    "uq_experiment_running",
    experiment.c.model,
    unique=True,
    sqlite_where=experiment.c.state == "running",
    postgresql_where=experiment.c.state == "running",
)

# What a model was asked and how it answered, a row for each instance. What it answered is sealed.
inference = sa.Table(
    "inference",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("revision_id", _Id, sa.ForeignKey("revision.id"), nullable=False, index=True),
    sa.Column("patient_id", _Id, sa.ForeignKey("patient.id"), nullable=False),
    sa.Column("version_id", _Id, sa.ForeignKey("model_version.id"), nullable=False, index=True),
    sa.Column("experiment_id", _Id, sa.ForeignKey("experiment.id"), index=True),
    sa.Column("reported", sa.Boolean, nullable=False),  # false: the answer of a shadow
    sa.Column("instance_tag", _Tag, nullable=False),  # under the patient's key
    sa.Column("input_tag", _Tag, nullable=False),  # under the patient's key
    sa.Column("route", sa.String(32)),
    sa.Column("precision", sa.String(16)),
    sa.Column("batch_size", sa.Integer),
    sa.Column("queue_ms", sa.Double),
    sa.Column("run_ms", sa.Double),
    sa.Column("latency_ms", sa.Double),  # as the engine saw it
    sa.Column("cached", sa.Boolean, nullable=False, default=False),
    sa.Column("gate", sa.String(24)),
    sa.Column("failure", sa.String(64)),  # the kind of error; then there is no answer
    sa.Column("sealed_answer", sa.LargeBinary),
    sa.Column("at", _Time, nullable=False, index=True),
)

# What a person found when signing a revision's report off.
sign_off = sa.Table(
    "sign_off",
    metadata,
    sa.Column("revision_id", _Id, sa.ForeignKey("revision.id"), primary_key=True),
    sa.Column("outcome", _State, nullable=False),  # see daemon.registry.SignOff
    sa.Column("at", _Time, nullable=False),
)

# The outbox: one row for each revision and destination. `sealed_document` is what is sent, byte for byte, on each
# attempt.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("revision_id", _Id, sa.ForeignKey("revision.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("report_id", _Id, nullable=False),  # the same for all revisions of a study and pipeline
    sa.Column("patient_id", _Id, sa.ForeignKey("patient.id"), nullable=False),
    sa.Column("state", _State, nullable=False, index=True),  # see daemon.states.DeliveryState
    sa.Column("sealed_document", sa.LargeBinary),  # none while pending
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("status", sa.Integer),  # last status: HTTP's, or C-STORE's
    sa.Column("outcome", sa.String(2000)),  # scrubbed OperationOutcome of the last failure
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("updated_at", _Time, nullable=False),
    sa.UniqueConstraint("revision_id", "destination"),
)
# One write in flight for a destination and report (DESIGN §2.6), kept by the database itself.
sa.Index(
    "uq_delivery_sending",
    delivery.c.destination,
    delivery.c.report_id,
    unique=True,
    sqlite_where=delivery.c.state == "sending",
    postgresql_where=delivery.c.state == "sending",
)

# Which copies of a delivery's list its archive has said that it took: of those that it was sent before with other
# content, since no later answer tells which of the two is there.
taken_copy = sa.Table(
    "taken_copy",
    metadata,
    sa.Column("delivery_id", _Id, sa.ForeignKey("delivery.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
)

# An event is inserted unchained by whoever did the thing; the sealer gives it `log_index` and `leaf_hash` (RFC 6962).
# `body` is the canonical JSON that was hashed; `kind`, `at` and `subject` repeat parts of it for look-up, `verify`
# compares.
audit_event = sa.Table(
    "audit_event",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("writer", sa.String(64), nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("at", _Time, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False, index=True),
    sa.Column("subject", _Id, index=True),  # audit tag of the patient concerned, if any
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("log_index", sa.BigInteger, unique=True),
    sa.Column("leaf_hash", sa.LargeBinary(32)),
    sa.UniqueConstraint("writer", "sequence"),
)
sa.Index(
    "ix_audit_event_unsealed",
    audit_event.c.id,
    sqlite_where=audit_event.c.log_index.is_(None),
    postgresql_where=audit_event.c.log_index.is_(None),
)

# The counters behind `audit_event.writer` and `sequence`. A transaction locks one row of its process's name and
# takes numbers from it, so that the counter and the events commit or vanish together: no gaps (see
# `daemon.audit.events`).
audit_writer = sa.Table(
    "audit_writer",
    metadata,
    sa.Column("writer", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(48), nullable=False, index=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

# A signed head of the log, one for each batch that was sealed. What the signature covers: `daemon.audit.heads`.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary(32), nullable=False),
    sa.Column("at", _Time, nullable=False),
    sa.Column("signature", sa.LargeBinary(64), nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),  # roots of the perfect subtrees, so that sealing can go on
    sa.Column("leaves", sa.LargeBinary, nullable=False),  # leaf hashes since the head before, 32 bytes each
)

# Who may act alone: the indexer, the sealer, the engine, the runtime. `generation` grows with each new holder.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("until", _Time, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
)
