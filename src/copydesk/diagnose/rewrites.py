"""The commonest edits: which words become which."""

from array import array
from dataclasses import dataclass, field

from copydesk.diagnose.edits import ChangedSpan, EditAlignment

MAX_REWRITE_WORDS = 6
"""Words on either side of a rewrite; a longer one is writing anew, which seldom happens twice alike."""

MAX_REWRITES_KEPT = 20_000
MAX_REWRITES_SHOWN = 20
_MAX_USERS = 100  # what is told apart; a rewrite that so many people make needs no exact number

RewritePair = tuple[str, str]
"""Words of the response and what they became, each joined by spaces; the first is empty for an insertion."""


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        before: words of the response; empty for an insertion.
        after: what they became; empty for a deletion.
        count: how often it was done.
        rows: in how many rows.
        users: by how many users, 100 at most; 0 where no row names one.
        row: the number of a row that has it, from 1.
        example: the words around it there, before and after.
    """

    before: str
    after: str
    count: int
    rows: int
    users: int
    row: int
    example: tuple[str, str]


@dataclass(frozen=True)
class RewriteSummary:
    """The rewrites of a log.

    Attributes:
        commonest: of those done at least twice, the 20 commonest.
        changes: runs of changed words in all.
        long: how many of them have more than 6 words on a side, and are not grouped.
        exact: whether the counts are exact. Of more different rewrites than fit, the rarest were forgotten, and a
            rewrite that became common later lacks what it had been counted before.
    """

    commonest: tuple[Rewrite, ...]
    changes: int
    long: int
    exact: bool


@dataclass
class _RewriteCounts:
    row: int
    example: tuple[str, str]
    count: int = 0
    rows: int = 0
    last: int = 0
    users: "array[int]" = field(default_factory=lambda: array("I"))  # a set takes twenty times as much


class RewriteAccumulator:
    """Counts rewrites; never more than 40,000 different ones are held."""

    def __init__(self, kept: int = MAX_REWRITES_KEPT) -> None:
        self._kept = kept
        self._seen: dict[RewritePair, _RewriteCounts] = {}
        self._changes = self._long = 0
        self._exact = True
        self._users: dict[str, int] = {}

    def add(self, number: int, change: EditAlignment, user: str | None) -> None:
        """Count the rewrites of one edit; `number` is the row's, from 1."""
        who = None if user is None else self._users.setdefault(user, len(self._users))
        for run in change.spans:
            self._changes += 1
            found = extract_rewrite(change, run)
            if found is None:
                self._long += 1
                continue
            seen = self._seen.get(found)
            if seen is None:
                seen = self._seen[found] = _RewriteCounts(number, _with_context(change, run))
            seen.count += 1
            seen.rows += seen.last != number
            seen.last = number
            if who is not None and len(seen.users) < _MAX_USERS and who not in seen.users:
                seen.users.append(who)
        if len(self._seen) > 2 * self._kept:
            self._prune()

    def _prune(self) -> None:
        commonest = sorted(self._seen, key=lambda found: -self._seen[found].count)[: self._kept]
        self._seen = {found: self._seen[found] for found in commonest}
        self._exact = False

    def result(self) -> RewriteSummary:
        """The rewrites so far."""
        often = sorted((item for item in self._seen.items() if item[1].count > 1), key=lambda item: -item[1].count)
        commonest = [
            Rewrite(before, after, seen.count, seen.rows, len(seen.users), seen.row, seen.example)
            for (before, after), seen in often[:MAX_REWRITES_SHOWN]
        ]
        return RewriteSummary(tuple(commonest), self._changes, self._long, self._exact)


def extract_rewrite(change: EditAlignment, run: ChangedSpan) -> RewritePair | None:
    """What became what in a run of changed words; `None` where either side is too long to group."""
    if run.end - run.start > MAX_REWRITE_WORDS or run.to_end - run.to_start > MAX_REWRITE_WORDS:
        return None
    return " ".join(change.before[run.start : run.end]), " ".join(change.after[run.to_start : run.to_end])


def _with_context(change: EditAlignment, run: ChangedSpan) -> tuple[str, str]:
    """The run with up to three words on either side, before and after."""
    return (
        " ".join(change.before[max(0, run.start - 3) : run.end + 3]),
        " ".join(change.after[max(0, run.to_start - 3) : run.to_end + 3]),
    )
