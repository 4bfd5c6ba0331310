"""The late ensemble of arXiv 2601.19055: a bandit that chooses between policies online."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isclose, isfinite

import numpy as np

from copydesk.ensemble.arm_stats import ArmState, ScopeStats
from copydesk.ensemble.rules import ArmChooser, Ucb, get_discount
from copydesk.errors import InputError


@dataclass(frozen=True)
class Pull:
    """A choice of an arm.

    Attributes:
        id: the round, from 1.
        arm: the chosen arm.
        propensity: the probability it was chosen with.
        scope: scope whose statistics decided; `None` for everyone's.
        turn: the round within its scope.
        at: time in seconds.
    """

    id: int
    arm: str
    propensity: float
    scope: str | None = None
    turn: int = 0
    at: float = 0.0


class LateEnsemble:
    """Chooses a policy for each round and learns from the cost of the edit, also when it is delayed.

    `choose` returns a `Pull`; `update` reports its cost, at once or many rounds later and in any order. The choice in
    round t depends only on the arms' states, t and the seed, so `replay` continues exactly where a log ended.
    Not safe to share between threads without a lock.

    With a `prior` every scope (a user, a group) also has its own statistics. A scope with few pulls of an arm borrows
    from the others: at most `prior` of their pulls count for it, at their mean.

    With an `expiry` a pull without an edit after this many seconds is withdrawn at the next choice and no longer
    counts. If the edit arrives later, `readmit` makes the pull pending again.
    """

    def __init__(
        self,
        arms: Sequence[str],
        rule: ArmChooser | None = None,
        seed: int = 0,
        *,
        prior: float | None = None,
        expiry: float | None = None,
    ) -> None:
        """An ensemble of the named arms, in the order they are tried. The default `rule` is `Ucb()`.

        Raises ValueError when there are no arms or two have the same name.
        """
        if isinstance(arms, str) or not arms:
            raise ValueError("an ensemble needs a list of at least one arm")
        repeated = sorted({arm for arm in arms if list(arms).count(arm) > 1})
        if repeated:
            raise ValueError(f"arms must have different names; given more than once: {', '.join(repeated)}")
        self.rule: ArmChooser = Ucb() if rule is None else rule
        self.seed = seed
        self.prior = prior
        self.expiry = expiry
        self._offered = dict.fromkeys(arms, True)
        self._global_stats = ScopeStats(get_discount(self.rule))
        self._scope_stats: dict[str, ScopeStats] = {}
        self._pending: dict[int, Pull] = {}

    @property
    def arms(self) -> dict[str, ArmState]:
        """Everyone's statistics of the active arms, by name and in order (a copy)."""
        return {arm: self._global_stats.unweighted_state(arm) for arm, offered in self._offered.items() if offered}

    @property
    def retired(self) -> dict[str, ArmState]:
        """Everyone's statistics of the retired arms (a copy)."""
        return {arm: self._global_stats.unweighted_state(arm) for arm, offered in self._offered.items() if not offered}

    @property
    def rounds(self) -> int:
        """The number of pulls, including pending ones."""
        return self._global_stats.turns

    @property
    def pending(self) -> dict[int, str]:
        """The pending pulls: id to arm (a copy)."""
        return {pull.id: pull.arm for pull in self._pending.values()}

    def get_pending_pull(self, id: int) -> Pull | None:
        """The pull of a round if it is pending."""
        return self._pending.get(id)

    @property
    def scopes(self) -> list[str]:
        """All scopes with a pull."""
        return list(self._scope_stats)

    def scope_states(self, scope: str) -> dict[str, ArmState]:
        """The statistics of the active arms within one scope."""
        tally = self._stats_for_scope(scope)
        return {arm: tally.unweighted_state(arm) for arm in self.arms}

    def add(self, arm: str) -> None:
        """Add an arm from the next choice on; a retired arm returns with its statistics."""
        self._offered[arm] = True

    def retire(self, arm: str) -> None:
        """Stop choosing an arm. Its pulls can still be updated.

        Raises ValueError when there is no such arm.
        """
        if arm not in self._offered:
            raise ValueError(f"there is no arm {arm!r}")
        self._offered[arm] = False

    def reconfigure(self, rule: ArmChooser, seed: int, prior: float | None, expiry: float | None) -> None:
        """Change the settings. With another discount, earlier pulls start again with equal weights."""
        if get_discount(rule) != get_discount(self.rule):
            for tally in (self._global_stats, *self._scope_stats.values()):
                tally.set_discount(get_discount(rule))
        self.rule, self.seed, self.prior, self.expiry = rule, seed, prior, expiry

    def states(self, scope: str | None = None, excluded: Collection[str] = ()) -> list[ArmState]:
        """The states the rule sees: available arms, discounted by age, with the pulls a scope borrows."""
        names = [arm for arm, offered in self._offered.items() if offered and arm not in excluded]
        everyone = [self._global_stats.weighted_state(arm) for arm in names]
        if self.prior is None or scope is None:
            return everyone
        tally = self._stats_for_scope(scope)
        own = [tally.weighted_state(arm) for arm in names]
        return [_borrow_from_others(mine, all_, self.prior) for mine, all_ in zip(own, everyone, strict=True)]

    def choose(self, scope: str | None = None, *, at: float = 0.0, excluded: Collection[str] = ()) -> Pull:
        """Choose the arm of the next round t (= pulls so far + 1) and count it as played.

        Args:
            scope: scope of the request.
            at: time in seconds on any clock, for the expiry.
            excluded: arms that cannot answer now.

        Raises ValueError when no arm is left, or the rule does not return a distribution over the arms.
        """
        pull = self.peek_pull(scope, at=at, excluded=excluded)
        self.play(pull)
        return pull

    def peek_pull(self, scope: str | None = None, *, at: float = 0.0, excluded: Collection[str] = ()) -> Pull:
        """The pull `choose` would make, without counting it."""
        self._expire(at)
        states = self.states(scope, excluded)
        if not states:
            raise ValueError("there is no arm to choose from")
        # Each round has its own generator: a choice can be repeated without replaying the others.
        rng = np.random.default_rng([self.seed, self.rounds + 1])
        # Counted pulls plus this one: the round's number if no pull was withdrawn or discounted.
        t = 1 + sum(state.pulls for state in states)
        probabilities = [float(p) for p in self.rule(states, t, rng)]
        if len(probabilities) != len(states) or min(probabilities) < 0 or not isclose(sum(probabilities), 1.0):
            raise ValueError(f"the rule gave {probabilities}, no distribution over {len(states)} arms")
        certain = max(probabilities) == 1
        index = probabilities.index(1) if certain else int(rng.choice(len(probabilities), p=probabilities))
        turn = 0 if scope is None else 1 + self._stats_for_scope(scope).turns
        return Pull(self.rounds + 1, states[index].name, probabilities[index], scope, turn, at)

    def play(self, pull: Pull, *, counted: bool = True) -> None:
        """Count a pull chosen earlier, as when replaying a log; it must be that of the next round.

        Unless it is `counted`, it only takes up the round: it is not pending, and with discounts ages no other pull.

        Raises ValueError when it is not the next round's.
        """
        self._expire(pull.at)
        if pull.id != self.rounds + 1:
            raise ValueError(f"pull {pull.id} does not belong to round {self.rounds + 1}")
        self._offered.setdefault(pull.arm, False)
        tallies = [self._global_stats]
        if pull.scope is not None:
            tallies.append(self._scope_stats.setdefault(pull.scope, ScopeStats(get_discount(self.rule))))
        if not counted:
            for tally in tallies:
                tally.skip(ages=False)
            return
        for tally in tallies:
            tally.play(pull.arm)
        self._pending[pull.id] = pull

    def skip(self, round: int, scope: str | None = None) -> None:
        """Skip the next round, as one whose user was forgotten.

        Raises ValueError when `round` is not the next.
        """
        if round != self.rounds + 1:
            raise ValueError(f"round {round} is not the next one, {self.rounds + 1}")
        self._global_stats.skip()
        if scope is not None:
            self._scope_stats.setdefault(scope, ScopeStats(get_discount(self.rule))).skip()

    def update(self, pull: Pull, cost: float) -> None:
        """Report the edit cost of a pull.

        Raises ValueError when the pull was not made by this ensemble, already has a cost, or when the cost is not a
        finite number of at least 0. A refused update changes nothing.
        """
        self._check_pending(pull)
        _check_cost(pull, cost)
        del self._pending[pull.id]
        for tally, turn in self._stats_for_pull(pull):
            tally.observe(pull.arm, turn, float(cost))

    def revise(self, pull: Pull, old: float, new: float) -> None:
        """Replace the cost `old` of a pull by `new`, after a revision of its edit.

        Raises ValueError when the pull is pending, or a cost is not a finite number of at least 0.
        """
        if pull.id in self._pending or not 1 <= pull.id <= self.rounds:
            raise ValueError(f"pull {pull.id} has no cost yet")
        _check_cost(pull, old)
        _check_cost(pull, new)
        for tally, turn in self._stats_for_pull(pull):
            tally.revise(pull.arm, turn, float(old), float(new))

    def withdraw(self, pull: Pull) -> None:
        """Remove a pending pull, as when its request failed. It gets no cost, and in particular not 0.

        Raises ValueError when the pull is not pending.
        """
        self._check_pending(pull)
        del self._pending[pull.id]
        for tally, turn in self._stats_for_pull(pull):
            tally.withdraw(pull.arm, turn)

    def readmit(self, pull: Pull) -> None:
        """Make an expired pull pending again when its edit arrives late.

        Raises ValueError when it is pending already, or was never made.
        """
        if pull.id in self._pending or not 1 <= pull.id <= self.rounds:
            raise ValueError(f"pull {pull.id} has not expired")
        self._pending[pull.id] = pull
        for tally, turn in self._stats_for_pull(pull):
            tally.readmit(pull.arm, turn)

    @classmethod
    def replay(
        cls,
        arms: Sequence[str],
        history: Iterable[tuple[str, float | None]],
        rule: ArmChooser | None = None,
        seed: int = 0,
    ) -> "LateEnsemble":
        """Rebuild an ensemble from a log: (arm, cost) of each round in order, cost None while pending.

        Round i of the history is the pull with id i (from 1), so later edits can refer to it.
        Raises InputError when the log names an unknown arm or a cost is not a finite number of at least 0.
        """
        ensemble = cls(arms, rule, seed)
        for t, (arm, cost) in enumerate(history, start=1):
            if arm not in ensemble._offered:
                raise InputError(f"round {t} of the history: unknown arm {arm!r}; the arms are {', '.join(arms)}")
            pull = Pull(t, arm, 1.0)
            ensemble.play(pull)
            if cost is None:
                continue
            if not (isfinite(cost) and cost >= 0):
                raise InputError(f"round {t} of the history: cost {cost} must be a finite number of at least 0")
            ensemble.update(pull, cost)
        return ensemble

    def _expire(self, now: float) -> None:
        if self.expiry is None:
            return
        # Oldest first; a clock that was set back only delays the expiry.
        while self._pending and (oldest := next(iter(self._pending.values()))).at < now - self.expiry:
            self.withdraw(oldest)

    def _check_pending(self, pull: Pull) -> None:
        found = self._pending.get(pull.id)
        if found is None and 1 <= pull.id <= self.rounds:
            raise ValueError(f"pull {pull.id} already has a cost; each pull is updated once")
        if found is None or found.arm != pull.arm:
            raise ValueError(f"pull {pull.id} of arm {pull.arm!r} was not made by this ensemble")

    def _stats_for_scope(self, scope: str) -> ScopeStats:
        return self._scope_stats.get(scope) or ScopeStats(get_discount(self.rule))

    def _stats_for_pull(self, pull: Pull) -> list[tuple[ScopeStats, int]]:
        """The statistics that count a pull, with its turn in each."""
        found = [(self._global_stats, pull.id)]
        if pull.scope is not None:
            found.append((self._scope_stats[pull.scope], pull.turn))
        return found


def _borrow_from_others(own: ArmState, everyone: ArmState, prior: float) -> ArmState:
    """A scope's state plus at most `prior` pulls of the others, at their mean."""
    others = everyone.plus(n=-own.n, cost_sum=-own.cost_sum, cost_sq_sum=-own.cost_sq_sum)
    if others.n <= 0:
        return own
    borrowed = min(prior, others.n) / others.n
    return own.plus(n=others.n, cost_sum=others.cost_sum, cost_sq_sum=others.cost_sq_sum, weight=borrowed)


def _check_cost(pull: Pull, cost: float) -> None:
    if not (isfinite(cost) and cost >= 0):
        raise ValueError(f"the cost of pull {pull.id} must be a finite number of at least 0, not {cost}")
