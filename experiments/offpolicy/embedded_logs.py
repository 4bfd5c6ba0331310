"""The embedded family of `check_coverage.py`: rounds of the embedded model, and the logs that are parts of them."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from outcomes import judge, say, summed

from copydesk.data.cost import EditCost
from copydesk.models.chat import find_end_of_turn
from copydesk.models.load import load_model, quiet_libraries
from copydesk.offpolicy.baseline import fit_baseline
from copydesk.offpolicy.estimators import (
    compute_effective_sample_size,
    compute_standard_error,
    estimate_doubly_robust,
    estimate_ips,
    estimate_logged_mean,
    estimate_snips,
)
from copydesk.offpolicy.overlap import compute_expected_sample_size
from copydesk.offpolicy.traffic import LoggedAnswer
from copydesk.offpolicy.weights import compute_arm_weights, compute_text_weights
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import simulate_log
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import get_user
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.encode import encode_log
from copydesk.training.fit import compute_reference_logprobs, fit_policy

USER = get_user("erring-0.95")
TASK = replace(EMAIL, unseen_values=0.0)

EMBEDDED = (("arm", 0.2, False), ("new, 0.1", 0.1, True), ("new, 0.3", 0.3, True), ("new, 1", 1.0, False))
"""Kinds of the embedded family: a, and whether a cost model judges the policy's answers."""


def embedded(
    seed: int, edits: int, pool: int, others: int, rounds: int, logs: int, with_model: bool
) -> list[dict[str, Any]]:
    """The embedded family: the figures of each kind of log."""
    quiet_libraries()
    model, tokenizer, _ = load_model("embedded")
    sampling, cost = Sampling(0.7, 160), EditCost(cap=3.0)
    taught = simulate_log(LocalPolicy("base", model, tokenizer), TASK, USER, edits, seed, sampling)
    paid = cost.cost_batch([(record.response, str(record.edit)) for record in taught])
    known = {record.id: c for record, c in zip(taught, paid, strict=True)}
    triples = encode_log(taught, tokenizer, max_length=512, costs=known).triples
    recipe = RECIPE["sft"].replace(learning_rate=1e-3, epochs=2, seed=seed)
    trained = fit_policy(model, triples, compute_reference_logprobs(model, triples, batch_size=64), recipe).model
    say("trained")

    def between(a: float) -> LocalPolicy:
        mixed = copy.deepcopy(model)
        with torch.no_grad():
            for weight, one, other in zip(mixed.parameters(), model.parameters(), trained.parameters(), strict=True):
                weight.copy_(one + a * (other - one))
        return LocalPolicy(f"a={a:g}", mixed, tokenizer)

    def costs_of(documents: Sequence[Any], responses: Sequence[str], stream: int) -> list[float]:
        seeds = [(seed, stream, place) for place in range(len(documents))]
        edits = USER.edit(TASK, documents, responses, seeds)
        return cost.cost_batch(list(zip(responses, edits, strict=True)))

    # The first documents are those of the log that was learned from.
    documents = TASK.draw_offline(edits + pool + others, seed)[edits:]
    inside, outside = documents[:pool], documents[pool:]
    arms = [between(0.0), between(0.2)]
    kinds = sorted({document.kind for document in inside})
    chances = np.array([0.2 + 0.6 * kinds.index(one.kind) / max(1, len(kinds) - 1) for one in inside])
    picks = (np.random.default_rng([seed, 1]).random(pool) < chances).astype(int)
    responses = [""] * pool
    for pick, arm in enumerate(arms):
        places = np.flatnonzero(picks == pick)
        texts = arm.respond([inside[p].context for p in places], [(seed, 2, int(p)) for p in places], sampling)
        for place, text in zip(places, texts, strict=True):
            responses[place] = text
    say("answered")
    asked = {"temperature": sampling.temperature, "max_tokens": sampling.max_new_tokens}
    costs = np.array(costs_of(inside, responses, 3))
    # `LocalPolicy` gives no reason: an answer as long as the limit was cut off.
    length = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in responses]
    rows = [
        LoggedAnswer(
            str(t), inside[t].context, responses[t], asked,
            "length" if length[t] >= sampling.max_new_tokens else "stop", None, arms[picks[t]].name,
            float(chances[t] if picks[t] else 1 - chances[t]), frozenset(arm.name for arm in arms), float(costs[t]),
        )
        for t in range(pool)
    ]  # fmt: skip
    cost_model = fit_cost_model(model, triples, RECIPE["rl"].replace(seed=seed)) if with_model else None
    end = find_end_of_turn(tokenizer)

    def predict(policy: LocalPolicy, texts: Sequence[str]) -> np.ndarray:
        assert cost_model is not None
        words = [[*tokenizer(text, add_special_tokens=False)["input_ids"], *end] for text in texts]
        prompts = policy.encode([one.context for one in inside])
        return np.asarray(cost_model.predict(list(zip(prompts, words, strict=True)))[:, 0], dtype=float)

    by_name = {arm.name: arm for arm in arms}
    found = []
    for kind, a, judged in EMBEDDED:
        policy = between(a)
        own = policy.respond([one.context for one in outside], [(seed, 4, p) for p in range(others)], sampling)
        mine = estimate_logged_mean(costs_of(outside, own, 5))
        truth = {"value": mine.value, "error": compute_standard_error(mine)}
        if kind == "arm":
            weights, log_weights = compute_arm_weights(rows, {policy.name: 1.0}).weights, None
        else:
            weights = compute_text_weights(rows, policy, by_name.__getitem__, batch_size=32).weights
            log_weights = np.log(np.maximum(weights, 1e-300))
        predicted = expected = None
        if cost_model is not None and judged:
            drafts = policy.respond([one.context for one in inside], [(seed, 6, p) for p in range(pool)], sampling)
            predicted, expected = predict(policy, responses), predict(policy, drafts)
        outcomes = []
        for number in range(logs):
            partition, part = divmod(number, pool // rounds)
            chosen = np.random.default_rng([seed, 7, partition]).permutation(pool)[part * rounds : (part + 1) * rounds]
            w, c, some = weights[chosen], costs[chosen], [rows[t] for t in chosen]
            e = fit_baseline(some, w, number).expected
            fits = {"ips": estimate_ips(w, c), "snips": estimate_snips(w, c), "dr": estimate_doubly_robust(w, c, e, e)}
            if predicted is not None and expected is not None:
                fits["dr, cost model"] = estimate_doubly_robust(w, c, predicted[chosen], expected[chosen])
            naive = c[picks[chosen] == 1] if kind == "arm" else c
            expected_rows = None
            if log_weights is not None:
                expected_rows = compute_expected_sample_size(log_weights[chosen], [one.policy for one in some])
            outcomes.append(judge(w, c, fits, truth["value"], naive, expected=expected_rows))
        whole = estimate_snips(weights, costs)
        pooled = {
            "value": whole.value,
            "error": compute_standard_error(whole),
            "effective": compute_effective_sample_size(weights),
        }
        found.append(summed(kind, outcomes, truth) | {"pool": pooled})
        say(kind)
    return found
