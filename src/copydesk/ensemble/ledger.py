"""The late ensemble as what the log makes of it: a fold over the store's events.

There is no other state. A running gateway folds each event as it appends it, and what others appended before that; a
restarted one folds the log again and stands exactly where it stood.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.late import LateEnsemble, Pull
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
    """Where the ensemble stands after the event with number `seq`.

    Attributes:
        seq: the last event folded.
        config: what the ensemble follows; `None` before any were logged.
        specs: what each arm on offer is, by name.
        cooldowns: until when an arm is not chosen, for arms that failed.
        known_specs: what each arm is or was, the retired ones included.
        audiences: the scope of the user or group an arm is for, of those that are not for everyone, the retired ones
            included. One that means nobody is left where that user was forgotten.
        groups: the scope of the group that a user is in, by the user's scope.
        forgotten_count: how many persons were forgotten. What is kept of their rounds is not what was folded before
            that: who sees this number grow folds the log again, from its beginning.
    """

    seq: int = 0
    config: EnsembleConfig | None = None
    specs: dict[str, str] = field(default_factory=dict)
    cooldowns: dict[str, float] = field(default_factory=dict)
    known_specs: dict[str, str] = field(default_factory=dict)
    audiences: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    forgotten_count: int = 0
    _ensemble: LateEnsemble | None = None

    @property
    def ensemble(self) -> LateEnsemble:
        """The ensemble itself.

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
        """Take in events, in their order; returns itself.

        Raises:
            ValueError: an event contradicts those before it, as can only be when the log was tampered with.
        """
        for event in events:
            self.apply(event)
        return self

    def apply(self, event: LogEvent) -> None:
        """Take in the next event; see `fold`."""
        match event:
            case ConfigChanged():
                self._apply_config(EnsembleConfig.from_json(event.settings))
            case ArmChanged():
                self._apply_arm_change(event)
            case MembershipChanged():
                self._apply_membership(event)
            case ArmPulled():
                self._apply_pull(event)
            case PullErased():
                self.ensemble.skip(event.round, event.scope)
            case UserForgotten():
                self.forgotten_count += 1
            case PullWithdrawn():
                self._apply_failure(event)
            case EditRecorded():
                self._apply_edit(event)
        self.seq = event.seq

    def arms_in_cooldown(self, now: float) -> list[str]:
        """The arms that rest at this time."""
        return [arm for arm, until in self.cooldowns.items() if until > now and arm in self.specs]

    def deciding_scope(self, requester: str | None) -> str | None:
        """The scope whose statistics decide for a user, by the user's scope; `None` for everyone's."""
        if requester is not None and self.config is not None and self.config.scope == "group":
            return self.groups.get(requester)
        return requester

    def is_offered_to(self, arm: str, requester: str | None) -> bool:
        """Whether an arm is for this user: for everyone, for them, or for the group they are in."""
        audience = self.audiences.get(arm)
        return audience is None or (requester is not None and audience in (requester, self.groups.get(requester)))

    def arms_hidden_from(self, requester: str | None) -> set[str]:
        """The arms that are for some only, and not for this user."""
        return {arm for arm in self.audiences if not self.is_offered_to(arm, requester)}

    def peek_pull(self, requester: str | None, *, at: float, excluded: Collection[str] = ()) -> Pull:
        """What the ensemble chooses for a user among the arms that are for them, not counted as played.

        Args:
            requester: the scope of the user who asks; `None` where the request names none.
            at: when, in seconds.
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
        who = user_scope(event.tenant, event.user)
        if event.group is None:
            self.groups.pop(who, None)
        else:
            self.groups[who] = group_scope(event.tenant, event.group)

    def _apply_pull(self, event: ArmPulled) -> None:
        pull = Pull(event.round, event.arm, event.propensity, event.scope, event.turn, event.at)
        self.ensemble.play(pull)

    def _apply_failure(self, event: PullWithdrawn) -> None:
        if event.cooldown_until is not None:
            self.cooldowns[event.arm] = event.cooldown_until
        if event.round is not None and (pull := self.ensemble.get_pending_pull(event.round)) is not None:
            self.ensemble.withdraw(pull)

    def _apply_edit(self, event: EditRecorded) -> None:
        pull = Pull(event.round, event.arm, 1.0, event.scope, event.turn, event.pulled_at)
        if event.previous_cost is not None:
            self.ensemble.revise(pull, event.previous_cost, event.cost)
            return
        if self.ensemble.get_pending_pull(event.round) is None:
            self.ensemble.readmit(pull)  # it had expired
        self.ensemble.update(pull, event.cost)
