"""Protocol 1 of the paper: the offline log, and online rounds whose cost is what the user edits.

Policies that do not change answer all rounds at once (`play_policy`). An ensemble (`play`) is put together from the
rounds of its arms, and played round by round where an arm learns from every edit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.data.repetition import trim_repeats
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
    `facts` and `taste` as in `ResponseScore`. `subtoken_cost` is the cost in sub-tokens, where the cost counts words,
    and `trimmed` whether the response was cut where it began to repeat itself. What is not known is `None` and left
    out of the file.
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
    subtoken_cost: float | None = None
    trimmed: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The round as a JSON object."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def simulate_log(policy: Policy, task: Task, user: User, count: int, seed: int, sampling: Sampling) -> list[EditRecord]:
    """The offline phase: `count` fresh documents, answered by π_ref and edited by the user."""
    contexts = task.draw_offline(count, seed)
    responses = generate_responses(policy, contexts, seed, sampling, SeedStream.LOG_RESPONSES)
    return build_log(policy.name, task, user, contexts, responses, seed)


def build_log(
    policy: str,
    task: Task,
    user: User,
    contexts: Sequence[Document],
    responses: Sequence[str],
    seed: int,
    first: int = 1,
) -> list[EditRecord]:
    """The log of a user who edited these responses; `first` is the number of the first row."""
    edits = user.edit(task, contexts, responses, _round_seeds(len(contexts), seed, SeedStream.LOG_EDITS, first))
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
        for t, (document, response, edit) in enumerate(zip(contexts, responses, edits, strict=True), start=first)
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
    *,
    subtoken_cost: EditCost | None = None,
    trim: int = 0,
) -> list[Round]:
    """The rounds in which a user edits these responses.

    Args:
        policy: what wrote the responses.
        method: the row of the table that the rounds count for.
        task: the source of the contexts.
        user: the one who edits.
        contexts: x_t.
        responses: y_t.
        seed: of the run.
        cost: Δ_edit.
        first: the number of the first round.
        subtoken_cost: Δ_edit in sub-tokens, which is recorded beside the cost.
        trim: cut responses where they begin to repeat this many characters, before they are edited; 0 never.
    """
    shown = [trim_repeats(response, trim) if trim else response for response in responses]
    edits = user.edit(task, contexts, shown, _round_seeds(len(contexts), seed, SeedStream.ONLINE_EDITS, first))
    pairs = list(zip(shown, edits, strict=True))
    costs = cost.cost_batch(pairs)
    measures = _measure_responses(task, user, contexts, shown, cost, first)
    if subtoken_cost is not None:
        paid_subtokens = subtoken_cost.cost_batch(pairs)
        measures = [one | {"subtoken_cost": paid} for one, paid in zip(measures, paid_subtokens, strict=True)]
    if trim:
        cut = [after != before for after, before in zip(shown, responses, strict=True)]
        measures = [one | {"trimmed": trimmed} for one, trimmed in zip(measures, cut, strict=True)]
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
            zip(contexts, shown, edits, costs, measures, strict=True), start=first
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


@dataclass(frozen=True)
class LiveArm:
    """An arm that learns while it plays, so that its rounds cannot be recorded before.

    Attributes:
        learner: what learns from every round's edit, whichever arm answered.
        play_round: plays the round of that number.
    """

    learner: Learner
    play_round: Callable[[int], Round]


Arm = Sequence[Round] | LiveArm
"""An arm of an ensemble: what its policy played alone in every round, or a learner."""


def play(
    ensemble: LateEnsemble,
    people: Mapping[str, Mapping[str, Arm]] | Mapping[None, Mapping[str, Arm]],
    rounds: int,
    method: str = "late",
) -> list[Round]:
    """The online phase of an ensemble, or of one policy as its only arm; in every round each person has a turn.

    A policy that does not learn is not changed by being played, and the next context does not depend on the last
    answer. So what it would write in round t, and its edit, is what it wrote there when it played alone. The ensemble
    learns the cost of the arm it pulled and of no other. Every learner learns from every round's edit: they share one
    log.

    Args:
        ensemble: chooses the arm that answers.
        people: the arms by person, whose name is the ensemble's scope; `None` where there is one user. An arm can be
            another policy for each person.
        rounds: T.
        method: the row of the table that the rounds count for.
    """
    learners = {
        id(arm.learner): arm.learner for arms in people.values() for arm in arms.values() if isinstance(arm, LiveArm)
    }
    played: list[Round] = []
    for t in range(1, rounds + 1):
        for person, arms in people.items():
            pull = ensemble.choose(person)
            arm = arms[pull.arm]
            one = arm.play_round(t) if isinstance(arm, LiveArm) else arm[t - 1]
            ensemble.update(pull, one.cost)
            played.append(replace(one, method=method, propensity=pull.propensity))
            if learners:
                record = EditRecord(
                    id=f"{one.task}-{one.user}-{one.seed}-online-{t}",
                    user=one.user,
                    policy=pull.arm,
                    context=one.context,
                    response=one.response,
                    edit=one.edit,
                )
                for learner in learners.values():
                    learner.learn([record])
    return played
