"""The late ensemble as what the log makes of it: a fold over the store's events.

There is no other state. A running gateway folds each event as it appends it, and what others appended before that; a
restarted one folds the log again and stands exactly where it stood.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from copydesk.ensemble.late import LateEnsemble, Pull
from copydesk.ensemble.settings import EnsembleSettings
from copydesk.log.store.events import ArmChanged, Edited, Event, Followed, Pulled, Withdrawn


@dataclass
class Ledger:
    """Where the ensemble stands after the event with number `seq`.

    Attributes:
        seq: the last event folded.
        settings: what the ensemble follows; `None` before any were logged.
        specs: what each arm on offer is, by name.
        resting: until when an arm is not chosen, for arms that failed.
        known: what each arm is or was, the retired ones included.
    """

    seq: int = 0
    settings: EnsembleSettings | None = None
    specs: dict[str, str] = field(default_factory=dict)
    resting: dict[str, float] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
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
            case Pulled():
                self._play(event)
            case Withdrawn():
                self._withdraw(event)
            case Edited():
                self._edit(event)
        self.seq = event.seq

    def unavailable(self, now: float) -> list[str]:
        """The arms that rest at this time."""
        return [arm for arm, until in self.resting.items() if until > now and arm in self.specs]

    def _follow(self, settings: EnsembleSettings) -> None:
        self.settings = settings
        if self._ensemble is not None:
            prior = settings.prior if settings.scope == "user" else None
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
        self.resting.pop(event.name, None)

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
