from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.simulate.config import (
    DEFAULT_SCENARIOS,
    ExperimentConfig,
    list_log_runs,
    parse_scenario_arg,
    sweep_scenarios,
)
from copydesk.simulate.recipe import RECIPE


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"columns": ()}, r"--columns: there is none"),
        ({"columns": ("poem/strong",)}, r"no task 'poem'"),
        ({"columns": ("email/nobody",)}, r"no user 'nobody'"),
        ({"columns": ("email/strong-to-nobody",)}, r"no user 'nobody'"),
        ({"columns": ("email/strong-n1",)}, r"at least 2 edits"),
        ({"columns": ("prelude-email/strong",)}, r"only an LLM .* --user strong=MODEL@URL"),
        ({"methods": ("sft", "ppo")}, r"no method 'ppo'"),
        ({"methods": ("sft", "icl-0")}, r"no method 'icl-0'"),
        ({"methods": ("sft", "sft")}, r"--methods: sft is given twice"),
        ({"methods": ("base", "late")}, r"no arms"),
        ({"arms": ("late",)}, r"late is an ensemble"),
        ({"arms": ("icl-3",)}, r"icl-3 is not among --methods"),
        ({"seeds": (0, 0)}, r"--seeds: each seed must be .* given once"),
        ({"seeds": (-1,)}, r"--seeds: each seed must be at least 0"),
        ({"rounds": 0}, r"--rounds: 0 must be at least 1"),
        ({"alpha": -1.0}, r"late: alpha: -1.0 must be at least 0"),
        ({"discount": 0.0}, r"late-discounted-ucb: discount: 0.0 must be greater than 0"),
        ({"max_new_tokens": 0}, r"--max-new-tokens: 0 must be at least 1"),
        ({"recipe": {"late": {}}}, r"recipe\.late: there is no such training method"),
        ({"recipe": {"sft": {"speed": 1}}}, r"recipe\.sft\.speed: there is no such setting"),
        ({"recipe": {"rl": {"rl.speed": 1}}}, r"recipe\.rl\.rl\.speed: there is no such setting"),
        ({"recipe": {"sft": {"seed": 1}}}, r"recipe\.sft\.seed"),
        ({"recipe": {"sft": {"epochs": -1}}}, r"epochs: -1 must be greater than 0"),
        ({"recipe": {"sft": {"epochs": "many"}}}, r"recipe\.sft: --epochs: 'many' is not a number"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ExperimentConfig(**settings)


def test_an_llm_may_be_any_user_and_read_real_documents() -> None:
    ExperimentConfig(columns=("prelude-email/nobody",), users={"nobody": "m@http://localhost/v1"})


def test_the_recipe_of_simulations_is_used_for_the_embedded_model_and_the_defaults_for_others() -> None:
    ours = ExperimentConfig()
    assert ours.make_train_config("sft", 0).learning_rate == RECIPE["sft"].learning_rate
    assert ours.make_train_config("sft", 7).seed == 7
    theirs = ExperimentConfig(model="smollm2")
    assert theirs.make_train_config("sft", 0).learning_rate is None and not theirs.make_train_config("sft", 0).full
    changed = ExperimentConfig(recipe={"rl": {"beta": 0.5, "cost.epochs": 9.0, "rl.responses": 8}}).make_train_config(
        "rl", 0
    )
    assert (changed.beta, changed.cost.epochs, changed.rl.responses) == (0.5, 9.0, 8)
    assert changed.learning_rate == RECIPE["rl"].learning_rate


def test_the_arms_are_the_trained_methods_unless_named() -> None:
    assert ExperimentConfig(methods=("base", "late", "early", "sft", "icl-3")).ensemble_arms == ("sft", "early")
    named = ExperimentConfig(methods=("base", "late", "sft", "icl-3"), arms=("icl-3", "base"))
    assert named.ensemble_arms == ("icl-3", "base")
    assert named.learns_online and not ExperimentConfig().learns_online


def test_other_rules_are_rows_only_where_the_online_user_is_another() -> None:
    settings = ExperimentConfig(rules=("late-thompson",))
    assert "late-thompson" not in settings.select_methods(parse_scenario_arg("email/strong"))
    assert settings.select_methods(parse_scenario_arg("email/strong-to-weak"))[-1] == "late-thompson"


def test_columns_of_one_log_share_a_log_run() -> None:
    settings = ExperimentConfig(columns=("email/strong", "email/weak", "email/strong-to-weak", "email/strong-n9"))
    found = list_log_runs(settings)
    assert [cell.seed for cell in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [column.name for column in found[0].scenarios] == ["email/strong", "email/strong-to-weak"]
    assert [cell.edits for cell in found[:3]] == [300, 300, 9]
    assert len({cell.name for cell in found}) == 9


def test_a_sweep_has_a_column_for_every_value_and_no_late_ensemble() -> None:
    strength = sweep_scenarios(ExperimentConfig(), "strength", (0.05, 1.0))
    assert strength.columns == tuple(
        f"{task}/weak-{p}-to-strong" for task in ("summarization", "email") for p in ("0.05", "1.00")
    )
    assert strength.methods == ("base", "sft", "dpo", "rl", "early")
    length = sweep_scenarios(ExperimentConfig(columns=("email/weak",)), "n", (50.0, 100.0))
    assert length.columns == ("email/weak-n50", "email/weak-n100")
    assert len(sweep_scenarios(ExperimentConfig(), "strength").columns) == 14


@pytest.mark.parametrize(
    ("sweep", "values", "says"),
    [
        ("age", (), r"no such sweep"),
        ("strength", (0.0,), r"--values: 0 is no strength"),
        ("strength", (1.5,), r"--values: 1.5 is no strength"),
        ("n", (1.0,), r"cannot have 1 edits"),
        ("n", (2.5,), r"cannot have 2.5 edits"),
    ],
)
def test_a_sweep_over_bad_values_is_refused(sweep: str, values: tuple[float, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sweep_scenarios(ExperimentConfig(columns=DEFAULT_SCENARIOS), sweep, values)
