"""Let an operator choose the policy under which a study is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0003 to 0004."""
    op.add_column("revision", sa.Column("policy", sa.JSON(none_as_null=True), nullable=True))
