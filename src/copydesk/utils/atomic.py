"""Files on disk: opening one to read, and replacing one in a single step."""

import hashlib
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
        raise InputError(
            f"{path}: cannot be read ({_describe_os_error(fault)}); check the path and its permissions"
        ) from None


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
    with staged_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def staged_file(path: Path | str, *, tidy: bool = False) -> Iterator[Path]:
    """An empty file beside `path` that takes its name when the block ends, and is removed when the block raises.

    Args:
        path: what to write; a symbolic link is written through, and the folder must exist.
        tidy: first remove what killed writers left beside `path`. Of two who write the same file at a time, the one
            who began first then fails.

    Raises:
        InputError: as `atomic_write`.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError(f"{path}: this is a folder, so no file can be written there; name a file in it")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {target.parent}; create it first")
    # The digest says whose it is, whatever the length of the name.
    stem = f".copydesk-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}"
    # Made by hand, not by `tempfile`, whose files are readable by their owner alone and would stay so.
    temporary = target.parent / f"{stem}-{secrets.token_hex(8)}.tmp"
    try:
        for leftover in target.parent.glob(f"{stem}-*.tmp") if tidy else ():
            leftover.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as fault:
        raise InputError(
            f"{path}: cannot be written ({_describe_os_error(fault)}); choose a folder you may write to"
        ) from None
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except UnicodeEncodeError as fault:
        culprit = str(fault.object)[fault.start]
        raise InputError(
            f"{path}: the text holds {culprit!a}, half of a surrogate pair, which is not a character; remove it"
        ) from None
    except OSError as fault:
        place = path if fault.filename in (None, str(temporary)) else fault.filename
        raise InputError(
            f"{place}: writing failed ({_describe_os_error(fault)}); nothing was changed, mend that and run again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _describe_os_error(fault: Exception) -> str:
    """What the system said, without the error number and the temporary file's name."""
    return (getattr(fault, "strerror", None) or str(fault)).lower()
