import json

import pytest

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "ppo"),
        ("dtype", "float16"),
        ("epochs", 0),
        ("max_steps", 0),
        ("learning_rate", -1e-4),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("beta", 0.0),
        ("lambda_sup", -1.0),
        ("held_out", 1.0),
        ("max_length", 1),
        ("preference", "hinge"),
        ("label_noise", 0.5),
        ("dpop_penalty", -1.0),
        ("row_tokens", 0),
        ("save_every", 0),
        ("save_every", 2.5),
        ("weigh", "recency:soon"),
        ("lambda_cost", -0.5),
        ("lambda_cost", float("inf")),
    ],
)
def test_a_senseless_value_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        TrainConfig(**{name: value})


def test_the_rate_follows_method_and_full_unless_given() -> None:
    assert (
        TrainConfig(method="dpo").effective_learning_rate
        < TrainConfig(method="early").effective_learning_rate
        < TrainConfig(method="sft").effective_learning_rate
    )
    assert (
        TrainConfig(method="sft", full=True).effective_learning_rate < TrainConfig(method="sft").effective_learning_rate
    )
    assert TrainConfig(learning_rate=0.5).effective_learning_rate == 0.5


def test_what_is_kept_holds_the_rate_that_was_used() -> None:
    kept = TrainConfig(method="sft").to_json()
    assert kept["learning_rate"] == TrainConfig(method="sft").effective_learning_rate
    assert json.loads(json.dumps(kept)) == kept


def test_settings_of_costs_are_kept_where_the_method_reads_them() -> None:
    assert not any("." in name for name in TrainConfig(method="sft").to_json())
    assert not any("." in name for name in TrainConfig(method="early").to_json())
    early = TrainConfig(method="early", lambda_cost=0.5).to_json()
    assert {name for name in early if "." in name} == {"cost.source", "cost.unit", "cost.normalize", "cost.c_max"}
    rl = TrainConfig(method="rl").to_json()
    assert {"cost.members", "cost.pessimism", "rl.generations", "rl.vllm"} <= rl.keys()
    assert json.loads(json.dumps(rl)) == rl


def test_only_rl_and_the_early_ensemble_with_a_cost_term_need_costs() -> None:
    assert TrainConfig(method="rl").uses_costs
    assert TrainConfig(method="early", lambda_cost=0.5).uses_costs
    assert not TrainConfig(method="early").uses_costs
    assert not TrainConfig(method="sft", lambda_cost=0.5).uses_costs
