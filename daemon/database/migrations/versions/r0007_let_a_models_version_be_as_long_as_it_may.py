"""Let a model's version be as long as a package may call it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go from revision 0006 to 0007."""
    with op.batch_alter_table("result") as result:
        result.alter_column("model_version", type_=sa.String(64), existing_type=sa.String(32), existing_nullable=False)
