"""How many rows and users there are, and how much one user brings."""

from collections import Counter
from dataclasses import dataclass

from copydesk.data.record import EditRecord


@dataclass(frozen=True)
class LogCounts:
    """What a log is made of.

    Attributes:
        rows: all of them, `pending + accepted + edited`.
        pending: whose edit is not known yet.
        accepted: kept as they were.
        edited: changed.
        users: how many there are; 0 where no row names one.
        named: rows that name their user.
        largest_user: rows of the user who has most of them.
        policies: how many policies the rows name.
    """

    rows: int
    pending: int
    accepted: int
    edited: int
    users: int
    named: int
    largest_user: int
    policies: int

    @property
    def known(self) -> int:
        """Rows whose edit is known."""
        return self.accepted + self.edited

    @property
    def accepted_share(self) -> float | None:
        """The share accepted of those known; `None` where none is."""
        return self.accepted / self.known if self.known else None


class LogCountsAccumulator:
    """Counts rows as they pass; keeps one number a user and a policy."""

    def __init__(self) -> None:
        self._pending = self._accepted = self._edited = 0
        self._users: Counter[str] = Counter()
        self._policies: set[str] = set()

    def add(self, record: EditRecord) -> None:
        """Count a row."""
        self._pending += record.pending
        self._accepted += record.accepted
        self._edited += record.edited
        if record.user is not None:
            self._users[record.user] += 1
        if record.policy is not None:
            self._policies.add(record.policy)

    def result(self) -> LogCounts:
        """The counts so far."""
        return LogCounts(
            rows=self._pending + self._accepted + self._edited,
            pending=self._pending,
            accepted=self._accepted,
            edited=self._edited,
            users=len(self._users),
            named=self._users.total(),
            largest_user=max(self._users.values(), default=0),
            policies=len(self._policies),
        )
