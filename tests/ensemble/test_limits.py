"""Which pulls and edits count: the decisions are a fold over the log and the same wherever it is folded."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.ensemble import EnsembleConfig, Ledger, verify_log
from copydesk.ensemble.limits import CountLimits, EditShares, RoundSet, _RecentTimes
from copydesk.store.events import ArmChanged, ArmPulled, ConfigChanged, EditRecorded, LogEvent, PullWithdrawn

SETTINGS = [
    EnsembleConfig(window=20.0, user_limit=2, key_limit=0),
    EnsembleConfig(window=20.0, user_limit=0, key_limit=3),
    EnsembleConfig(window=5.0, user_limit=3, key_limit=4, rule="thompson", scope="user", prior=2.0),
    EnsembleConfig(window=60.0, user_limit=1, key_limit=5, rule="discounted-ucb", discount=0.8, expiry=30.0),
    EnsembleConfig(user_limit=0, key_limit=0),
]
steps = st.lists(
    st.tuples(
        st.sampled_from(["pull", "pull", "edit", "edit", "fail", "settings", "old settings"]),
        st.sampled_from([None, "t/ann", "t/bob", "u/ann"]),
        st.sampled_from([None, "k1", "k2"]),
        st.integers(0, 30),
        st.floats(-2.0, 12.0),  # clocks of two gateways differ
    ),
    max_size=80,
)


def grow(settings: EnsembleConfig, script) -> tuple[list[LogEvent], Ledger]:
    """A log as gateways write it: each choice is made from the ledger as it is then."""
    ledger, events, now = Ledger(), [], 0.0
    pulls: list[ArmPulled] = []
    costs: dict[int, float] = {}

    def add(event: LogEvent) -> None:
        events.append(event)
        ledger.apply(event)

    add(ConfigChanged(1, now, settings.to_json()))
    for name in "ab":
        add(ArmChanged(len(events) + 1, now, name, "add", name))
    for kind, user, key, which, passed in script:
        now, seq = now + passed, len(events) + 1
        pull = pulls[which % len(pulls)] if pulls else None
        if kind == "settings":
            add(ConfigChanged(seq, now, SETTINGS[which % len(SETTINGS)].to_json()))
        elif kind == "old settings":
            values = SETTINGS[which % len(SETTINGS)].to_json()
            add(
                ConfigChanged(
                    seq, now, {name: values[name] for name in values if "limit" not in name and name != "window"}
                )
            )
        elif kind == "pull" or pull is None:
            found = ledger.peek_pull(user, at=now)
            add(
                ArmPulled(
                    seq, now, f"c{found.id}", found.id, found.arm, found.propensity, found.scope, found.turn, (),
                    None, key,
                )
            )  # fmt: skip
            pulls.append(events[-1])
        elif kind == "edit":
            cost = which / 10
            add(
                EditRecorded(
                    seq, now, pull.completion_id, pull.round, pull.arm, pull.scope, pull.turn, pull.at, cost,
                    costs.get(pull.round), None, key,
                )
            )  # fmt: skip
            costs[pull.round] = cost
        elif ledger.ensemble.get_pending_pull(pull.round):
            add(PullWithdrawn(seq, now, pull.arm, pull.round, now + 5))
    return events, ledger


def decide_slowly(events: list[LogEvent]) -> list[bool]:
    """Whether each event counts, by the rule as it is documented, with lists of all earlier events."""
    settings = EnsembleConfig(user_limit=0, key_limit=0)
    counted: list[bool] = []
    history: dict[tuple[type, str, str], list[float]] = defaultdict(list)
    closed: set[int] = set()
    for event in events:
        decision = True
        if isinstance(event, ConfigChanged):
            settings = EnsembleConfig.from_json(event.settings)
            if "window" not in event.settings:
                settings = settings.replace(user_limit=0, key_limit=0)
        if isinstance(event, ArmPulled | EditRecorded):
            sides = [("user", event.user_scope, settings.user_limit), ("key", event.key, settings.key_limit)]
            mine = [((type(event), side, name), limit) for side, name, limit in sides if limit and name is not None]
            for kind, _ in mine:  # those that have left the window never return to it, whatever clocks say later
                while history[kind] and abs(event.at - history[kind][0]) >= settings.window:
                    history[kind].pop(0)
            decision = all(len(history[kind]) < limit for kind, limit in mine)
            if isinstance(event, EditRecorded) and event.round in closed:
                decision = False
            elif decision:
                for kind, _ in mine:
                    history[kind].append(event.at)
            elif isinstance(event, EditRecorded):
                closed.add(event.round)
        counted.append(decision)
    return counted


def state(ledger: Ledger):
    ensemble = ledger.ensemble
    scopes = {scope: ensemble.scope_states(scope) for scope in ensemble.scopes}
    majorities = [ledger.find_majority_user(arm) for arm in ledger.specs]
    return (
        ensemble.arms,
        ensemble.pending,
        scopes,
        ensemble.states("t/ann"),
        majorities,
        vars(ledger.limits.rounds.left_out),
    )


@given(st.sampled_from(SETTINGS), steps, st.integers(0, 200))
def test_every_fold_of_a_log_decides_the_same(settings, script, cut) -> None:
    events, live = grow(settings, script)
    assert state(Ledger().fold(events)) == state(live)  # a restart
    cut %= len(events)
    other = Ledger().fold(events[:cut])  # another gateway, which reads on
    assert state(other.fold(events[cut:])) == state(live)
    done = verify_log(events)
    assert done.errors == []
    assert state(done.ledger) == state(live)
    alone = CountLimits().fold(events)  # what pages and off-policy evaluation read
    assert vars(alone.rounds.closed) == vars(live.limits.rounds.closed)
    assert alone.rounds.kept_costs == live.limits.rounds.kept_costs


@given(st.sampled_from(SETTINGS), steps)
def test_the_decisions_are_those_of_the_documented_rule(settings, script) -> None:
    events, _ = grow(settings, script)
    limits = CountLimits()
    assert [limits.apply(event) for event in events] == decide_slowly(events)


@given(st.sampled_from([one for one in SETTINGS if one.rule != "discounted-ucb"]), steps)
def test_what_does_not_count_leaves_no_trace_in_the_statistics(settings, script) -> None:
    """The same as a log without limits, in which the pulls failed and the edits were never made."""
    script = [step for step in script if "settings" not in step[0]]
    events, live = grow(settings, script)
    plain: list[LogEvent] = []
    limits = CountLimits()
    for event in events:
        counted = limits.apply(event)
        if isinstance(event, ConfigChanged):
            event = replace(event, settings=settings.replace(user_limit=0, key_limit=0).to_json())
        if counted or isinstance(event, ArmPulled):
            plain.append(event)
        if not counted and isinstance(event, ArmPulled | EditRecorded):
            plain.append(PullWithdrawn(event.seq, event.at, event.arm, event.round, None))
    rebuilt = Ledger()
    for event in plain:  # an edit that does not count withdraws its pull only while it has no cost
        rebuilt.apply(event)
    assert rebuilt.ensemble.arms == live.ensemble.arms
    assert rebuilt.ensemble.pending == live.ensemble.pending
    assert rebuilt.ensemble.states("t/ann") == live.ensemble.states("t/ann")


def test_the_cost_in_force_is_the_last_that_counted() -> None:
    script = [("pull", "t/ann", None, 0, 0.0), *[("edit", None, None, 31 * i, 1.0) for i in (1, 2, 3, 4)]]
    events, ledger = grow(SETTINGS[0], script)
    costs = [event.cost for event in events if isinstance(event, EditRecorded)]
    assert ledger.ensemble.arms["a"].cost_sum == costs[1]  # two edits of a user count
    assert ledger.limits.rounds.kept_costs == {1: costs[1]}
    assert 1 in ledger.limits.rounds.closed
    assert 1 not in ledger.limits.rounds.left_out
    later = EditRecorded(99, 9e9, "c1", 1, "a", "t/ann", 1, 0.0, 0.0, costs[3])
    ledger.apply(later)  # when there is room again it is still closed
    assert ledger.ensemble.arms["a"].cost_sum == costs[1]


def test_a_log_without_limits_has_none_until_settings_state_them() -> None:
    old = {name: value for name, value in EnsembleConfig(user_limit=1).to_json().items() if name == "rule"}
    limits = CountLimits().fold([ConfigChanged(1, 0.0, old)])
    pull = ArmPulled(2, 0.0, "c", 1, "a", 1.0, "t/ann", 1, ())
    assert all(limits.apply(replace(pull, round=n)) for n in range(1, 3000))
    limits.apply(ConfigChanged(3, 0.0, EnsembleConfig(user_limit=2).to_json()))
    assert [limits.apply(replace(pull, round=n)) for n in range(3000, 3004)] == [True, True, False, False]
    ledger = Ledger().fold([ConfigChanged(1, 0.0, old)])
    assert not ledger.is_limited  # so that the next start of the gateway logs them
    assert EnsembleConfig.from_json(json.loads(json.dumps(old))).user_limit == 1000


def test_pulls_that_do_not_count_age_no_other() -> None:
    """With discounts every round makes older ones weigh less; a flood would make the ensemble forget."""
    settings = EnsembleConfig(
        rule="discounted-ucb", discount=0.9, user_limit=1, key_limit=0, window=100.0, scope="user"
    )
    _, ledger = grow(settings, [("pull", "t/bob", None, 0, 0.0), ("edit", None, None, 5, 0.0)])
    ledger.apply(ArmPulled(10, 1.0, "c2", 2, "b", 1.0, "t/ann", 1, ()))
    before = ledger.ensemble.states(), ledger.ensemble.states("t/ann"), ledger.ensemble.states("t/bob")
    for number in range(3, 500):
        ledger.apply(ArmPulled(10 + number, 1.0, f"c{number}", number, "a", 1.0, "t/ann", number - 1, ()))
    assert (ledger.ensemble.states(), ledger.ensemble.states("t/ann"), ledger.ensemble.states("t/bob")) == before
    ledger.apply(EditRecorded(9999, 1.5, "c2", 2, "b", "t/ann", 1, 1.0, 0.5, None))
    assert ledger.ensemble.states("t/ann")[1].cost_sum >= 0.5  # the cost of the newest round that counts weighs fully


def test_a_clock_that_was_wrong_once_blocks_nobody_for_long() -> None:
    limits = CountLimits().fold([ConfigChanged(1, 0.0, EnsembleConfig(user_limit=2, key_limit=0).to_json())])
    ahead = ArmPulled(2, 1e9, "c", 1, "a", 1.0, "t/ann", 1, ())
    assert [limits.apply(replace(ahead, round=n)) for n in range(1, 5)] == [True, True, False, False]
    assert [limits.apply(replace(ahead, at=5.0, round=n)) for n in range(5, 9)] == [True, True, False, False]


def test_memory_is_bounded_by_the_limits_and_the_window() -> None:
    times = _RecentTimes()
    for second in range(20_000):
        name = f"user-{second}"  # invented, one a second
        if times.count(name, float(second), 60.0) < 5:
            times.add(name, float(second), 60.0)
    assert len(times._times) <= 60
    for _ in range(20_000):
        if times.count("ann", 20_000.0, 60.0) < 5:
            times.add("ann", 20_000.0, 60.0)
    assert len(times._times["ann"]) == 5


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=60))
def test_a_round_set_is_a_set(steps) -> None:
    rounds, plain = RoundSet(), set()
    for adds, number in steps:
        (rounds.add if adds else rounds.discard)(number)
        (plain.add if adds else plain.discard)(number)
    copy = rounds.copy()
    rounds.add(7)
    assert {n for n in range(320) if n in copy} == plain


@pytest.mark.parametrize(
    ("edits", "found"),
    [
        (["ann"] * 9, None),  # too few
        (["ann"] * 6 + [None] * 4, ("ann", 0.6)),
        (["ann"] * 5 + ["bob"] * 5, None),  # no more than half
        (["bob"] * 9 + ["ann"] * 10, ("ann", 10 / 19)),
        ([None] * 20, None),
    ],
)
def test_the_user_with_most_of_the_edits_is_found(edits, found) -> None:
    shares = EditShares()
    for user in edits:
        shares.add("a", user)
    assert shares.find_majority("a") == found
    assert shares.find_majority("b") is None
