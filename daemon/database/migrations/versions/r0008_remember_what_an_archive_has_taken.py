"""Remember what an archive has taken."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0007 to 0008."""
    op.create_table(
        "taken_copy",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_taken_copy_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_taken_copy")),
    )
