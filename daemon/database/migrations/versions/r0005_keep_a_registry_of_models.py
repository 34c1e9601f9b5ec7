"""Keep a registry of models."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0004 to 0005."""
    op.create_table(
        "model_version",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("package_sha256", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=24), nullable=False),
        sa.Column("decided_by_person", sa.Boolean(), nullable=False),
        sa.Column("replaced_id", sa.String(length=36), nullable=True),
        sa.Column("imported_at", sa.Double(), nullable=False),
        sa.Column("stage_since", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["replaced_id"], ["model_version.id"], name=op.f("fk_model_version_replaced_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_version_name_version")),
    )
    op.create_index(
        "uq_model_version_production",
        "model_version",
        ["name"],
        unique=True,
        sqlite_where=sa.text("stage = 'production'"),
        postgresql_where=sa.text("stage = 'production'"),
    )
    op.create_table(
        "experiment",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("control_id", sa.String(length=36), nullable=False),
        sa.Column("challenger_id", sa.String(length=36), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["challenger_id"], ["model_version.id"], name=op.f("fk_experiment_challenger_id")),
        sa.ForeignKeyConstraint(["control_id"], ["model_version.id"], name=op.f("fk_experiment_control_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
    )
    op.create_index(op.f("ix_experiment_model"), "experiment", ["model"], unique=False)
    op.create_index(
        "uq_experiment_running",
        "experiment",
        ["model"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "inference",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("patient_id", sa.String(length=36), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("experiment_id", sa.String(length=36), nullable=True),
        sa.Column("reported", sa.Boolean(), nullable=False),
        sa.Column("instance_tag", sa.String(length=64), nullable=False),
        sa.Column("input_tag", sa.String(length=64), nullable=False),
        sa.Column("route", sa.String(length=32), nullable=True),
        sa.Column("precision", sa.String(length=16), nullable=True),
        sa.Column("batch_size", sa.Integer(), nullable=True),
        sa.Column("queue_ms", sa.Double(), nullable=True),
        sa.Column("run_ms", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("gate", sa.String(length=24), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("failure", sa.String(length=64), nullable=True),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name=op.f("fk_inference_experiment_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_inference_patient_id")),
        sa.ForeignKeyConstraint(["revision_id"], ["revision.id"], name=op.f("fk_inference_revision_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=op.f("fk_inference_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inference")),
    )
    op.create_index(op.f("ix_inference_at"), "inference", ["at"], unique=False)
    op.create_index(op.f("ix_inference_experiment_id"), "inference", ["experiment_id"], unique=False)
    op.create_index(op.f("ix_inference_revision_id"), "inference", ["revision_id"], unique=False)
    op.create_index(op.f("ix_inference_version_id"), "inference", ["version_id"], unique=False)
    op.create_table(
        "sign_off",
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["revision_id"], ["revision.id"], name=op.f("fk_sign_off_revision_id")),
        sa.PrimaryKeyConstraint("revision_id", name=op.f("pk_sign_off")),
    )
