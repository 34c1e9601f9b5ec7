"""Seal how sure a model was: of one with a single label, that says what it found. The sealed answer has it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0008 to 0009."""
    op.execute(sa.text("UPDATE inference SET confidence = NULL"))  # a dropped column's values stay in PostgreSQL's rows
    op.drop_column("inference", "confidence")
