from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.simulate.config import (
    DEFAULT_SCENARIOS,
    ExperimentConfig,
    parse_scenario_arg,
)
from copydesk.simulate.log_run import list_log_runs
from copydesk.simulate.presets import (
    add_harder_users,
    add_more_methods,
    make_demo_config,
    make_personal_config,
    make_simulation_config,
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
        ({"columns": ("email/transfer",)}, r"email/transfer: the user transfer is met online only and makes no log"),
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
    assert [cell.edits for cell in found[:3]] == [1000, 1000, 9]
    assert len({cell.name for cell in found}) == 9


def test_the_defaults_are_the_papers_two_tables() -> None:
    settings = ExperimentConfig()
    assert len(list_log_runs(settings)) == 4 * len(settings.seeds)
    met = {parse_scenario_arg(name).online_user for name in settings.columns}
    assert (met, len(settings.columns)) == ({"strong", "transfer"}, 8)
    assert settings.methods == ("base", "sft", "dpo", "early", "late")
    assert settings.ensemble_arms == ("sft", "dpo", "early")
    greedy = (settings.temperature, settings.log_temperature, settings.cost_unit, settings.trim_repeats)
    assert greedy == (0.0, 0.0, "word", 200)
    # Policies that learn from costs learn from those that are counted online.
    assert settings.make_train_config("rl", 0).cost.unit == "word"


def test_harder_users_and_further_methods_leave_the_tables_as_they_are() -> None:
    settings = add_harder_users(add_more_methods(ExperimentConfig()))
    assert settings.columns[:8] == ExperimentConfig().columns and len(settings.columns) == 18
    assert settings.methods == ("base", "sft", "dpo", "early", "late", "rl")
    assert settings.ensemble_arms == ("sft", "dpo", "early")
    assert settings.rules == ("late-discounted-ucb", "late-thompson")


def test_a_sweep_has_a_column_for_every_value_and_no_late_ensemble() -> None:
    strength = sweep_scenarios(ExperimentConfig(), "strength", (0.05, 1.0))
    assert strength.columns == tuple(
        f"{task}/weak-{p}-to-strong" for task in ("summarization", "email") for p in ("0.05", "1.0")
    )
    assert strength.methods == ("base", "sft", "dpo", "early")
    length = sweep_scenarios(ExperimentConfig(columns=("email/weak-to-strong",)), "n", (50.0, 100.0))
    assert length.columns == ("email/weak-to-strong-n50", "email/weak-to-strong-n100")
    assert len(sweep_scenarios(ExperimentConfig(), "strength").columns) == 14
    lengths = sweep_scenarios(ExperimentConfig(), "n").columns
    assert len(lengths) == 20 and lengths[4] == "summarization/strong-n10000"


def test_a_demo_is_one_log_of_the_weak_user_met_by_the_strong_one() -> None:
    settings = make_demo_config(seed=3)
    assert (settings.columns, settings.seeds) == (("email/weak-to-strong",), (3,))
    assert settings.methods == ("base", "sft", "dpo", "rl", "early", "late")
    assert settings.ensemble_arms == ("sft", "dpo", "early")
    assert make_demo_config(user="strong").columns == ("email/strong",)
    with pytest.raises(InputError, match=r"--task: there is no task 'poem'"):
        make_demo_config(task="poem")


def test_people_share_one_log() -> None:
    settings = make_personal_config(edits=24)
    assert [person.edits for person in settings.personal_users] == [8, 3, 1, 8, 3, 1]
    assert settings.ensemble_arms == ("shared", "own")
    assert not settings.make_train_config("own", 0).full
    assert set(settings.to_json()["people"]) == {person.name for person in settings.personal_users}
    with pytest.raises(InputError, match=r"--methods: sft is not played with several people"):
        settings.replace(methods=("sft",))


def test_policies_that_exist_need_no_log() -> None:
    settings = make_simulation_config({"sft": "./a", "icl-2": "./b"}, met_by="transfer")
    assert settings.methods == ("sft", "icl-2", "late") and settings.ensemble_arms == ("sft", "icl-2")
    assert not settings.needs_log and not settings.learns_online
    assert make_simulation_config({"sft": "./a"}).methods == ("sft",)
    with pytest.raises(InputError, match=r"--policy: 'late'"):
        make_simulation_config({"late": "./a"})


@pytest.mark.parametrize(
    ("sweep", "values", "says"),
    [
        ("age", (), r"no such sweep"),
        ("strength", (0.0,), r"--values: 0 is no probability"),
        ("strength", (1.5,), r"--values: 1.5 is no probability"),
        ("n", (1.0,), r"cannot have 1 edits"),
        ("n", (2.5,), r"cannot have 2.5 edits"),
    ],
)
def test_a_sweep_over_bad_values_is_refused(sweep: str, values: tuple[float, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sweep_scenarios(ExperimentConfig(columns=DEFAULT_SCENARIOS), sweep, values)
