"""The store: what the gateway logs, in SQLite or PostgreSQL, append-only."""

from copydesk.store.read import LoggedEdit, find_completion, read_edits, search_edits
from copydesk.store.store import DEFAULT_STORE, EditStore

__all__ = ["DEFAULT_STORE", "EditStore", "LoggedEdit", "find_completion", "read_edits", "search_edits"]
