"""API keys, and the tenant whose key a completion was asked for with."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What was logged without a key belongs to the tenant `default`, as what is asked without one still does."""
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.add_column("completions", sa.Column("tenant", sa.Text, nullable=False, server_default="default"))
    op.create_index("ix_completions_tenant", "completions", ["tenant"])
