"""The store: the append-only log of a gateway, in SQLite or PostgreSQL.

`copydesk.import_rows` adds the rows of another source to it; `copydesk.store.import_rows` is the module of that
function.
"""

from typing import TYPE_CHECKING

__all__ = [
    "DEFAULT_STORE",
    "EditStore",
    "ImportResult",
    "LoggedEdit",
    "RejectedRowWriter",
    "RowParser",
    "StoredUser",
    "erase_user",
    "find_completion",
    "open_rejected_rows",
    "read_edits",
    "read_users",
    "search_edits",
]

if TYPE_CHECKING:
    from copydesk.store.forget import erase_user
    from copydesk.store.import_rows import ImportResult, RejectedRowWriter, RowParser, open_rejected_rows
    from copydesk.store.read import LoggedEdit, find_completion, read_edits, search_edits
    from copydesk.store.store import DEFAULT_STORE, EditStore
    from copydesk.store.users import StoredUser, read_users
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.store.forget": ["erase_user"],
            "copydesk.store.import_rows": ["ImportResult", "RejectedRowWriter", "RowParser", "open_rejected_rows"],
            "copydesk.store.read": ["LoggedEdit", "find_completion", "read_edits", "search_edits"],
            "copydesk.store.store": ["DEFAULT_STORE", "EditStore"],
            "copydesk.store.users": ["StoredUser", "read_users"],
        },
    )
