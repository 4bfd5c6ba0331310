from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.ensemble import LateEnsemble
from copydesk.errors import InputError
from copydesk.policies import BestOfNPolicy, LocalPolicy, Policy, Sampling
from copydesk.training.config import CostModelConfig
from copydesk.training.cost_model.model import TokenizedAnswer

CONTEXTS = ["Tell Ada about the meeting", "Tell Bo"]
SEEDS = [(0, 1), (0, 2)]
SAMPLING = Sampling(max_new_tokens=12)


class ByFirstToken:
    """A response costs what its first token is, in thousandths; f̄ is the opposite of it."""

    settings = CostModelConfig(c_max=3.0)

    def __init__(self) -> None:
        self.asked: list[TokenizedAnswer] = []

    def predict(self, answers: Sequence[TokenizedAnswer]) -> Tensor:
        self.asked += answers
        return torch.tensor([[answer[0] / 1000] for _, answer in answers])

    def compute_pessimistic(self, predictions: Tensor) -> Tensor:
        return 1 - predictions[:, 0]


@pytest.fixture
def policy(tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast) -> LocalPolicy:
    # A random model hardly ever ends its turn; this one may, and no response is cut off.
    tiny_model.lm_head.weight.data[0] = 0
    tiny_model.lm_head.bias = torch.nn.Parameter(torch.zeros(len(plain_tokenizer)))
    tiny_model.lm_head.bias.data[0] = 5.0
    return LocalPolicy("tiny", tiny_model, plain_tokenizer)


def best(policy: LocalPolicy, n: int, cost_model: Any = None) -> BestOfNPolicy:
    return BestOfNPolicy("best", policy, cost_model or ByFirstToken(), n)


def test_it_returns_the_draft_with_the_least_pessimistic_cost(policy: LocalPolicy) -> None:
    cost_model = ByFirstToken()
    responses = best(policy, 16, cost_model).respond(CONTEXTS, SEEDS, SAMPLING)
    prompts = policy.encode(CONTEXTS)
    assert len(cost_model.asked) == 32
    for row, response in enumerate(responses):
        drafts = cost_model.asked[row * 16 : row * 16 + 16]
        assert all(list(context) == prompts[row] for context, _ in drafts)
        chosen = max(answer[0] for _, answer in drafts)
        written = [list(answer[:-1]) for _, answer in drafts if answer[0] == chosen]
        assert response in [policy.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]


def test_of_one_it_is_the_policy_itself(policy: LocalPolicy) -> None:
    assert best(policy, 1).respond(CONTEXTS, SEEDS, SAMPLING) == policy.respond(CONTEXTS, SEEDS, SAMPLING)
    assert best(policy, 1).respond([], [], SAMPLING) == []


def test_the_chosen_draft_is_trimmed(policy: LocalPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "decode", lambda response: "round and round and round")
    answers = best(policy, 4).respond(CONTEXTS, SEEDS, replace(SAMPLING, trim_repeats=4))
    assert answers == ["round and "] * 2


def test_more_drafts_never_cost_more_and_a_response_does_not_depend_on_its_neighbours(policy: LocalPolicy) -> None:
    few, many = ByFirstToken(), ByFirstToken()
    together = best(policy, 4, few).respond(CONTEXTS, SEEDS, SAMPLING)
    best(policy, 8, many).respond(CONTEXTS, SEEDS, SAMPLING)
    for row in range(2):
        assert many.asked[row * 8 : row * 8 + 4] == few.asked[row * 4 : row * 4 + 4]
    assert best(policy, 4).respond(CONTEXTS[1:], SEEDS[1:], SAMPLING) == together[1:]


def test_it_is_an_arm_like_any_other(policy: LocalPolicy) -> None:
    arms: list[Policy] = [policy, best(policy, 2)]
    pull = LateEnsemble([arm.name for arm in arms]).choose()
    assert pull.arm == "tiny"


def test_drafts_that_are_all_the_same_are_refused(policy: LocalPolicy) -> None:
    with pytest.raises(InputError, match="temperature"):
        best(policy, 2).respond(CONTEXTS, SEEDS, Sampling(temperature=0))
    with pytest.raises(InputError, match="best-of-0"):
        best(policy, 0)
