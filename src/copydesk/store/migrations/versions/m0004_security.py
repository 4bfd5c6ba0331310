"""API keys of requests and edits, keys for the answers of one user or key, and finished rewrites of the database."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing that is there changes."""
    for table in ("completions", "pulls", "edits"):
        op.add_column(table, sa.Column("key", sa.Text))
    op.add_column("keys", sa.Column("user", sa.Text))
    op.add_column("keys", sa.Column("answers_of", sa.Text))
    op.create_table(
        "rewrites",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
