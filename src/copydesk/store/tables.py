"""The store's tables. All but two are only ever appended to, and nothing erases a row but forgetting a person.

Every appended row takes the next number of one clock, `seq`, under its lock. So the numbers are in the order of the
commits, and to read rows with `seq` above the last one seen is to read all that happened since, whoever wrote it.

The migrations (`migrations/versions`) make these tables; this is what they are after the last one.
"""

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, Table, Text, UniqueConstraint

metadata = MetaData()


def _define_log_table(name: str, *columns: Column[object] | UniqueConstraint) -> Table:
    return Table(
        name,
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("at", Double, nullable=False),  # seconds since 1970, UTC
        *columns,
    )


clock = Table("clock", metadata, Column("id", Integer, primary_key=True), Column("seq", BigInteger, nullable=False))
"""One row: the last number given out. Updated, not appended to."""

settings = _define_log_table("ensemble_settings", Column("settings", Text, nullable=False))
"""What the ensemble follows from here on, as JSON."""

arms = _define_log_table(
    "arms",
    Column("name", Text, nullable=False),
    Column("action", Text, nullable=False),  # add or retire
    Column("spec", Text),
    Column("audience", Text),  # the scope (a user or a group) it is for; none for everyone
)
"""Policies that became arms, and arms that were retired."""

pulls = _define_log_table(
    "pulls",
    Column("completion_id", Text, nullable=False, index=True),
    Column("round", BigInteger, nullable=False, unique=True),
    Column("arm", Text, nullable=False),  # empty where the round was a person's who is forgotten
    Column("propensity", Double, nullable=False),
    Column("scope", Text),
    Column("turn", BigInteger, nullable=False),
    Column("without", Text),  # JSON list of arms that could not be chosen
    Column("asker", Text),  # the scope of the user who asked, where that is not the one that decided
)
"""The ensemble's choices. A request whose first arm failed has several."""

withdrawals = _define_log_table(
    "withdrawals",
    Column("completion_id", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("round", BigInteger),  # of the pull that counts no more; none if the policy was asked for by name
    Column("reason", Text, nullable=False),
    Column("rest_until", Double),
)
"""Requests that were not answered, and until when their arm is not chosen for that."""

completions = _define_log_table(
    "completions",
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False, index=True),
    Column("user", Text, index=True),
    Column("requested", Text, nullable=False),  # the model the client named
    Column("policy", Text, nullable=False),  # empty where an imported row does not say
    Column("propensity", Double, nullable=False),
    Column("round", BigInteger),
    Column("context", Text, nullable=False),  # JSON: the messages as they were sent; a text if it was imported as one
    Column("parameters", Text, nullable=False),  # JSON: the rest of the request
    Column("response", Text, nullable=False),
    Column("finish_reason", Text),
    Column("usage", Text),  # JSON
    Column("imported", Text),  # JSON: what an imported row said that the columns do not; none if it was asked for here
    Column("digest", Text, unique=True, index=True),  # of an imported row's content
)
"""What was answered, here or wherever an imported log comes from."""

edits = _define_log_table(
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

memberships = _define_log_table(
    "memberships",
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("group", Text),  # none: of no group from here on
)
"""Which group a user is in; the latest row counts."""

forgettings = _define_log_table(
    "forgettings",
    Column("salt", Text, nullable=False),
    Column("subject", Text, nullable=False),  # a keyed hash of who was forgotten
    Column("first", BigInteger),  # the number of the first choice that was erased; none if none was
    Column("erased", Text, nullable=False),  # JSON: how many rows of what
    Column("policies", Text, nullable=False),  # JSON: the names of those that had learned from the person
    Column("previous", Text, nullable=False),  # the seal of the entry before
    Column("seal", Text, nullable=False),  # a hash of this entry and of the one before
)
"""Who was forgotten, without saying who."""

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
