from collections.abc import Sequence

from copydesk.data.cost import EditCost
from copydesk.data.record import Context, EditRecord
from copydesk.ensemble import FixedShares, LateEnsemble, Ucb
from copydesk.policies import Sampling
from copydesk.simulate.protocol import Arm, LiveArm, Round, generate_responses, play, play_policy, simulate_edits
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import STRONG

COST = EditCost(unit="word", cap=3.0)
CONTEXTS = EMAIL.draw_online(12, 0, frozenset())


class Copies:
    """Learns online: says what the last edit said."""

    name = "copies"

    def __init__(self) -> None:
        self.seen: list[EditRecord] = []

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        return [str(self.seen[-1].edit) if self.seen else "Nothing yet."] * len(contexts)

    def learn(self, records: Sequence[EditRecord]) -> None:
        self.seen += records


class Silent:
    name = "silent"

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        return ["No."] * len(contexts)


def live(learner: Copies) -> LiveArm:
    def play_round(t: int) -> Round:
        responses = generate_responses(learner, [CONTEXTS[t - 1]], 0, Sampling(), first=t)
        return simulate_edits(
            learner.name, learner.name, EMAIL, STRONG, [CONTEXTS[t - 1]], responses, 0, COST, first=t
        )[0]

    return LiveArm(learner, play_round)


def test_a_learner_alone_learns_from_each_edit_before_the_next_round() -> None:
    learner = Copies()
    ensemble = LateEnsemble(["copies"], FixedShares())
    rounds = play(ensemble, {None: {"copies": live(learner)}}, len(CONTEXTS), "copies")
    assert [one.response for one in rounds] == ["Nothing yet.", *(one.edit for one in rounds[:-1])]
    assert [one.t for one in rounds] == list(range(1, 13))
    assert all(one.propensity == 1 and one.method == one.policy == "copies" for one in rounds)
    # The same user with the same random numbers as for every other policy.
    alike = play_policy(Silent(), "silent", EMAIL, STRONG, CONTEXTS, 0, COST, Sampling())
    assert [one.context for one in alike] == [one.context for one in rounds]
    assert [record.id for record in learner.seen] == [f"email-strong-0-online-{t}" for t in range(1, 13)]


def test_in_an_ensemble_a_learner_reads_the_edits_of_all() -> None:
    learner = Copies()
    silent = play_policy(Silent(), "silent", EMAIL, STRONG, CONTEXTS, 0, COST, Sampling())
    arms: dict[str, Arm] = {"silent": silent, "copies": live(learner)}
    ensemble = LateEnsemble(["silent", "copies"], Ucb(0.1))
    rounds = play(ensemble, {None: arms}, len(CONTEXTS))
    assert [one.policy for one in rounds[:2]] == ["silent", "copies"]
    assert rounds[0].response == silent[0].response and rounds[0].cost == silent[0].cost
    assert rounds[1].response == rounds[0].edit
    assert [record.policy for record in learner.seen] == [one.policy for one in rounds]
    assert all(one.method == "late" for one in rounds)
    assert sum(arm.n for arm in ensemble.arms.values()) == 12
