import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pytest

from copydesk.data.cost import EditCost
from copydesk.data.record import Context
from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.policies import Sampling
from copydesk.simulate.protocol import (
    Round,
    build_log,
    draw_online_documents,
    play,
    play_policy,
    simulate_edits,
    simulate_log,
)
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.tasks.scripted import ideal_response
from copydesk.simulate.users import STRONG

COST = EditCost(unit="word", cap=3.0)
KNOWN = {
    document.context: document
    for stream, unseen in ((SeedStream.LOG_DOCUMENTS, EMAIL.unseen_values), (SeedStream.ONLINE_DOCUMENTS, 0.0))
    for document in islice(EMAIL.iter_documents(0, stream, unseen_values=unseen), 100)
}


class Mindreader:
    """A policy that writes exactly what is wanted."""

    name = "mindreader"

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        return [ideal_response(EMAIL, KNOWN[str(context)]) for context in contexts]


class Blunt:
    """A policy that always writes the same."""

    name = "blunt"

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        return ["No idea, sorry."] * len(contexts)


def rounds_of(policy: Mindreader | Blunt, count: int = 40) -> list[Round]:
    contexts = draw_online_documents(EMAIL, count, 0, [])
    return play_policy(policy, policy.name, EMAIL, STRONG, contexts, 0, COST, Sampling())


def test_a_log_holds_what_the_user_did() -> None:
    log = simulate_log(Blunt(), EMAIL, STRONG, 30, 0, Sampling())
    assert len({record.id for record in log}) == 30
    assert all(record.edited and record.policy == "blunt" and record.user == "strong" for record in log)
    assert log == simulate_log(Blunt(), EMAIL, STRONG, 30, 0, Sampling())
    accepted = simulate_log(Mindreader(), EMAIL, STRONG, 30, 0, Sampling())
    assert all(record.accepted for record in accepted)
    assert [record.context for record in accepted] == [record.context for record in log]


def test_online_contexts_are_none_of_the_logs() -> None:
    log = simulate_log(Blunt(), EMAIL, STRONG, 100, 0, Sampling())
    first = draw_online_documents(EMAIL, 1, 0, [])[0]
    log.append(log[0].model_copy(update={"id": "again", "context": first.context}))
    online = draw_online_documents(EMAIL, 100, 0, log)
    assert not {document.context for document in online} & {str(record.context) for record in log}


def test_a_round_costs_what_the_user_was_put_to() -> None:
    for played in rounds_of(Mindreader()):
        assert played.cost == played.distance == 0
        assert played.edit == played.response
        assert played.taste and not played.malformed and played.facts == 1
    for played in rounds_of(Blunt()):
        assert played.cost == COST(played.response, played.edit) > 0
        assert played.malformed and played.facts == 0
        assert played.length == len(COST.split_units(played.response))
        assert played.cost <= 3


def test_a_round_has_the_fields_that_runs_are_written_with() -> None:
    line = json.loads(json.dumps(rounds_of(Blunt(), 1)[0].to_json()))
    fields = "seed t task user method policy propensity kind context response edit cost"
    assert set(fields.split()) <= set(line)


def test_every_method_meets_the_same_rounds() -> None:
    ours, theirs = rounds_of(Mindreader()), rounds_of(Blunt())
    assert [(one.t, one.context, one.kind) for one in ours] == [(one.t, one.context, one.kind) for one in theirs]


def test_the_late_ensemble_pays_for_the_arm_it_pulls_and_finds_the_better_one() -> None:
    alone = {"blunt": rounds_of(Blunt()), "mindreader": rounds_of(Mindreader())}
    late = play(LateEnsemble(list(alone), Ucb(0.3)), {None: alone}, 40)
    assert [one.t for one in late] == list(range(1, 41))
    for one in late:
        assert one == replace(alone[one.policy][one.t - 1], method="late", propensity=one.propensity)
    assert [one.policy for one in late[:2]] == ["blunt", "mindreader"]
    assert sum(one.policy == "mindreader" for one in late) > 30


def test_the_late_ensemble_is_not_told_what_the_other_arms_cost() -> None:
    alone = {"blunt": rounds_of(Blunt()), "mindreader": rounds_of(Mindreader())}
    chosen = play(LateEnsemble(list(alone), Ucb(0.3)), {None: alone}, 40)
    pulled = {(one.policy, one.t) for one in chosen}
    spoilt = {
        name: [one if (name, one.t) in pulled else replace(one, cost=99.0) for one in rounds]
        for name, rounds in alone.items()
    }
    assert play(LateEnsemble(list(alone), Ucb(0.3)), {None: spoilt}, 40) == chosen


def test_a_fixed_policy_costs_the_same_in_every_run() -> None:
    assert rounds_of(Blunt()) == rounds_of(Blunt())
    assert sum(one.cost for one in rounds_of(Mindreader())) == pytest.approx(0)


def test_a_log_can_be_continued_by_the_same_user() -> None:
    documents, responses = EMAIL.draw_offline(6, 0), ["No idea, sorry."] * 6
    whole = build_log("base", EMAIL, STRONG, documents, responses, 0)
    assert build_log("base", EMAIL, STRONG, documents[4:], responses[4:], 0, first=5) == whole[4:]


def test_a_response_that_repeats_itself_is_cut_before_it_is_edited() -> None:
    contexts = draw_online_documents(EMAIL, 2, 0, [])
    responses = ["No idea, sorry. " * 30, "No idea, sorry."]
    rounds = simulate_edits("blunt", "blunt", EMAIL, STRONG, contexts, responses, 0, COST, trim=200)
    assert [one.trimmed for one in rounds] == [True, False]
    assert [one.response.strip() for one in rounds] == ["No idea, sorry."] * 2
    as_written = simulate_edits("blunt", "blunt", EMAIL, STRONG, contexts, responses, 0, COST)
    assert [(one.response, one.trimmed) for one in as_written] == [(text, None) for text in responses]


def test_the_cost_in_subtokens_is_recorded_beside_the_cost_in_words() -> None:
    contexts, subtokens = draw_online_documents(EMAIL, 3, 0, []), EditCost(cap=3.0)
    rounds = simulate_edits(
        "blunt", "blunt", EMAIL, STRONG, contexts, ["No idea."] * 3, 0, COST, subtoken_cost=subtokens
    )
    assert [one.subtoken_cost for one in rounds] == [subtokens(one.response, one.edit) for one in rounds]
    assert [one.cost for one in rounds] == [COST(one.response, one.edit) for one in rounds]
