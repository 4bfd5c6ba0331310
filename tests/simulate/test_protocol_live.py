from collections.abc import Sequence

from copydesk.data.cost import EditCost
from copydesk.data.record import Context, EditRecord
from copydesk.ensemble import FixedShares, LateEnsemble, Ucb
from copydesk.policies import Sampling
from copydesk.simulate.protocol import play_live, play_policy
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


def test_a_learner_alone_learns_from_each_edit_before_the_next_round() -> None:
    learner = Copies()
    rounds = play_live(
        LateEnsemble(["copies"], FixedShares()), {}, {"copies": learner}, "copies", EMAIL, STRONG, CONTEXTS, 0, COST,
        Sampling(),
    )  # fmt: skip
    assert [one.response for one in rounds] == ["Nothing yet.", *(one.edit for one in rounds[:-1])]
    assert [one.t for one in rounds] == list(range(1, 13))
    assert all(one.propensity == 1 and one.method == one.policy == "copies" for one in rounds)
    # The same users with the same luck as for everybody else.
    alike = play_policy(Silent(), "silent", EMAIL, STRONG, CONTEXTS, 0, COST, Sampling())
    assert [one.context for one in alike] == [one.context for one in rounds]
    assert [record.id for record in learner.seen] == [f"email-strong-0-online-{t}" for t in range(1, 13)]


def test_in_an_ensemble_a_learner_reads_the_edits_of_all() -> None:
    learner = Copies()
    alone = {"silent": play_policy(Silent(), "silent", EMAIL, STRONG, CONTEXTS, 0, COST, Sampling())}
    ensemble = LateEnsemble(["silent", "copies"], Ucb(0.1))
    rounds = play_live(ensemble, alone, {"copies": learner}, "late", EMAIL, STRONG, CONTEXTS, 0, COST, Sampling())
    assert [one.policy for one in rounds[:2]] == ["silent", "copies"]
    assert rounds[0].response == alone["silent"][0].response and rounds[0].cost == alone["silent"][0].cost
    assert rounds[1].response == rounds[0].edit
    assert [record.policy for record in learner.seen] == [one.policy for one in rounds]
    assert all(one.method == "late" for one in rounds)
    assert sum(arm.n for arm in ensemble.arms.values()) == 12
