import pytest

from copydesk.simulate.config import DEFAULT_ARMS, ExperimentConfig
from copydesk.simulate.recipe import RECIPE, SELECTED, SELECTED_EDITS, get_recipe
from copydesk.simulate.selection import SELECTION_RULES
from copydesk.simulate.tasks import SCRIPTED_TASKS


def test_every_rule_of_the_tables_has_chosen_for_every_task_and_arm() -> None:
    for rule, by_task in SELECTED.items():
        assert rule in SELECTION_RULES
        assert {task: tuple(own) for task, own in by_task.items()} == dict.fromkeys(SCRIPTED_TASKS, DEFAULT_ARMS)
        assert all(one.method == method for own in by_task.values() for method, one in own.items())


def test_a_short_log_is_passed_over_more_often_and_a_long_one_is_not() -> None:
    chosen = SELECTED["unfixed"]["email"]["early"]
    assert get_recipe("early", "email", "unfixed") == chosen
    assert get_recipe("early", "email", "unfixed", 10 * SELECTED_EDITS) == chosen
    assert get_recipe("early", "email", "unfixed", SELECTED_EDITS // 2) == chosen.replace(epochs=2 * chosen.epochs)
    assert get_recipe("early", "email", "unfixed", 5) == chosen.replace(epochs=4 * chosen.epochs)


def test_a_method_or_a_task_without_a_selection_has_the_settings_of_erring_users() -> None:
    assert get_recipe("rl", "email", "unfixed") == RECIPE["rl"]
    assert get_recipe("sft", "prelude-email") == RECIPE["sft"]


@pytest.mark.parametrize("selection", ["log-loss", "unfixed"])
def test_an_experiment_trains_with_the_settings_of_its_selection(selection: str) -> None:
    settings = ExperimentConfig(selection=selection)  # type: ignore[arg-type]
    for task in SCRIPTED_TASKS:
        for method in DEFAULT_ARMS:
            chosen = SELECTED[settings.selection][task][method]
            trained = settings.make_train_config(method, 3, task)
            assert (trained.learning_rate, trained.epochs, trained.beta, trained.lambda_sup, trained.seed) == (
                *(chosen.learning_rate, chosen.epochs, chosen.beta, chosen.lambda_sup),
                3,
            )
    short = settings.make_train_config("sft", 0, "email", edits=SELECTED_EDITS // 2)
    assert short.epochs == 2 * settings.make_train_config("sft", 0, "email").epochs
    assert settings.replace(recipe={"sft": {"epochs": 3.0}}).make_train_config("sft", 0, "email", edits=10).epochs == 3
