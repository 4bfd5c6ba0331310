"""Imported rows; arms for some only, groups of users, and the log of erased users."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nothing that is there changes."""
    op.add_column("arms", sa.Column("audience", sa.Text))
    op.add_column("pulls", sa.Column("asker", sa.Text))
    op.add_column("completions", sa.Column("imported", sa.Text))
    op.add_column("completions", sa.Column("digest", sa.Text))
    op.create_index("ix_completions_digest", "completions", ["digest"], unique=True)
    op.create_index("ix_completions_user", "completions", ["user"])
    op.create_table(
        "memberships",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("group", sa.Text),
    )
    op.create_table(
        "forgettings",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("first", sa.BigInteger),
        sa.Column("erased", sa.Text, nullable=False),
        sa.Column("policies", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
    )
