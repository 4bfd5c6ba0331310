from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
from copydesk.training.cost_model.model import TokenizedAnswer
from copydesk.training.encode import Triple


class PerToken:
    """Stands in for a cost model: a response costs the share of its tokens that are at or above a number.

    f̄ is f̂ and a tenth more.
    """

    settings = CostModelConfig(c_max=3.0)
    initial_cost = 0.5

    def __init__(self, dear_from: int = 160) -> None:
        self.dear_from = dear_from
        self.asked: list[TokenizedAnswer] = []

    def predict(self, answers: Sequence[TokenizedAnswer]) -> Tensor:
        self.asked += answers
        shares = [sum(token >= self.dear_from for token in answer) / len(answer) for _, answer in answers]
        return torch.tensor(shares)[:, None]

    def compute_pessimistic(self, predictions: Tensor) -> Tensor:
        return predictions[:, 0] + 0.1


class Constant(PerToken):
    """All responses cost the same."""

    def predict(self, answers: Sequence[TokenizedAnswer]) -> Tensor:
        return torch.full((len(answers), 1), 0.6)

    def compute_pessimistic(self, predictions: Tensor) -> Tensor:
        return predictions[:, 0].clone()


@pytest.fixture
def cheap_low_tokens() -> PerToken:
    return PerToken()


@pytest.fixture
def constant() -> Constant:
    return Constant()


@pytest.fixture
def settings() -> TrainConfig:
    return TrainConfig(
        method="rl",
        batch_size=16,
        max_steps=4,
        learning_rate=1e-2,
        lora_r=4,
        rl=RlConfig(responses=16, generations=4, max_new_tokens=12),
    )


@pytest.fixture
def costed(triples: list[Triple]) -> list[Triple]:
    return [replace(triple, cost=1.2 if triple.edited else 0.0) for triple in triples]
