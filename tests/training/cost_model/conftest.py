from dataclasses import replace

import pytest

from copydesk.training.config import CostModelConfig, TrainConfig
from copydesk.training.encode import Triple

QUICK = TrainConfig(
    method="rl",
    batch_size=4,
    accumulate=1,
    cost=CostModelConfig(epochs=4, learning_rate=1e-2, rows_per_step=4, members=2, lora_r=2, pessimism="max"),
)


@pytest.fixture
def settings() -> TrainConfig:
    return QUICK


@pytest.fixture
def costed(triples: list[Triple]) -> list[Triple]:
    """The twelve edits with costs: what was edited cost 1.2, what was accepted nothing."""
    return [replace(triple, cost=1.2 if triple.edited else 0.0) for triple in triples]
