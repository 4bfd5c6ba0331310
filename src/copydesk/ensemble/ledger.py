"""The late ensemble as what the log makes of it: a fold over the store's events.

There is no other state. A running gateway folds each event as it appends it, and what others appended before that; a
restarted one folds the log again and stands exactly where it stood.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from copydesk.ensemble.late import LateEnsemble, Pull
from copydesk.ensemble.settings import EnsembleSettings
from copydesk.log.store.events import ArmChanged, Edited, Erased, Event, Followed, Forgotten, Joined, Pulled, Withdrawn
from copydesk.log.store.people import group_scope, user_scope


@dataclass
class Ledger:
    """Where the ensemble stands after the event with number `seq`.

    Attributes:
        seq: the last event folded.
        settings: what the ensemble follows; `None` before any were logged.
        specs: what each arm on offer is, by name.
        resting: until when an arm is not chosen, for arms that failed.
        known: what each arm is or was, the retired ones included.
        audiences: the scope of the user or group an arm is for, of those that are not for everyone, the retired ones
            included. One that means nobody is left where that user was forgotten.
        groups: the scope of the group that a user is in, by the user's scope.
        forgettings: how many persons were forgotten. What is kept of their rounds is not what was folded before that:
            who sees this number grow folds the log again, from its beginning.
    """

    seq: int = 0
    settings: EnsembleSettings | None = None
    specs: dict[str, str] = field(default_factory=dict)
    resting: dict[str, float] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    audiences: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    forgettings: int = 0
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

    def fold(self, events: Iterable[Event]) -> "Ledger":
        """Take in events, in their order; returns itself.

        Raises:
            ValueError: an event contradicts those before it, as can only be when the log was tampered with.
        """
        for event in events:
            self.apply(event)
        return self

    def apply(self, event: Event) -> None:
        """Take in the next event; see `fold`."""
        match event:
            case Followed():
                self._follow(EnsembleSettings.from_json(event.settings))
            case ArmChanged():
                self._change_arm(event)
            case Joined():
                self._join(event)
            case Pulled():
                self._play(event)
            case Erased():
                self.ensemble.skip(event.round, event.scope)
            case Forgotten():
                self.forgettings += 1
            case Withdrawn():
                self._withdraw(event)
            case Edited():
                self._edit(event)
        self.seq = event.seq

    def unavailable(self, now: float) -> list[str]:
        """The arms that rest at this time."""
        return [arm for arm, until in self.resting.items() if until > now and arm in self.specs]

    def deciding(self, who: str | None) -> str | None:
        """The scope whose statistics decide for a user, by the user's scope; `None` for everyone's."""
        if who is not None and self.settings is not None and self.settings.scope == "group":
            return self.groups.get(who)
        return who

    def is_for(self, arm: str, who: str | None) -> bool:
        """Whether an arm is for this user: for everyone, for them, or for the group they are in."""
        audience = self.audiences.get(arm)
        return audience is None or (who is not None and audience in (who, self.groups.get(who)))

    def for_others(self, who: str | None) -> set[str]:
        """The arms that are for some only, and not for this user."""
        return {arm for arm in self.audiences if not self.is_for(arm, who)}

    def next_pull(self, who: str | None, *, at: float, without: Collection[str] = ()) -> Pull:
        """What the ensemble chooses for a user among the arms that are for them, not counted as played.

        Args:
            who: the scope of the user who asks; `None` where the request names none.
            at: when, in seconds.
            without: arms that cannot answer now.

        Raises:
            LookupError: the log has no arm yet.
            ValueError: no arm is left.
        """
        return self.ensemble.next_pull(self.deciding(who), at=at, without={*without, *self.for_others(who)})

    def _follow(self, settings: EnsembleSettings) -> None:
        self.settings = settings
        if self._ensemble is not None:
            prior = None if settings.scope == "global" else settings.prior
            self._ensemble.follow(settings.make_rule(), settings.seed, prior, settings.expiry)

    def _change_arm(self, event: ArmChanged) -> None:
        if event.action == "retire":
            self.ensemble.retire(event.name)
            self.specs.pop(event.name, None)
            return
        if self._ensemble is None:
            self._ensemble = LateEnsemble([event.name])
            self._follow(self.settings or EnsembleSettings())
        self._ensemble.add(event.name)
        self.specs[event.name] = self.known[event.name] = event.spec or ""
        if event.audience is not None:
            self.audiences[event.name] = event.audience
        self.resting.pop(event.name, None)

    def _join(self, event: Joined) -> None:
        who = user_scope(event.tenant, event.user)
        if event.group is None:
            self.groups.pop(who, None)
        else:
            self.groups[who] = group_scope(event.tenant, event.group)

    def _play(self, event: Pulled) -> None:
        pull = Pull(event.round, event.arm, event.propensity, event.scope, event.turn, event.at)
        self.ensemble.play(pull)

    def _withdraw(self, event: Withdrawn) -> None:
        if event.rest_until is not None:
            self.resting[event.arm] = event.rest_until
        if event.round is not None and (pull := self.ensemble.pull(event.round)) is not None:
            self.ensemble.withdraw(pull)

    def _edit(self, event: Edited) -> None:
        pull = Pull(event.round, event.arm, 1.0, event.scope, event.turn, event.pulled_at)
        if event.previous_cost is not None:
            self.ensemble.revise(pull, event.previous_cost, event.cost)
            return
        if self.ensemble.pull(event.round) is None:
            self.ensemble.readmit(pull)  # it had expired
        self.ensemble.update(pull, event.cost)
