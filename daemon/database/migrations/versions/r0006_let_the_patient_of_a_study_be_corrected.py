"""Let the patient of a study be corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0005 to 0006."""
    op.add_column("instance", sa.Column("sealed_correction", sa.LargeBinary(), nullable=True))
    op.add_column("instance", sa.Column("repeats", sa.String(length=36), nullable=True))
    op.add_column("revision", sa.Column("former_patient_id", sa.String(length=36), nullable=True))
    op.create_index(op.f("ix_revision_former_patient_id"), "revision", ["former_patient_id"], unique=False)
