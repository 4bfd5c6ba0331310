"""The store's tables. All but `clock` and `keys` are append-only; only forgetting a user erases rows.

Every appended row takes the next number `seq` of one clock, under its lock. The numbers thus follow the order of the
commits, and reading the rows with `seq` above the last one seen yields everything written since, by any process.

The migrations in `migrations/versions` create these tables; this is their state after the last migration.
"""

from typing import Any

import sqlalchemy
from sqlalchemy import Column, MetaData, Table, TypeDecorator, UniqueConstraint

from copydesk.store.errors import DamagedDataError


def _define_checked_type(kind: Any, python: Any, least: float = 0.0, most: float = 0.0) -> Any:
    """A column type that refuses what SQLite lets into a column of any type, such as bytes in place of a number."""

    class Checked(TypeDecorator[Any]):
        impl = kind
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> Any:
            if value is None or (isinstance(value, python) and (python is str or least <= value <= most)):
                return value
            raise DamagedDataError(f"{str(value)[:40]!a} is stored in place of a value of type {kind.__name__}")

    return Checked


_INFINITE = float("inf")
Text = _define_checked_type(sqlalchemy.Text, str)
BigInteger = _define_checked_type(sqlalchemy.BigInteger, int, -_INFINITE, _INFINITE)
Integer = _define_checked_type(sqlalchemy.Integer, int, -_INFINITE, _INFINITE)
Double = _define_checked_type(sqlalchemy.Double, (int, float), -_INFINITE, _INFINITE)
Moment = _define_checked_type(sqlalchemy.Double, (int, float), -62_135_596_800, 253_402_300_799)  # the years 1 to 9999

metadata = MetaData()


def _define_log_table(name: str, *columns: Column[object] | UniqueConstraint) -> Table:
    return Table(
        name,
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("at", Moment, nullable=False),  # seconds since 1970, UTC
        *columns,
    )


clock = Table("clock", metadata, Column("id", Integer, primary_key=True), Column("seq", BigInteger, nullable=False))
"""One row, updated in place: the last number assigned."""

settings = _define_log_table("ensemble_settings", Column("settings", Text, nullable=False))
"""Settings of the ensemble as JSON; the latest row applies."""

arms = _define_log_table(
    "arms",
    Column("name", Text, nullable=False),
    Column("action", Text, nullable=False),  # add or retire
    Column("spec", Text),
    Column("audience", Text),  # the user or group scope it is for; NULL for everyone
)
"""Arms added and retired."""

pulls = _define_log_table(
    "pulls",
    Column("completion_id", Text, nullable=False, index=True),
    Column("round", BigInteger, nullable=False, unique=True),
    Column("arm", Text, nullable=False),  # empty if the user of the round was forgotten
    Column("propensity", Double, nullable=False),
    Column("scope", Text),
    Column("turn", BigInteger, nullable=False),
    Column("without", Text),  # JSON list of arms that could not be chosen
    Column("asker", Text),  # scope of the requesting user, if another scope decided
    Column("key", Text),  # id of the API key of the request; NULL without one
)
"""Choices of the ensemble. A request whose first arm failed has several."""

withdrawals = _define_log_table(
    "withdrawals",
    Column("completion_id", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("round", BigInteger),  # of the withdrawn pull; NULL if the policy was requested by name
    Column("reason", Text, nullable=False),
    Column("rest_until", Double),
)
"""Failed requests, and until when their arm is in cooldown."""

completions = _define_log_table(
    "completions",
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False, index=True),
    Column("user", Text, index=True),
    Column("requested", Text, nullable=False),  # the model the client named
    Column("policy", Text, nullable=False),  # empty if an imported row has none
    Column("propensity", Double, nullable=False),
    Column("round", BigInteger),
    Column("context", Text, nullable=False),  # JSON: the messages as sent; a string if imported as one
    Column("parameters", Text, nullable=False),  # JSON: the rest of the request
    Column("response", Text, nullable=False),
    Column("finish_reason", Text),
    Column("usage", Text),  # JSON
    Column("imported", Text),  # JSON: further fields of an imported row; NULL for a request to this gateway
    Column("digest", Text, unique=True, index=True),  # of an imported row's content
    Column("key", Text),  # id of the API key of the request; NULL without one
)
"""Answers of this gateway, and imported ones."""

edits = _define_log_table(
    "edits",
    Column("id", Text, nullable=False, unique=True),
    Column("completion_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),  # from 1; the latest counts
    Column("edit", Text, nullable=False),
    Column("cost", Double, nullable=False),
    Column("previous_cost", Double),  # of the revision before
    Column("metric", Text, nullable=False),
    Column("key", Text),  # id of the API key that the edit was sent with; NULL without one
    UniqueConstraint("completion_id", "revision", name="uq_edits_revision"),
)
"""Revisions of the edits of completions."""

memberships = _define_log_table(
    "memberships",
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("group", Text),  # NULL: in no group from here on
)
"""Groups of the users; the latest row of a user applies."""

forgettings = _define_log_table(
    "forgettings",
    Column("salt", Text, nullable=False),
    Column("subject", Text, nullable=False),  # keyed hash of the forgotten user
    Column("first", BigInteger),  # seq of the first erased choice; NULL if there was none
    Column("erased", Text, nullable=False),  # JSON: number of erased rows by kind
    Column("policies", Text, nullable=False),  # JSON: names of the policies trained on the user's edits
    Column("previous", Text, nullable=False),  # the seal of the entry before
    Column("seal", Text, nullable=False),  # a hash of this entry and of the one before
)
"""A hash chain of entries that a user was forgotten, without their names."""

rewrites = _define_log_table("rewrites", Column("until", BigInteger, nullable=False))
"""Finished rewrites of the database's files: no file holds what was erased up to the number `until` of the log."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # separated by commas
    Column("hash", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("user", Text),  # the one user it is for; NULL for all
    Column("answers_of", Text),  # id of another key, whose answers it edits too; NULL for none
)
"""API keys with a hash of their secret. Revoking a key sets `revoked_at`."""
