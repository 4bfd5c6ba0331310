"""Limits on how many pulls and edits of one user, and of one API key, count within a window of time.

The decisions are part of the fold over the log (`copydesk.ensemble.ledger`): they depend on the events alone, so that
restarts, other gateways on the store and `copydesk ensemble verify` decide the same, and nothing is stored.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from copydesk.ensemble.config import EnsembleConfig
from copydesk.store.events import ArmPulled, ConfigChanged, EditRecorded, LogEvent


class RoundSet:
    """A set of rounds, with one bit for each round up to the largest."""

    def __init__(self, bits: bytes | bytearray = b"") -> None:
        self._bits = bytearray(bits)

    def __contains__(self, round: object) -> bool:
        if not isinstance(round, int) or round >> 3 >= len(self._bits):
            return False
        return bool(self._bits[round >> 3] >> (round & 7) & 1)

    def add(self, round: int) -> None:
        """Add a round."""
        self._bits.extend(bytes(max(0, (round >> 3) + 1 - len(self._bits))))
        self._bits[round >> 3] |= 1 << (round & 7)

    def discard(self, round: int) -> None:
        """Remove a round, if it is in the set."""
        if round in self:
            self._bits[round >> 3] &= ~(1 << (round & 7))

    def copy(self) -> "RoundSet":
        """A set with the same rounds."""
        return RoundSet(self._bits)


@dataclass(frozen=True)
class CountedRounds:
    """The rounds, or edits of rounds, that exceeded a limit.

    Attributes:
        left_out: rounds that do not count.
        closed: rounds of which an edit did not count; their later edits do not either.
        kept_costs: the cost that stays in force for a round whose first edit counted and a later one did not.
    """

    left_out: RoundSet = field(default_factory=RoundSet)
    closed: RoundSet = field(default_factory=RoundSet)
    kept_costs: dict[int, float] = field(default_factory=dict)

    def copy(self) -> "CountedRounds":
        """A copy that does not change."""
        return CountedRounds(self.left_out.copy(), self.closed.copy(), dict(self.kept_costs))


class CountLimits:
    """Decides which pulls and edits count, one event after the other.

    Within any `window` seconds at most `user_limit` pulls and, separately, `user_limit` edits of one user count, and
    at most `key_limit` of one API key; 0 is no limit. A revision is an edit too. A request that names no user, or has
    no key, is not limited by it. A log whose settings are older than the limits has none.

    An edit over a limit does not count, and no later edit of the same answer does; a cost that counted before it stays
    in force. A pull over a limit does not count until an edit of it does.
    """

    def __init__(self) -> None:
        self.rounds = CountedRounds()
        self._window = 0.0
        self._limits = (0, 0)
        self._pulls = (_RecentTimes(), _RecentTimes())
        self._edits = (_RecentTimes(), _RecentTimes())

    def fold(self, events: Iterable[LogEvent]) -> Self:
        """Apply events in order and return the limits."""
        for event in events:
            self.apply(event)
        return self

    def apply(self, event: LogEvent) -> bool:
        """Whether the next event of the log counts; those that are neither pulls nor edits always do."""
        if isinstance(event, ConfigChanged):
            self._configure(event.settings)
        elif isinstance(event, ArmPulled):
            if not self._admit(self._pulls, event):
                self.rounds.left_out.add(event.round)
                return False
        elif isinstance(event, EditRecorded):
            return self._apply_edit(event)
        return True

    def _configure(self, settings: Mapping[str, Any]) -> None:
        if not has_limits(settings):
            self._limits = (0, 0)
            return
        config = EnsembleConfig.from_json(settings)
        self._window, self._limits = config.window, (config.user_limit, config.key_limit)

    def _apply_edit(self, event: EditRecorded) -> bool:
        rounds = self.rounds
        if event.round in rounds.closed:
            return False
        if self._admit(self._edits, event):
            rounds.left_out.discard(event.round)
            return True
        rounds.closed.add(event.round)
        if event.previous_cost is None:
            rounds.left_out.add(event.round)
        else:
            rounds.kept_costs[event.round] = event.previous_cost
        return False

    def _admit(self, recent: "tuple[_RecentTimes, _RecentTimes]", event: ArmPulled | EditRecorded) -> bool:
        """Count an event of a user and a key, unless one of them has no room."""
        names = (event.user_scope, event.key)
        limited = [
            (times, name, limit)
            for times, name, limit in zip(recent, names, self._limits, strict=True)
            if limit and name is not None
        ]
        if any(times.count(name, event.at, self._window) >= limit for times, name, limit in limited):
            return False
        for times, name, _ in limited:
            times.add(name, event.at, self._window)
        return True


def has_limits(settings: Mapping[str, Any]) -> bool:
    """Whether logged settings are recent enough to have limits."""
    return "window" in settings


class _RecentTimes:
    """The times of each user's or key's counted events within the window; names without any are forgotten.

    A time further ahead than the window comes from a clock that was wrong, and does not count.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, name: str, now: float, window: float) -> int:
        times = self._times.get(name)
        if times is None:
            return 0
        while times and abs(now - times[0]) >= window:
            times.popleft()
        if not times:
            del self._times[name]
        return len(times)

    def add(self, name: str, now: float, window: float) -> None:
        self._times.setdefault(name, deque()).append(now)
        self._times.move_to_end(name)
        while abs(now - next(iter(self._times.values()))[-1]) >= window:
            self._times.popitem(last=False)


_FEWEST_EDITS = 10
_MAJORITY = 0.5


class EditShares:
    """How many of the edits that each arm has learned from are one user's."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._totals: dict[str, int] = {}
        self._leaders: dict[str, str] = {}

    def add(self, arm: str, user: str | None) -> None:
        """Count an edit of a user's scope; `None` if the request named no user."""
        self._totals[arm] = self._totals.get(arm, 0) + 1
        if user is None:
            return
        counts = self._counts.setdefault(arm, {})
        counts[user] = counts.get(user, 0) + 1
        if counts[user] > counts.get(self._leaders.get(arm, ""), 0):
            self._leaders[arm] = user

    def find_majority(self, arm: str) -> tuple[str, float] | None:
        """The scope of the user with more than half of the arm's edits, and their share; `None` below ten edits."""
        leader, total = self._leaders.get(arm), self._totals.get(arm, 0)
        if leader is None or total < _FEWEST_EDITS:
            return None
        share = self._counts[arm][leader] / total
        return (leader, share) if share > _MAJORITY else None
