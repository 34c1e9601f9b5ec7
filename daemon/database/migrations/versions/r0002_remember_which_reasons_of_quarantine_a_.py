"""Remember which reasons of quarantine a person set aside."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0001 to 0002."""
    op.add_column("instance", sa.Column("accepted", sa.JSON(), server_default="[]", nullable=False))
