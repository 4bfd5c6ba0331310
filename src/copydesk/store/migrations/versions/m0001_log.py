"""The log: completions, edits, and every choice of the ensemble, in the order of one clock."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _appended(name: str, *columns: sa.Column[object] | sa.UniqueConstraint) -> None:
    op.create_table(
        name,
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        *columns,
    )


def upgrade() -> None:
    """From an empty database."""
    clock = op.create_table(
        "clock", sa.Column("id", sa.Integer, primary_key=True), sa.Column("seq", sa.BigInteger, nullable=False)
    )
    op.bulk_insert(clock, [{"id": 1, "seq": 0}])
    _appended("ensemble_settings", sa.Column("settings", sa.Text, nullable=False))
    _appended(
        "arms",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("spec", sa.Text),
    )
    _appended(
        "pulls",
        sa.Column("completion_id", sa.Text, nullable=False),
        sa.Column("round", sa.BigInteger, nullable=False, unique=True),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("scope", sa.Text),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("without", sa.Text),
    )
    op.create_index("ix_pulls_completion_id", "pulls", ["completion_id"])
    _appended(
        "withdrawals",
        sa.Column("completion_id", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("round", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rest_until", sa.Double),
    )
    _appended(
        "completions",
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("user", sa.Text),
        sa.Column("requested", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("round", sa.BigInteger),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text),
        sa.Column("usage", sa.Text),
    )
    _appended(
        "edits",
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("completion_id", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("edit", sa.Text, nullable=False),
        sa.Column("cost", sa.Double, nullable=False),
        sa.Column("previous_cost", sa.Double),
        sa.Column("metric", sa.Text, nullable=False),
        sa.UniqueConstraint("completion_id", "revision", name="uq_edits_revision"),
    )
