import json

import pytest

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("method", "ppo", "--method: "),
        ("dtype", "float16", "--dtype: "),
        ("epochs", 0, "--epochs: "),
        ("max_steps", 0, "--max-steps: "),
        ("learning_rate", -1e-4, "--lr: "),
        ("learning_rate", float("nan"), "--lr: "),
        ("batch_size", 0, "--batch-size: "),
        ("beta", 0.0, "--beta: "),
        ("lambda_sup", -1.0, "--lambda-sup: "),
        ("held_out", 1.0, "--held-out: "),
        ("max_length", 1, "--max-length: "),
        ("preference", "hinge", "--preference: "),
        ("label_noise", 0.5, "--label-noise: "),
        ("dpop_penalty", -1.0, "--dpop-penalty: "),
        ("row_tokens", 0, "--row-tokens: "),
        ("save_every", 0, "--save-every: "),
        ("save_every", 2.5, "--save-every: "),
        ("weigh", "recency:soon", "--row-weighting: "),
        ("lambda_cost", -0.5, "--lambda-cost: "),
        ("lambda_cost", float("inf"), "--lambda-cost: "),
    ],
)
def test_the_error_of_a_bad_value_names_the_flag(name: str, value: object, flag: str) -> None:
    with pytest.raises(InputError, match=f"^{flag}"):
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


def test_the_learning_rate_that_was_used_is_written() -> None:
    kept = TrainConfig(method="sft").to_json()
    assert kept["learning_rate"] == TrainConfig(method="sft").effective_learning_rate
    assert json.loads(json.dumps(kept)) == kept


def test_settings_of_costs_are_written_if_the_method_reads_them() -> None:
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
