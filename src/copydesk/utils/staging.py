"""Writing a folder in one step: it appears whole under its name, or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copydesk.errors import InputError
from copydesk.training.policy_file import POLICY_FILE


@contextmanager
def atomic_folder(
    target: Path, *, overwrite: bool = False, marker: str = POLICY_FILE, within: Path | None = None
) -> Iterator[Path]:
    """An empty folder beside `target` that takes its name when the block ends, and is removed when the block raises.

    Entering is also the check that the place can be written to, so enter before work that takes long.

    Args:
        target: the folder to write; missing parents are made.
        overwrite: replace an existing folder of that name.
        marker: the file by which a folder of ours is known (a policy's, unless told otherwise). A folder without it
            is never replaced.
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
    except OSError as fault:
        _remove_empty(made)
        raise InputError(
            f"--out {target}: cannot be written ({(fault.strerror or str(fault)).lower()}); choose another folder"
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


def check_target_free(target: Path, *, overwrite: bool = False, marker: str = POLICY_FILE) -> None:
    """Refuse a folder that may not be written or replaced; the arguments are those of `atomic_folder`.

    Raises:
        InputError: it holds other things, or something of ours that is not to be replaced, or is a file.
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
    """Give `staging` the name of `target`; what stood there goes aside first and is removed last."""
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
    """Remove folders made on the way, the deepest first, unless something has come to live in them."""
    for folder in reversed(folders):
        if not any(folder.iterdir()):
            folder.rmdir()
