"""Protocol 1 of the paper: a log of edits is made offline, and online every round is paid for in edits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from copydesk.ensemble import LateEnsemble
from copydesk.log.cost import EditCost
from copydesk.log.record import EditRecord
from copydesk.policies import Policy, Sampling
from copydesk.simulate.luck import Stream, documents, generator, key
from copydesk.simulate.task import Document, Task
from copydesk.simulate.users import ScriptedUser, ideal, read


@dataclass(frozen=True)
class Round:
    """One x, y, y', c of the online phase; a line of rounds.jsonl.

    `method` is the row of the table it counts for, `policy` what answered and `propensity` the probability that it was
    chosen with. `cost` is what the user was put to, Δ_edit(y, y'). Beside it: `distance`, the cost of turning y into
    the text wholly to the user's taste; `malformed`, `facts` and `taste` as in `Reading`; `length` in the cost's units.
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
    distance: float
    malformed: bool
    facts: float
    taste: bool
    length: int

    def to_json(self) -> dict[str, Any]:
        """The round as a JSON object."""
        return asdict(self)


def make_log(
    policy: Policy, task: Task, user: ScriptedUser, count: int, seed: int, sampling: Sampling
) -> list[EditRecord]:
    """The offline phase: `count` fresh documents, answered by π_ref and edited by the user."""
    contexts = list(islice(documents(task, seed, Stream.LOG_DOCUMENTS), count))
    streams = (Stream.LOG_RESPONSES, Stream.LOG_EDITS)
    responses, edits = _answer_and_edit(policy, task, user, contexts, seed, sampling, streams)
    return [
        EditRecord(
            id=f"{task.name}-{user.name}-{seed}-{t}",
            user=user.name,
            policy=policy.name,
            context=document.context,
            response=response,
            edit=edit,
            metadata={"kind": document.kind},
        )
        for t, (document, response, edit) in enumerate(zip(contexts, responses, edits, strict=True), start=1)
    ]


def _answer_and_edit(
    policy: Policy,
    task: Task,
    user: ScriptedUser,
    contexts: Sequence[Document],
    seed: int,
    sampling: Sampling,
    streams: tuple[Stream, Stream],
) -> tuple[list[str], list[str]]:
    """What the policy writes of each document and what the user makes of it; `streams` are the luck of each."""
    responses = policy.respond(
        [document.context for document in contexts],
        [key(seed, streams[0], t) for t in range(1, len(contexts) + 1)],
        sampling,
    )
    edits = [
        user.edit(task, document, response, generator(seed, streams[1], t))
        for t, (document, response) in enumerate(zip(contexts, responses, strict=True), start=1)
    ]
    return responses, edits


def online_documents(task: Task, count: int, seed: int, log: Iterable[EditRecord]) -> list[Document]:
    """The contexts x_1 .. x_T of the online phase; none of them is in the log."""
    known = frozenset(str(record.context) for record in log)
    return list(islice(documents(task, seed, Stream.ONLINE_DOCUMENTS, unlike=known), count))


def play(
    policy: Policy,
    method: str,
    task: Task,
    user: ScriptedUser,
    contexts: Sequence[Document],
    seed: int,
    cost: EditCost,
    sampling: Sampling,
) -> list[Round]:
    """The online phase of one policy, which answers every round."""
    streams = (Stream.ONLINE_RESPONSES, Stream.ONLINE_EDITS)
    responses, edits = _answer_and_edit(policy, task, user, contexts, seed, sampling, streams)
    costs = cost.batch(list(zip(responses, edits, strict=True)))
    wishes = [ideal(task, document) for document in contexts]
    distances = cost.batch(list(zip(responses, wishes, strict=True)))
    rounds = []
    for t, document in enumerate(contexts, start=1):
        response = responses[t - 1]
        reading = read(task, document, response)
        rounds.append(
            Round(
                seed=seed,
                t=t,
                task=task.name,
                user=user.name,
                method=method,
                policy=policy.name,
                propensity=1.0,
                kind=document.kind,
                context=document.context,
                response=response,
                edit=edits[t - 1],
                cost=costs[t - 1],
                distance=distances[t - 1],
                malformed=reading.malformed,
                facts=reading.facts,
                taste=reading.to_taste,
                length=len(cost.units(response)),
            )
        )
    return rounds


def play_late(ensemble: LateEnsemble, alone: Mapping[str, Sequence[Round]]) -> list[Round]:
    """The online phase of a late ensemble, whose arms have played every round alone.

    Policies do not change while they are played and the next context does not depend on the last answer, so what an
    arm would have written in round t, and what the user would have made of it, is what it wrote there when it played
    alone. The ensemble is told the cost of the arm it pulled and of no other.
    """
    rounds = []
    for t in range(len(next(iter(alone.values())))):
        pull = ensemble.choose()
        played = alone[pull.arm][t]
        ensemble.update(pull, played.cost)
        rounds.append(Round(**{**played.to_json(), "method": "late", "propensity": pull.propensity}))
    return rounds
