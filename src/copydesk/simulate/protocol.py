"""Protocol 1 of the paper: the offline log, and online rounds whose cost is what the user edits.

Policies that do not change answer all rounds at once (`play_policy`), and a late ensemble of them is put together from
these rounds (`play_late`, and `play_per_user_ensemble` with a scope for each person). Policies that learn from every
edit are played round by round (`play_live`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.ensemble import LateEnsemble
from copydesk.policies import Policy, Sampling
from copydesk.policies.prompted import Learner
from copydesk.simulate.seeds import SeedStream, make_seed_key
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.scripted import ScriptedTask, ideal_response, score_response
from copydesk.simulate.users import ChangingUser, ScriptedUser, User


@dataclass(frozen=True)
class Round:
    """One x, y, y', c of the online phase; a line of rounds.jsonl.

    `method` is the row of the table it counts for, `policy` what answered and `propensity` the probability with which
    it was chosen. `cost` is Δ_edit(y, y'), and `length` that of y in the cost's units. Where task and user are
    scripts, more is known: `distance`, the cost of turning y into the text wholly to the user's taste; `malformed`,
    `facts` and `taste` as in `ResponseScore`. Elsewhere these are `None` and left out of the file.
    """

    seed: int
    t: int
    task: str
    user: str
    method: str
    policy: str
    propensity: float
    kind: str
    context: str
    response: str
    edit: str
    cost: float
    length: int
    distance: float | None = None
    malformed: bool | None = None
    facts: float | None = None
    taste: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The round as a JSON object."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def simulate_log(policy: Policy, task: Task, user: User, count: int, seed: int, sampling: Sampling) -> list[EditRecord]:
    """The offline phase: `count` fresh documents, answered by π_ref and edited by the user."""
    contexts = task.draw_offline(count, seed)
    responses = generate_responses(policy, contexts, seed, sampling, SeedStream.LOG_RESPONSES)
    return build_log(policy.name, task, user, contexts, responses, seed)


def build_log(
    policy: str, task: Task, user: User, contexts: Sequence[Document], responses: Sequence[str], seed: int
) -> list[EditRecord]:
    """The log of a user who edited these responses."""
    edits = user.edit(task, contexts, responses, _round_seeds(len(contexts), seed, SeedStream.LOG_EDITS))
    return [
        EditRecord(
            id=f"{task.name}-{user.name}-{seed}-{t}",
            user=user.name,
            policy=policy,
            context=document.context,
            response=response,
            edit=edit,
            metadata={"kind": document.kind},
        )
        for t, (document, response, edit) in enumerate(zip(contexts, responses, edits, strict=True), start=1)
    ]


def generate_responses(
    policy: Policy,
    contexts: Sequence[Document],
    seed: int,
    sampling: Sampling,
    stream: SeedStream = SeedStream.ONLINE_RESPONSES,
    first: int = 1,
) -> list[str]:
    """A policy's response to each document, seeded by the round alone; `first` is the number of the first round."""
    return policy.respond(
        [document.context for document in contexts], _round_seeds(len(contexts), seed, stream, first), sampling
    )


def _round_seeds(count: int, seed: int, stream: SeedStream, first: int = 1) -> list[tuple[int, int, int]]:
    return [make_seed_key(seed, stream, t) for t in range(first, first + count)]


def draw_online_documents(task: Task, count: int, seed: int, log: Iterable[EditRecord]) -> list[Document]:
    """The contexts x_1 .. x_T of the online phase; none of them is in the log."""
    return task.draw_online(count, seed, frozenset(str(record.context) for record in log))


def play_policy(
    policy: Policy,
    method: str,
    task: Task,
    user: User,
    contexts: Sequence[Document],
    seed: int,
    cost: EditCost,
    sampling: Sampling,
) -> list[Round]:
    """The online phase of one policy, which answers every round."""
    responses = generate_responses(policy, contexts, seed, sampling)
    return simulate_edits(policy.name, method, task, user, contexts, responses, seed, cost)


def simulate_edits(
    policy: str,
    method: str,
    task: Task,
    user: User,
    contexts: Sequence[Document],
    responses: Sequence[str],
    seed: int,
    cost: EditCost,
    first: int = 1,
) -> list[Round]:
    """The rounds in which a user edits these responses, of which the first is round number `first`."""
    edits = user.edit(task, contexts, responses, _round_seeds(len(contexts), seed, SeedStream.ONLINE_EDITS, first))
    costs = cost.cost_batch(list(zip(responses, edits, strict=True)))
    measures = _measure_responses(task, user, contexts, responses, cost, first)
    return [
        Round(
            seed=seed,
            t=t,
            task=task.name,
            user=user.name,
            method=method,
            policy=policy,
            propensity=1.0,
            kind=document.kind,
            context=document.context,
            response=response,
            edit=edit,
            cost=paid,
            length=len(cost.split_units(response)),
            **known,
        )
        for t, (document, response, edit, paid, known) in enumerate(
            zip(contexts, responses, edits, costs, measures, strict=True), start=first
        )
    ]


def _measure_responses(
    task: Task, user: User, contexts: Sequence[Document], responses: Sequence[str], cost: EditCost, first: int
) -> list[dict[str, Any]]:
    """The measures of each response beside its cost, where task and user are scripts."""
    if not (isinstance(task, ScriptedTask) and isinstance(user, ScriptedUser | ChangingUser)):
        return [{} for _ in contexts]
    styles = [user.target_style(task, document, t) for t, document in enumerate(contexts, start=first)]
    if None in styles:
        return [{} for _ in contexts]
    ideals = [ideal_response(task, document, taste) for document, taste in zip(contexts, styles, strict=True)]
    distances = cost.cost_batch(list(zip(responses, ideals, strict=True)))
    readings = [
        score_response(task, document, response, taste)
        for document, response, taste in zip(contexts, responses, styles, strict=True)
    ]
    return [
        {"distance": distance, "malformed": one.malformed, "facts": one.facts, "taste": one.to_taste}
        for distance, one in zip(distances, readings, strict=True)
    ]


def play_late(ensemble: LateEnsemble, alone: Mapping[str, Sequence[Round]], method: str = "late") -> list[Round]:
    """The online phase of a late ensemble, whose arms have played every round alone.

    Policies do not change while they are played and the next context does not depend on the last answer. So what an
    arm would have written in round t, and its edit, is what it wrote there when it played alone. The ensemble learns
    the cost of the arm it pulled and of no other.
    """
    rounds = []
    for t in range(len(next(iter(alone.values())))):
        pull = ensemble.choose()
        played = alone[pull.arm][t]
        ensemble.update(pull, played.cost)
        rounds.append(replace(played, method=method, propensity=pull.propensity))
    return rounds


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

    Every learner learns from every round's edit, whichever arm answered: they share one log. An arm that does not learn
    plays what it played alone, as in `play_late`.

    Args:
        ensemble: the ensemble, which chooses the arm that answers.
        alone: the rounds of the arms that do not learn.
        learners: the other arms.
        method: the row of the table that it counts for.
        task: the source of the contexts.
        user: the one who edits.
        contexts: x_1 .. x_T.
        seed: the seed of the run.
        cost: Δ_edit.
        sampling: how learners' responses are drawn.
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


def play_per_user_ensemble(
    ensemble: LateEnsemble, alone: Mapping[str, Mapping[str, Sequence[Round]]], method: str = "late"
) -> list[Round]:
    """The online phase of an ensemble with a scope for each person; in every round t each has a turn.

    An arm is a role, such as `own`: for each person another policy may play it.

    Args:
        ensemble: over the roles.
        alone: by person and role, the rounds in which the role's policy answered that person every time; `play_late`
            says why they are enough.
        method: what the rounds count for.
    """
    rounds = []
    for t in range(min(len(played) for arms in alone.values() for played in arms.values())):
        for person, arms in alone.items():
            pull = ensemble.choose(person)
            played = arms[pull.arm][t]
            ensemble.update(pull, played.cost)
            rounds.append(replace(played, method=method, propensity=pull.propensity))
    return rounds
