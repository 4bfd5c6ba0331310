"""The ensemble as a fold over events, and what `verify` finds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.ensemble import EnsembleConfig, Ledger, verify_log
from copydesk.errors import InputError
from copydesk.store.events import (
    ArmChanged,
    ArmPulled,
    ConfigChanged,
    EditRecorded,
    LogEvent,
    MembershipChanged,
    PullWithdrawn,
)

SETTINGS = [
    EnsembleConfig(),
    EnsembleConfig(rule="thompson", scope="user", prior=3.0, seed=4),
    EnsembleConfig(rule="discounted-ucb", discount=0.9, scope="user"),
    EnsembleConfig(rule="fixed", shares={"a": 1, "b": 2}, seed=9),
    EnsembleConfig(scope="group", prior=2.0),
    EnsembleConfig(rule="thompson", scope="group", seed=2),
]


class Life:
    """Grows a log the way a gateway does: each event is made from the ledger as it then stands."""

    def __init__(self, settings: EnsembleConfig, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ledger = Ledger()
        self.events: list[LogEvent] = []
        self.pulls: list[ArmPulled] = []
        self.costs: dict[str, float] = {}
        self.now = 0.0
        self.add(ConfigChanged(self.seq, self.now, settings.to_json()))
        for name in "abc":
            self.add(ArmChanged(self.seq, self.now, name, "add", f"spec-{name}"))
        self.add(ArmChanged(self.seq, self.now, "u-own", "add", "spec-u", "default/u"))
        self.add(ArmChanged(self.seq, self.now, "g-own", "add", "spec-g", "@default/g"))

    @property
    def seq(self) -> int:
        return len(self.events) + 1

    def add(self, event: LogEvent) -> None:
        self.ledger.apply(event)
        self.events.append(event)

    def pull(self) -> None:
        who = f"default/{'uvw'[self.rng.integers(3)]}" if self.rng.random() < 0.8 else None
        without = tuple(sorted(self.rng.choice(list("abc"), self.rng.integers(0, 2), replace=False)))
        without = tuple(str(name) for name in without if name in self.ledger.specs)
        if len(without) == len(self.ledger.specs):
            without = ()
        found = self.ledger.peek_pull(who, at=self.now, excluded=without)
        asker = None if found.scope == who else who
        event = ArmPulled(
            self.seq, self.now, f"c{found.id}", found.id, found.arm, found.propensity, found.scope, found.turn, without,
            asker,
        )  # fmt: skip
        self.add(event)
        self.pulls.append(event)

    def edit(self) -> None:
        pull = self.pulls[self.rng.integers(len(self.pulls))]
        cost, name = float(self.rng.random()), pull.completion_id
        self.add(
            EditRecorded(
                self.seq,
                self.now,
                name,
                pull.round,
                pull.arm,
                pull.scope,
                pull.turn,
                pull.at,
                cost,
                self.costs.get(name),
            )
        )
        self.costs[name] = cost

    def fail(self) -> None:
        waiting = [pull for pull in self.pulls if self.ledger.ensemble.get_pending_pull(pull.round)]
        if waiting:
            pull = waiting[self.rng.integers(len(waiting))]
            self.pulls.remove(pull)
            self.add(PullWithdrawn(self.seq, self.now, pull.arm, pull.round, self.now + 5))

    def change(self) -> None:
        if "c" in self.ledger.specs:
            self.add(ArmChanged(self.seq, self.now, "c", "retire", None))
        else:
            self.add(ArmChanged(self.seq, self.now, "c", "add", "spec-c"))

    def join(self) -> None:
        group = ("g", "h", None)[self.rng.integers(3)]
        self.add(MembershipChanged(self.seq, self.now, "default", "uvw"[self.rng.integers(3)], group))

    def live(self, steps: int) -> "Life":
        for _ in range(steps):
            self.now += float(self.rng.exponential(10_000))
            chance = self.rng.random()
            if chance < 0.5 or not self.pulls:
                self.pull()
            elif chance < 0.85:
                self.edit()
            elif chance < 0.91:
                self.fail()
            elif chance < 0.96:
                self.join()
            else:
                self.change()
        return self


def state(ledger: Ledger):
    ensemble = ledger.ensemble
    scopes = {scope: ensemble.scope_states(scope) for scope in ensemble.scopes}
    people = ledger.audiences, ledger.groups
    return ensemble.arms, ensemble.retired, ensemble.pending, scopes, ledger.specs, ledger.cooldowns, people


@given(st.sampled_from(SETTINGS), st.integers(0, 10_000), st.integers(0, 120))
def test_a_rebuilt_ledger_equals_the_live_one_to_the_last_bit(settings, seed, steps) -> None:
    life = Life(settings, seed).live(steps)
    cut = seed % len(life.events)
    rebuilt = Ledger().fold(life.events[:cut]).fold(life.events[cut:])
    assert state(rebuilt) == state(life.ledger)
    assert rebuilt.peek_pull("default/u", at=life.now) == life.ledger.peek_pull("default/u", at=life.now)


@given(st.sampled_from(SETTINGS), st.integers(0, 10_000))
def test_every_choice_of_a_log_can_be_repeated(settings, seed) -> None:
    life = Life(settings, seed).live(80)
    done = verify_log(life.events)
    assert done.errors == []
    assert done.events == len(life.events)
    assert done.choices == sum(isinstance(event, ArmPulled) for event in life.events)
    assert state(done.ledger) == state(life.ledger)


def tampered(how) -> list[str]:
    life = Life(SETTINGS[3], 1).live(120)
    events = list(life.events)
    for place, event in enumerate(events):
        if (changed := how(event)) is not None:
            events[place] = changed
            return verify_log(events).errors
    raise AssertionError("nothing to tamper with")


def test_a_tampered_log_is_found_out() -> None:
    arm = tampered(lambda e: replace(e, arm="b" if e.arm == "a" else "a") if isinstance(e, ArmPulled) else None)
    assert "was logged, the log says" in arm[0]
    odds = tampered(lambda e: replace(e, propensity=e.propensity / 2) if isinstance(e, ArmPulled) else None)
    assert "was logged, the log says" in odds[0]
    cost = tampered(
        lambda e: (
            replace(e, previous_cost=e.previous_cost + 1)
            if isinstance(e, EditRecorded) and e.previous_cost is not None
            else None
        )
    )
    assert "does not follow the revision" in cost[0]
    gone = tampered(lambda e: replace(e, round=e.round + 1) if isinstance(e, ArmPulled) and e.round == 3 else None)
    assert any("round 4" in error or "round 3" in error for error in gone)


def test_a_changed_cost_changes_later_choices() -> None:
    """The sums are checked through the choices that depend on them."""
    life = Life(EnsembleConfig(alpha=0.0), 5).live(150)
    events = [replace(e, cost=e.cost + 3) if isinstance(e, EditRecorded) and e.arm == "a" else e for e in life.events]
    assert verify_log(events).errors


def test_a_retrained_policy_is_a_new_name_and_has_no_cooldown() -> None:
    ledger = Ledger()
    assert not ledger.started
    with pytest.raises(LookupError):
        _ = ledger.ensemble
    ledger.fold([ArmChanged(1, 0.0, "a", "add", "x"), ArmChanged(2, 0.0, "b", "add", "y")])
    ledger.apply(PullWithdrawn(3, 1.0, "a", None, 60.0))
    assert ledger.arms_in_cooldown(59.0) == ["a"]
    assert ledger.arms_in_cooldown(60.0) == []
    ledger.apply(ArmChanged(4, 2.0, "a", "retire", None))
    assert ledger.specs == {"b": "y"}
    assert ledger.known_specs == {"a": "x", "b": "y"}
    assert ledger.arms_in_cooldown(3.0) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "ucb2"},
        {"scope": "team"},
        {"alpha": -1.0},
        {"rule": "discounted-ucb", "discount": 2.0},
        {"prior": -1.0},
        {"expiry": 0.0},
        {"seed": -1},
        {"rule": "fixed", "shares": {"a": -1.0}},
    ],
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(InputError):
        EnsembleConfig(**wrong)


def test_settings_survive_the_log() -> None:
    for settings in SETTINGS:
        assert EnsembleConfig.from_json({**settings.to_json(), "of_a_newer_version": 1}) == settings


@given(st.sampled_from(SETTINGS), st.integers(0, 10_000))
def test_an_arm_for_some_is_never_chosen_for_others(settings, seed) -> None:
    group: str | None = None
    for event in Life(settings, seed).live(120).events:
        if isinstance(event, MembershipChanged) and event.user == "u":
            group = event.group
        if isinstance(event, ArmPulled) and event.user_scope == "default/u" and event.arm == "g-own":
            assert group == "g"
        if isinstance(event, ArmPulled) and event.arm == "u-own":
            assert event.user_scope == "default/u"


def test_whose_statistics_decide() -> None:
    ledger = Ledger().fold([ArmChanged(1, 0.0, "a", "add", "x"), MembershipChanged(2, 0.0, "t", "ann", "sales")])
    for scope, deciding in [("global", "t/ann"), ("user", "t/ann"), ("group", "@t/sales")]:
        ledger.apply(ConfigChanged(3, 0.0, EnsembleConfig(scope=scope).to_json()))
        assert ledger.peek_pull("t/ann", at=0.0).scope == deciding
        assert ledger.peek_pull(None, at=0.0).scope is None
    assert ledger.peek_pull("t/bob", at=0.0).scope is None  # in no group: everyone's
    assert ledger.peek_pull("other/ann", at=0.0).scope is None
    assert ledger.ensemble.prior == 10.0
    ledger.apply(MembershipChanged(4, 0.0, "t", "ann", None))
    assert ledger.deciding_scope("t/ann") is None


def test_an_arm_of_a_person_who_was_forgotten_is_for_nobody() -> None:
    ledger = Ledger().fold([ArmChanged(1, 0.0, "a", "add", "x"), ArmChanged(2, 0.0, "b", "add", "y", "")])
    assert not any(ledger.is_offered_to("b", who) for who in (None, "t/ann", "t/"))
    assert ledger.arms_hidden_from(None) == {"b"}


def test_a_choice_by_another_scope_or_for_somebody_else_is_found_out() -> None:
    life = Life(EnsembleConfig(scope="group"), 3).live(200)

    def errors_of(how) -> list[str]:
        events = [how(event) if isinstance(event, ArmPulled) else event for event in life.events]
        return verify_log(events).errors

    assert errors_of(lambda event: event) == []
    grouped = next(e for e in life.events if isinstance(e, ArmPulled) and e.scope is not None)
    assert any("decided" in one for one in errors_of(lambda e: replace(e, scope=None) if e.seq == grouped.seq else e))
    own = next(e for e in life.events if isinstance(e, ArmPulled) and e.arm == "u-own")
    moved = errors_of(lambda e: replace(e, scope=None, requester_scope="default/w", turn=0) if e.seq == own.seq else e)
    assert "u-own (1) was logged" in moved[0]
