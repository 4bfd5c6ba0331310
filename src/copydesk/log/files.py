"""Files on disk: opening one to read, and replacing one in a single step."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from copydesk.errors import InputError


def open_to_read(path: Path | str) -> BinaryIO:
    """Open a file for reading bytes.

    Raises:
        InputError: there is no such file, it is a folder, or it may not be read.
    """
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder, not a file; name a file in it") from None
    except (OSError, ValueError) as fault:
        raise InputError(f"{path}: cannot be read ({_reason(fault)}); check the path and its permissions") from None


@contextmanager
def atomic_write(path: Path | str) -> Iterator[TextIO]:
    r"""Write a UTF-8 text file so that `path` holds either all of it or what it held before.

    The text goes to a temporary file in the same folder, which takes the name of `path` when the block ends and is
    removed when the block raises. Line ends are written as they are given (`"\n"` stays `"\n"` everywhere). A symbolic
    link is written through; the folder must exist.

    Raises:
        InputError: the folder is missing or may not be written to, `path` is a folder, the disk is full, or the text
            holds half of a surrogate pair, which no file can store as UTF-8.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError(f"{path}: this is a folder, so no file can be written there; name a file in it")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {target.parent}; create it first")
    # Opened by hand, not by `tempfile`, whose files are readable by their owner alone and would stay so.
    temporary = target.parent / f".copydesk-{secrets.token_hex(8)}.tmp"
    try:
        file = temporary.open("x", encoding="utf-8", newline="")
    except OSError as fault:
        raise InputError(f"{path}: cannot be written ({_reason(fault)}); choose a folder you may write to") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except UnicodeEncodeError as fault:
        culprit = str(fault.object)[fault.start]
        raise InputError(
            f"{path}: the text holds {culprit!a}, half of a surrogate pair, which is not a character; remove it"
        ) from None
    except OSError as fault:
        raise InputError(
            f"{fault.filename or path}: writing failed ({_reason(fault)}); nothing was changed, mend that and run again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _reason(fault: Exception) -> str:
    """What the system said, without the error number and the temporary file's name."""
    return (getattr(fault, "strerror", None) or str(fault)).lower()
