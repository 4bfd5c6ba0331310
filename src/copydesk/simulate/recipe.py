"""How the embedded model is trained in simulations.

The settings of `SELECTED` were chosen by `experiments/selection/`: for each task on a log of the strong and one of the
weak user together, with the same number of settings tried for every method, on a seed that no table uses.
"""

from collections.abc import Mapping
from typing import Literal

from copydesk.training.config import CostModelConfig, TrainConfig

# All weights of a model this small train faster than an adapter on it would, and its batches are cheap.
_BASE_RECIPE = TrainConfig(full=True, epochs=4, batch_size=16, accumulate=1, max_length=512, held_out=0.0)

RECIPE: Mapping[str, TrainConfig] = {
    "sft": _BASE_RECIPE.replace(method="sft", learning_rate=5e-3),
    "dpo": _BASE_RECIPE.replace(method="dpo", learning_rate=3e-4, beta=0.1, epochs=8),
    # A step is 64 responses to 16 contexts; one pass over the log takes about as long as four of the others'.
    "rl": _BASE_RECIPE.replace(
        method="rl",
        learning_rate=2e-3,
        beta=0.01,
        batch_size=64,
        # The paper's f̄, whose table simulations are held against.
        cost=CostModelConfig(epochs=3, learning_rate=1e-2, rows_per_step=8, pessimism="max"),
    ),
    "early": _BASE_RECIPE.replace(method="early", learning_rate=1e-3, beta=0.1, lambda_sup=0.1),
}
"""The settings for users who err (`experiments/recipe/`), and of methods that no selection has; its order is the order
in which a late ensemble first tries the methods."""


Selection = Literal["log-loss", "unfixed"]
"""The rule by which settings are chosen on held-out edits."""


SELECTED_EDITS = 1000
"""The rows of the logs on which the settings of `SELECTED` were chosen."""

_MAX_REPEATS = 4
"""How many times as often a short log is passed over, at most: steps on few rows learn them by heart."""

SELECTED: Mapping[Selection, Mapping[str, Mapping[str, TrainConfig]]] = {
    "log-loss": {
        "email": {
            "sft": _BASE_RECIPE.replace(method="sft", learning_rate=5e-3, epochs=2),
            "dpo": _BASE_RECIPE.replace(method="dpo", learning_rate=5e-5, epochs=1, beta=0.1),
            "early": _BASE_RECIPE.replace(method="early", learning_rate=1e-3, epochs=1, beta=0.5, lambda_sup=1.0),
        },
        "summarization": {
            "sft": _BASE_RECIPE.replace(method="sft", learning_rate=5e-3, epochs=2),
            "dpo": _BASE_RECIPE.replace(method="dpo", learning_rate=5e-5, epochs=2, beta=0.1),
            "early": _BASE_RECIPE.replace(method="early", learning_rate=1e-3, epochs=1, beta=0.1, lambda_sup=1.0),
        },
    },
    "unfixed": {
        "email": {
            "sft": _BASE_RECIPE.replace(method="sft", learning_rate=5e-3, epochs=2),
            "dpo": _BASE_RECIPE.replace(method="dpo", learning_rate=5e-5, epochs=1, beta=0.5),
            "early": _BASE_RECIPE.replace(method="early", learning_rate=3e-4, epochs=1, beta=0.5, lambda_sup=0.1),
        },
        "summarization": {
            "sft": _BASE_RECIPE.replace(method="sft", learning_rate=3e-3, epochs=2),
            "dpo": _BASE_RECIPE.replace(method="dpo", learning_rate=5e-5, epochs=2, beta=0.1),
            "early": _BASE_RECIPE.replace(method="early", learning_rate=3e-4, epochs=1, beta=0.1, lambda_sup=0.1),
        },
    },
}
"""The settings that each rule chose, by task and method."""


def get_recipe(
    method: str, task: str = "", selection: Selection = "log-loss", edits: int = SELECTED_EDITS
) -> TrainConfig:
    """The settings of a method on a task, as a selection rule chose them.

    A shorter log than those of the selection is passed over more often, up to four times, so that training takes as
    many steps where it can. A task without a selection, and a method without one, has the settings of `RECIPE`; a
    method without any is trained with the shared settings and its own default rate.
    """
    chosen = SELECTED[selection].get(task, {}).get(method)
    if chosen is None:
        return RECIPE.get(method) or _BASE_RECIPE.replace(method=method)
    return chosen.replace(epochs=chosen.epochs * min(max(1.0, SELECTED_EDITS / edits), _MAX_REPEATS))


# By imitation: of the demo's methods it needs the fewest edits, whatever the length of the log (docs/results.md), and
# each person has few. As adapters on one model, which can be served together. The rate is the best of four on a user
# (p = 0.6) and a seed that no table uses, over logs of 38 and of 300 edits (`experiments/personal/personal.py rate`).
PERSONAL_RECIPE = RECIPE["sft"].replace(full=False, learning_rate=2e-2)
"""The settings of the shared policy and of each person's own: with few edits it takes few steps."""
