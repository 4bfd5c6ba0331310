"""Rounds in which policies learn from every edit, so that each round depends on all before it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.ensemble import LateEnsemble
from copydesk.policies import Sampling
from copydesk.policies.prompted import Learner
from copydesk.simulate.protocol import Round, generate_responses, simulate_edits
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.users import User


def play_live(
    ensemble: LateEnsemble,
    alone: Mapping[str, Sequence[Round]],
    learners: Mapping[str, Learner],
    method: str,
    task: Task,
    user: User,
    contexts: Sequence[Document],
    seed: int,
    cost: EditCost,
    sampling: Sampling,
) -> list[Round]:
    """The online phase of an ensemble (or of one policy, as its only arm) some of whose arms learn while they play.

    Every learner is told of every round's edit, whoever answered: they live on one log. An arm that does not learn
    plays what it played alone, as in `play_late`.

    Args:
        ensemble: chooses who answers.
        alone: the rounds of the arms that do not learn.
        learners: the other arms.
        method: the row of the table that it counts for.
        task: where the contexts come from.
        user: edits.
        contexts: x_1 .. x_T.
        seed: of the run.
        cost: Δ_edit.
        sampling: how learners draw responses.
    """
    rounds: list[Round] = []
    for t, document in enumerate(contexts, start=1):
        pull = ensemble.choose()
        if pull.arm in learners:
            responses = generate_responses(learners[pull.arm], [document], seed, sampling, first=t)
            played = simulate_edits(pull.arm, method, task, user, [document], responses, seed, cost, first=t)[0]
        else:
            played = alone[pull.arm][t - 1]
        ensemble.update(pull, played.cost)
        rounds.append(replace(played, method=method, propensity=pull.propensity))
        record = EditRecord(
            id=f"{task.name}-{user.name}-{seed}-online-{t}",
            user=user.name,
            policy=pull.arm,
            context=played.context,
            response=played.response,
            edit=played.edit,
        )
        for learner in learners.values():
            learner.learn([record])
    return rounds
