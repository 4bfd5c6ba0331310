"""Where Copydesk keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what can be computed or fetched again; it need not exist yet.

    It is $COPYDESK_CACHE, else `copydesk` in $XDG_CACHE_HOME, else `~/.cache/copydesk`.
    """
    if chosen := os.environ.get("COPYDESK_CACHE"):
        return Path(chosen).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG Base Directory Specification has a relative path ignored.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "copydesk"
