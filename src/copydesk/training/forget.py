"""Erase a person's rows and the caches computed from them, and list the policies that learned from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from copydesk.errors import InputError
from copydesk.model_registry import cache_folder
from copydesk.store import EditStore, tables
from copydesk.store.forget import (
    ForgetEntry,
    count_user_rows,
    erase_user,
    find_forget_entries,
    format_row_counts,
    is_rewrite_missing,
    verify_forget_chain,
)
from copydesk.training.policy_file import POLICY_FILE, RUN_FILE, read_policy_file


@dataclass(frozen=True)
class AffectedPolicy:
    """A policy that learned from a person.

    Attributes:
        name: of the policy.
        folder: where it is.
        certain: whether its `policy.json` says so; an older or damaged one does not name the users it learned from.
    """

    name: str
    folder: Path
    certain: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "folder": str(self.folder), "certain": self.certain}


@dataclass(frozen=True)
class ForgetResult:
    """Result of erasing a person.

    Attributes:
        erased: number of rows erased, by kind.
        cache_files_removed: number of files of reference log-probabilities removed.
        affected_policies: the policies that learned from the person, or may have.
        entries: log entries of this and earlier erasures of the person.
    """

    erased: dict[str, int]
    cache_files_removed: int
    affected_policies: list[AffectedPolicy]
    entries: list[ForgetEntry]


def forget_person(store: EditStore, user: str, tenant: str | None = None, folders: Sequence[Path] = ()) -> ForgetResult:
    """Erase everything of one person, and log that.

    Their rows and the statistics computed from them are erased in one transaction. All cached reference
    log-probabilities are removed, because they are not stored by user; they are recomputed when needed. Then the
    database's files are rewritten. If interrupted at any point, the same call again completes the erasure.

    Args:
        store: the store.
        user: the person to erase.
        tenant: tenant of the user; all tenants if `None`.
        folders: where to look for policies that learned from the person, in addition to the arms of the store.

    Raises:
        InputError: nothing is known of this person; the database's files cannot be rewritten at the moment.
    """
    with store.begin_read() as connection:
        try:
            learners = find_affected_policies(user, [*folders, *list_arm_folders(connection)])
        except OSError as exc:
            raise _unreadable_error(exc, "the folders of policies") from None
        known = count_user_rows(connection, user, tenant)
        before = find_forget_entries(connection, user, tenant)
    if not (known or before or any(learner.certain for learner in learners)):
        raise InputError(f"--user {user}: nothing in {store.name} is theirs; `copydesk users` lists who is there")
    try:
        caches = clear_reference_cache()
    except OSError as exc:
        raise _unreadable_error(exc, "the cache of reference log-probabilities") from None
    erased: dict[str, int] = {}
    if known or not before:
        with store.begin_write() as tx:
            entry = erase_user(tx, user, tenant, [learner.name for learner in learners if learner.certain])
        erased, before = entry.erased, [*before, entry]
    store.vacuum()
    return ForgetResult(erased, caches, learners, before)


def _unreadable_error(exc: OSError, what: str) -> InputError:
    reason = (exc.strerror or str(exc)).lower()
    return InputError(f"{exc.filename}: {what} cannot be read ({reason}), so nothing was erased; check the permissions")


def check_forgotten(store: EditStore, user: str | None, tenant: str | None = None) -> tuple[int, list[ForgetEntry]]:
    """Check that the entries are what was sealed, and that nothing of a person is left, also not in the files.

    Returns:
        How many entries there are, and those of this person.

    Raises:
        InputError: an entry was changed, something is left, or the person was never forgotten.
    """
    with store.begin_read() as connection:
        count = verify_forget_chain(connection)
        unfinished = is_rewrite_missing(connection)
        if user is None:
            if unfinished:
                raise _unfinished_error(store, "USER, naming the user who was forgotten last")
            return count, []
        left = count_user_rows(connection, user, tenant)
        entries = find_forget_entries(connection, user, tenant)
    if left:
        counts = format_row_counts(left)
        raise InputError(f"--user {user}: {store.name} holds {counts} of theirs; erase them with copydesk forget")
    if not entries:
        raise InputError(f"--user {user}: {store.name} does not say that they were ever forgotten")
    if unfinished:
        raise _unfinished_error(store, user)
    return count, entries


def _unfinished_error(store: EditStore, user: str) -> InputError:
    return InputError(
        f"{store.name}: erased texts are still in the database's files, because rewriting them has not finished; "
        f"finish it with: copydesk forget --user {user}"
    )


def find_affected_policies(user: str, folders: Iterable[Path]) -> list[AffectedPolicy]:
    """The policies in these folders and their sub-folders that learned from a person, or may have; by folder.

    A run that is not finished yet may have.
    """
    found: dict[Path, AffectedPolicy] = {}
    for folder in folders:
        for file in (*folder.rglob(POLICY_FILE), *folder.rglob(RUN_FILE)) if folder.is_dir() else ():
            place = file.parent.resolve()
            if place not in found and (learner := _read_affected_policy(place, user)) is not None:
                found[place] = learner
    return [found[place] for place in sorted(found)]


def _read_affected_policy(folder: Path, user: str) -> AffectedPolicy | None:
    try:
        policy = read_policy_file(folder)
    except InputError:
        # Nobody should stay because a file is damaged, or not written yet.
        return AffectedPolicy(folder.name, folder, certain=False)
    people = policy.data.people
    if people is not None and not people.contains(user):
        return None
    return AffectedPolicy(policy.name, folder, certain=people is not None)


def clear_reference_cache(folder: Path | None = None) -> int:
    """Remove the cached reference log-probabilities of all logs; returns how many files there were."""
    files = list(((folder or cache_folder()) / "references").glob("*.safetensors"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def list_arm_folders(connection: Connection) -> list[Path]:
    """The folders of all policies that are or were arms."""
    specs = connection.execute(select(tables.arms.c.spec).where(tables.arms.c.spec.is_not(None))).scalars()
    return [Path(spec) for spec in specs if (Path(spec) / POLICY_FILE).is_file()]
