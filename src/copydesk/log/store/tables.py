"""The store's tables. All but two are only ever appended to.

Every appended row takes the next number of one clock, `seq`, under its lock. So the numbers are in the order of the
commits, and to read rows with `seq` above the last one seen is to read all that happened since, whoever wrote it.

The migrations (`migrations/versions`) make these tables; this is what they are after the last one.
"""

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, Table, Text, UniqueConstraint

metadata = MetaData()


def _appended(name: str, *columns: Column[object] | UniqueConstraint) -> Table:
    return Table(
        name,
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("at", Double, nullable=False),  # seconds since 1970, UTC
        *columns,
    )


clock = Table("clock", metadata, Column("id", Integer, primary_key=True), Column("seq", BigInteger, nullable=False))
"""One row: the last number given out. Updated, not appended to."""

settings = _appended("ensemble_settings", Column("settings", Text, nullable=False))
"""What the ensemble follows from here on, as JSON."""

arms = _appended(
    "arms",
    Column("name", Text, nullable=False),
    Column("action", Text, nullable=False),  # add or retire
    Column("spec", Text),
)
"""Policies that became arms, and arms that were retired."""

pulls = _appended(
    "pulls",
    Column("completion_id", Text, nullable=False, index=True),
    Column("round", BigInteger, nullable=False, unique=True),
    Column("arm", Text, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("scope", Text),
    Column("turn", BigInteger, nullable=False),
    Column("without", Text),  # JSON list of arms that could not be chosen
)
"""The ensemble's choices. A request whose first arm failed has several."""

withdrawals = _appended(
    "withdrawals",
    Column("completion_id", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("round", BigInteger),  # of the pull that counts no more; none if the policy was asked for by name
    Column("reason", Text, nullable=False),
    Column("rest_until", Double),
)
"""Requests that were not answered, and until when their arm is not chosen for that."""

completions = _appended(
    "completions",
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False, index=True),
    Column("user", Text),
    Column("requested", Text, nullable=False),  # the model the client named
    Column("policy", Text, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("round", BigInteger),
    Column("context", Text, nullable=False),  # JSON: the messages as they were sent
    Column("parameters", Text, nullable=False),  # JSON: the rest of the request
    Column("response", Text, nullable=False),
    Column("finish_reason", Text),
    Column("usage", Text),  # JSON
)
"""What was answered."""

edits = _appended(
    "edits",
    Column("id", Text, nullable=False, unique=True),
    Column("completion_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),  # from 1; the latest counts
    Column("edit", Text, nullable=False),
    Column("cost", Double, nullable=False),
    Column("previous_cost", Double),  # of the revision before
    Column("metric", Text, nullable=False),
    UniqueConstraint("completion_id", "revision", name="uq_edits_revision"),
)
"""What people made of the answers."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # separated by commas
    Column("hash", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)
"""API keys; of the key itself only a hash. Revoking one sets a time."""
