"""Reading files, and writing files and folders so that they appear whole under their name or not at all.

A file may also be at a URL (`copydesk.utils.remote`); a folder is local.
"""

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from copydesk.errors import InputError
from copydesk.utils.remote import check_url_writable, hide_url_credentials, is_url, open_url, upload_file


def open_to_read(path: Path | str, *, seekable: bool = False) -> BinaryIO:
    """Open a file for reading bytes.

    Args:
        path: of the file, or a URL.
        seekable: whether `seek` is needed, for which a file of a web server is downloaded first.

    Raises:
        InputError: there is no such file, it is a folder, or there is no permission to read it.
    """
    if is_url(path):
        return open_url(str(path), seekable=seekable)
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder, not a file; name a file in it") from None
    except (OSError, ValueError) as exc:
        raise InputError(
            f"{path}: cannot be read ({_describe_os_error(exc)}); check the path and its permissions"
        ) from None


@contextmanager
def atomic_write(path: Path | str) -> Iterator[TextIO]:
    r"""Write a UTF-8 text file so that `path` holds either all of it or what it held before.

    The text goes to a temporary file in the same folder, which takes the name of `path` when the block ends and is
    removed when the block raises. Line ends are written as they are given (`"\n"` stays `"\n"` everywhere). A symbolic
    link is written through; the folder must exist. A URL is written by an upload when the block ends.

    Raises:
        InputError: the folder is missing or cannot be written to, `path` is a folder, the disk is full, or the text
            holds half of a surrogate pair, which no file can store as UTF-8.
    """
    with staged_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def staged_file(path: Path | str, *, tidy: bool = False) -> Iterator[Path]:
    """An empty file beside `path` that takes its name when the block ends, and is removed when the block raises.

    Args:
        path: what to write; a symbolic link is written through, and the folder must exist. For a URL the empty file
            is in the system's temporary folder, and is uploaded when the block ends.
        tidy: first remove what killed writers left beside `path`. Of two processes that write the same file at a
            time, the one that began first then fails.

    Raises:
        InputError: as `atomic_write`; or the upload failed.
    """
    if is_url(path):
        with _staged_upload(str(path)) as temporary:
            yield temporary
        return
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError(f"{path}: this is a folder, so no file can be written there; name a file in it")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {target.parent}; create it first")
    # The digest tells which file it is for, whatever the length of the name.
    stem = f".copydesk-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}"
    # Not made by `tempfile`, whose files are readable only by their owner and would stay so.
    temporary = target.parent / f"{stem}-{secrets.token_hex(8)}.tmp"
    try:
        for leftover in target.parent.glob(f"{stem}-*.tmp") if tidy else ():
            leftover.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as exc:
        raise InputError(
            f"{path}: cannot be written ({_describe_os_error(exc)}); choose a folder that you can write to"
        ) from None
    try:
        with _explain_write_errors(str(path), temporary):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _staged_upload(url: str) -> Iterator[Path]:
    check_url_writable(url)
    with tempfile.TemporaryDirectory(prefix="copydesk-") as folder:
        temporary = Path(folder) / "upload"
        temporary.touch()
        with _explain_write_errors(hide_url_credentials(url), temporary):
            yield temporary
        upload_file(temporary, url)


@contextmanager
def _explain_write_errors(name: str, temporary: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError as exc:
        culprit = str(exc.object)[exc.start]
        raise InputError(
            f"{name}: the text holds {culprit!a}, half of a surrogate pair, which is not a character; remove it"
        ) from None
    except OSError as exc:
        place = name if exc.filename in (None, str(temporary)) else exc.filename
        raise InputError(
            f"{place}: writing failed ({_describe_os_error(exc)}); nothing was changed, fix that and run again"
        ) from None


def _describe_os_error(exc: Exception) -> str:
    """The system's message, without the error number and the temporary file's name."""
    return (getattr(exc, "strerror", None) or str(exc)).lower()


@contextmanager
def atomic_folder(target: Path, *, marker: str, overwrite: bool = False, within: Path | None = None) -> Iterator[Path]:
    """An empty folder beside `target` that takes its name when the block ends, and is removed when the block raises.

    Entering is also the check that the place can be written to, so enter before work that takes long.

    Args:
        target: the folder to write; missing parents are created.
        marker: a file that every such folder holds, for example `policy.json`. A folder without it is never replaced.
        overwrite: replace an existing folder of that name.
        within: make it in this folder instead, which must be on the same disk.

    Raises:
        InputError: `target` exists and may not be replaced, or its parent cannot be written to.
    """
    check_target_free(target, overwrite=overwrite, marker=marker)
    made: list[Path] = []
    try:
        for parent in [folder for folder in reversed(target.absolute().parents) if not folder.exists()]:
            parent.mkdir()
            made.append(parent)
        staging = _hidden_sibling(target) if within is None else within / _hidden_sibling(target).name
        staging.mkdir()
    except OSError as exc:
        _remove_empty(made)
        raise InputError(
            f"--out {target}: cannot be written ({(exc.strerror or str(exc)).lower()}); choose another folder"
        ) from None
    done = False
    try:
        yield staging
        check_target_free(target, overwrite=overwrite, marker=marker)
        _replace_folder(staging, target)
        done = True
    finally:
        if not done:
            shutil.rmtree(staging, ignore_errors=True)
            _remove_empty(made)


@contextmanager
def lock_folder(target: Path) -> Iterator[None]:
    """Keep other runs from writing a folder until the block ends, or this process does, however that comes.

    The lock is a hidden file beside `target`; missing parents are created, and removed again if they stay empty.

    Raises:
        InputError: another run is writing there, or the place cannot be written to.
    """
    from filelock import FileLock, Timeout  # comes with the training libraries

    target = target.absolute()
    file = target.with_name(f".{target.name}.lock")
    missing = [folder for folder in reversed(target.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=_LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise InputError(f"--out {target}: another run is writing there; wait for it, or name another folder") from None
    except OSError as exc:
        _remove_empty([folder for folder in missing if folder.exists()])
        raise InputError(f"--out {target}: cannot be written ({_describe_os_error(exc)}); choose another") from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # before it is released: who waits for it notices that the name is gone
        lock.release()
        _remove_empty([folder for folder in missing if folder.exists()])


_LOCK_SECONDS = 0.5  # enough for a run that has just ended


def check_target_free(target: Path, *, marker: str, overwrite: bool = False) -> None:
    """Refuse a folder that may not be written or replaced; the arguments are those of `atomic_folder`.

    Raises:
        InputError: it holds other things, or a folder that may not be replaced, or is a file.
    """
    if target.is_dir() and any(target.iterdir()):
        if not (target / marker).is_file():
            raise InputError(f"--out {target}: the folder holds other things; name a new or empty folder")
        if not overwrite:
            raise InputError(
                f"--out {target}: there is one already, and it is not written over; name a new folder (or replace it "
                "with --force)"
            )
    elif target.exists() and not target.is_dir():
        raise InputError(f"--out {target}: this is a file; name a new folder")


def _replace_folder(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; an existing folder is moved aside first and removed last."""
    if not target.is_dir():
        staging.replace(target)
        return
    aside = _hidden_sibling(target)
    target.replace(aside)
    try:
        staging.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _hidden_sibling(target: Path) -> Path:
    """A free name beside `target`, on the same disk, hidden."""
    return target.absolute().with_name(f".{target.name}-{secrets.token_hex(4)}")


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that were created, the deepest first, unless they hold something by now."""
    for folder in reversed(folders):
        if not any(folder.iterdir()):
            folder.rmdir()
