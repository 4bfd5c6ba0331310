"""The ensemble's state as a fold over the events of the log.

There is no other state. A running gateway applies each event it appends, and those that other processes appended
before it; a restarted gateway folds the log and reaches exactly the same state.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.late import LateEnsemble, Pull
from copydesk.ensemble.limits import CountLimits, EditShares, has_limits
from copydesk.store.errors import DamagedDataError
from copydesk.store.events import (
    ArmChanged,
    ArmPulled,
    ConfigChanged,
    EditRecorded,
    LogEvent,
    MembershipChanged,
    PullErased,
    PullWithdrawn,
    UserForgotten,
)
from copydesk.store.users import group_scope, user_scope


@dataclass
class Ledger:
    """The ensemble's state after the event with number `seq`.

    Attributes:
        seq: number of the last event applied.
        config: the ensemble's settings; `None` before any were logged.
        specs: specs of the active arms by name.
        cooldowns: end of the cooldown of each arm that failed.
        known_specs: specs of all arms, including retired ones.
        audiences: user or group scope of each restricted arm, including retired ones; without a name if the user
            was forgotten.
        groups: group scope of each user in a group, by the user's scope.
        forgotten_count: number of forgotten users. Forgetting changes earlier events, so a reader that sees this
            number grow must fold the log again from its beginning.
        limits: decides which pulls and edits count.
        is_limited: whether the logged settings state limits; those of an older Copydesk do not.
    """

    seq: int = 0
    config: EnsembleConfig | None = None
    specs: dict[str, str] = field(default_factory=dict)
    cooldowns: dict[str, float] = field(default_factory=dict)
    known_specs: dict[str, str] = field(default_factory=dict)
    audiences: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    forgotten_count: int = 0
    limits: CountLimits = field(default_factory=CountLimits)
    is_limited: bool = False
    _ensemble: LateEnsemble | None = None
    _edit_shares: EditShares = field(default_factory=EditShares)

    @property
    def ensemble(self) -> LateEnsemble:
        """The ensemble.

        Raises:
            LookupError: the log has no arm yet.
        """
        if self._ensemble is None:
            raise LookupError("the log has no arm yet")
        return self._ensemble

    @property
    def started(self) -> bool:
        """Whether the log has an arm."""
        return self._ensemble is not None

    def fold(self, events: Iterable[LogEvent]) -> "Ledger":
        """Apply events in order and return the ledger.

        Raises:
            ValueError: an event contradicts earlier ones, which happens only if the log was tampered with.
        """
        for event in events:
            try:
                self.apply(event)
            except (ValueError, TypeError, LookupError) as exc:
                raise DamagedDataError(f"event {event.seq} of the log: {exc}") from exc
        return self

    def apply(self, event: LogEvent) -> None:
        """Apply the next event; see `fold`."""
        counted = self.limits.apply(event)
        match event:
            case ConfigChanged():
                self.is_limited = has_limits(event.settings)
                self._apply_config(EnsembleConfig.from_json(event.settings))
            case ArmChanged():
                self._apply_arm_change(event)
            case MembershipChanged():
                self._apply_membership(event)
            case ArmPulled():
                self._apply_pull(event, counted)
            case PullErased():
                self.ensemble.skip(event.round, event.scope)
            case UserForgotten():
                self.forgotten_count += 1
            case PullWithdrawn():
                self._apply_failure(event)
            case EditRecorded():
                self._apply_edit(event, counted)
        self.seq = event.seq

    def arms_in_cooldown(self, now: float) -> list[str]:
        """The arms in cooldown at this time."""
        return [arm for arm, until in self.cooldowns.items() if until > now and arm in self.specs]

    def deciding_scope(self, requester: str | None) -> str | None:
        """The scope whose statistics decide for a user's scope; `None` for everyone's."""
        if requester is not None and self.config is not None and self.config.scope == "group":
            return self.groups.get(requester)
        return requester

    def is_offered_to(self, arm: str, requester: str | None) -> bool:
        """Whether an arm is available to this user: unrestricted, or restricted to the user or their group."""
        audience = self.audiences.get(arm)
        return audience is None or (requester is not None and audience in (requester, self.groups.get(requester)))

    def arms_hidden_from(self, requester: str | None) -> set[str]:
        """The restricted arms that are not available to this user."""
        return {arm for arm in self.audiences if not self.is_offered_to(arm, requester)}

    def find_majority_user(self, arm: str) -> tuple[str, float] | None:
        """The user who made more than half of the edits that an arm has learned from, and their share.

        `None` if there is no such user, if the arm has fewer than ten edits, or if it is for this user only.
        """
        found = self._edit_shares.find_majority(arm)
        return None if found is None or found[0] == self.audiences.get(arm) else found

    def peek_pull(self, requester: str | None, *, at: float, excluded: Collection[str] = ()) -> Pull:
        """The ensemble's choice among the arms available to a user, without counting it.

        Args:
            requester: scope of the requesting user; `None` if the request names none.
            at: time in seconds.
            excluded: arms that cannot answer now.

        Raises:
            LookupError: the log has no arm yet.
            ValueError: no arm is left.
        """
        return self.ensemble.peek_pull(
            self.deciding_scope(requester), at=at, excluded={*excluded, *self.arms_hidden_from(requester)}
        )

    def _apply_config(self, settings: EnsembleConfig) -> None:
        self.config = settings
        if self._ensemble is not None:
            prior = None if settings.scope == "global" else settings.prior
            self._ensemble.reconfigure(settings.make_rule(), settings.seed, prior, settings.expiry)

    def _apply_arm_change(self, event: ArmChanged) -> None:
        if event.action == "retire":
            self.ensemble.retire(event.name)
            self.specs.pop(event.name, None)
            return
        if self._ensemble is None:
            self._ensemble = LateEnsemble([event.name])
            self._apply_config(self.config or EnsembleConfig())
        self._ensemble.add(event.name)
        self.specs[event.name] = self.known_specs[event.name] = event.spec or ""
        if event.audience is not None:
            self.audiences[event.name] = event.audience
        self.cooldowns.pop(event.name, None)

    def _apply_membership(self, event: MembershipChanged) -> None:
        user = user_scope(event.tenant, event.user)
        if event.group is None:
            self.groups.pop(user, None)
        else:
            self.groups[user] = group_scope(event.tenant, event.group)

    def _apply_pull(self, event: ArmPulled, counted: bool) -> None:
        pull = Pull(event.round, event.arm, event.propensity, event.scope, event.turn, event.at)
        self.ensemble.play(pull, counted=counted)

    def _apply_failure(self, event: PullWithdrawn) -> None:
        if event.cooldown_until is not None:
            self.cooldowns[event.arm] = event.cooldown_until
        if event.round is not None and (pull := self.ensemble.get_pending_pull(event.round)) is not None:
            self.ensemble.withdraw(pull)

    def _apply_edit(self, event: EditRecorded, counted: bool) -> None:
        pull = Pull(event.round, event.arm, 1.0, event.scope, event.turn, event.pulled_at)
        pending = self.ensemble.get_pending_pull(event.round)
        if not counted:
            if pending is not None:
                self.ensemble.withdraw(pending)
            return
        if event.previous_cost is not None:
            self.ensemble.revise(pull, event.previous_cost, event.cost)
            return
        if pending is None:
            self.ensemble.readmit(pull)  # it had expired, or was over a limit
        self.ensemble.update(pull, event.cost)
        self._edit_shares.add(event.arm, event.user_scope)
