from dataclasses import replace

import pytest

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.simulate.protocol import Round, play

ROUNDS = 60
ROUND = Round(0, 1, "email", "ann", "own", "own-ann", 1.0, "note", "x", "y", "z", 0.5, 1)


def rounds_of(person: str, role: str, cost: float, count: int) -> list[Round]:
    policy = "shared" if role == "shared" else f"own-{person}"
    return [replace(ROUND, t=t, user=person, method=role, policy=policy, cost=cost) for t in range(1, count + 1)]


def world(costs: dict[str, tuple[float, float]], count: int = ROUNDS) -> dict[str, dict[str, list[Round]]]:
    return {
        person: {"shared": rounds_of(person, "shared", shared, count), "own": rounds_of(person, "own", own, count)}
        for person, (shared, own) in costs.items()
    }


def ensemble(prior: float | None = 10.0) -> LateEnsemble:
    return LateEnsemble(["shared", "own"], Ucb(0.3), prior=prior)


def test_everybody_has_a_turn_in_every_round_and_pays_for_the_arm_pulled() -> None:
    alone = world({"ann": (0.1, 0.9), "ben": (0.9, 0.1)})
    played = play(ensemble(), alone, 5)
    assert [(one.t, one.user) for one in played] == [(t, who) for t in range(1, 6) for who in ("ann", "ben")]
    for one in played:
        role = "shared" if one.policy == "shared" else "own"
        assert one == replace(alone[one.user][role][one.t - 1], method="late", propensity=one.propensity)


def test_each_person_ends_with_the_policy_that_is_better_for_them() -> None:
    played = play(ensemble(), world({"ann": (0.1, 0.9), "ben": (0.9, 0.1)}), ROUNDS)
    last = {one.user: one.policy for one in played}
    assert last == {"ann": "shared", "ben": "own-ben"}


def test_who_comes_later_begins_with_what_the_others_found() -> None:
    alone = world({"ann": (0.9, 0.1), "ben": (0.9, 0.1), "cleo": (0.9, 0.1)})
    tried = {
        prior: sum(one.policy == "shared" for one in play(ensemble(prior), alone, ROUNDS) if one.user == "cleo")
        for prior in (0.0, 10.0)
    }
    assert tried[10.0] < tried[0.0]


def test_what_the_other_policy_would_have_cost_is_not_told() -> None:
    alone = world({"ann": (0.4, 0.6), "ben": (0.6, 0.4)})
    played = play(ensemble(), alone, ROUNDS)
    pulled = {(one.user, one.policy, one.t) for one in played}
    spoilt = {
        who: {
            role: [one if (who, one.policy, one.t) in pulled else replace(one, cost=9.0) for one in own]
            for role, own in arms.items()
        }
        for who, arms in alone.items()
    }
    assert play(ensemble(), spoilt, ROUNDS) == played


def test_the_total_is_that_of_the_rounds_pulled() -> None:
    played = play(ensemble(), world({"ann": (0.2, 0.2)}), 7)
    assert sum(one.cost for one in played) == pytest.approx(1.4)
