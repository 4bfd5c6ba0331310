"""Training methods: one entry each, with the name, label, needs, objective and default learning rates.

The table imports no torch, so that the command line, the reports and the simulations can read it; an objective is
imported when its loss is first computed. To add a method, see docs/howto/add-a-method.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from copydesk.errors import InputError

Objective = Callable[[Any, Any], tuple[Any, dict[str, Any]]]
"""`(BatchLogProbs, TrainConfig) -> (loss, metrics)`, as in `copydesk.training.objectives`."""

Need = Literal["edit", "response", "cost"]
"""What a method reads of a row: log π(y'|x), log π(y|x), or the cost of the edit."""


@dataclass(frozen=True)
class Method:
    """One way to learn a policy from edits.

    Attributes:
        name: of `--method`, of the policy's folder under `--method all`, and in results.
        label: in tables and plots.
        note: one line for the report's legend.
        needs: what the method reads of a row.
        objective: the loss, as a function or as `"module:function"`. `None`: the policy is trained on responses of its
            own against a cost model (`copydesk.training.rl`), not on log-probabilities of the log.
        lora_lr: default peak learning rate of a LoRA adapter.
        full_lr: default peak learning rate when all weights are trained.
        edited_rows_only: leave out rows with y' = y, which carry no preference.
        cost_term: add the offline cost term, weighted by `lambda_cost`; costs are needed where that is above 0.
    """

    name: str
    label: str
    note: str
    needs: frozenset[Need]
    objective: Objective | str | None
    lora_lr: float
    full_lr: float
    edited_rows_only: bool = False
    cost_term: bool = False

    @property
    def on_policy(self) -> bool:
        """Whether the policy learns from responses it samples itself."""
        return self.objective is None

    def loss(self, batch: Any, config: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of a batch and its metrics per row.

        Args:
            batch: `copydesk.training.objectives.BatchLogProbs`.
            config: `copydesk.training.config.TrainConfig`.
        """
        if self.objective is None:
            raise TypeError(f"{self.name} samples its own responses and has no loss over the rows of a log")
        objective = resolve_name(self.objective) if isinstance(self.objective, str) else self.objective
        loss, metrics = objective(batch, config)
        return loss, metrics


METHODS: dict[str, Method] = {}
"""Every method by name, in the order in which they are trained and in which a late ensemble first tries them."""


def register_method(method: Method) -> Method:
    """Add a method to `METHODS`.

    Raises:
        ValueError: a method of that name is registered already, or the name cannot be a folder's.
    """
    if method.name in METHODS:
        raise ValueError(f"there is a method {method.name!r} already")
    if not method.name.isidentifier() or method.name in ("all", "base", "late", "oracle"):
        raise ValueError(f"{method.name!r} cannot be the name of a method")
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"--method: {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]


# Learning rates: the usual ones for LoRA and for full fine-tuning. An adapter starts at zero and takes at least ten
# times the rate of full weights. DPO takes less than SFT: pushed hard it moves π away from both y and y'. The
# supervised term of the early ensemble keeps π near the data, so its rate lies between. Policy optimisation
# over-optimises as easily as DPO.
register_method(
    Method(
        name="sft",
        label="SFT",
        note="trained to write what people's edits led to",
        needs=frozenset({"edit"}),
        objective="copydesk.training.objectives:compute_sft_loss",
        lora_lr=2e-4,
        full_lr=1e-5,
    )
)
register_method(
    Method(
        name="dpo",
        label="DPO",
        note="trained to prefer each edit to the response it replaced",
        needs=frozenset({"edit", "response"}),
        objective="copydesk.training.objectives:compute_dpo_loss",
        lora_lr=5e-5,
        full_lr=1e-6,
        edited_rows_only=True,
    )
)
register_method(
    Method(
        name="rl",
        label="RL",
        note="trained against a model of the edit cost",
        needs=frozenset({"edit", "response", "cost"}),
        objective=None,
        lora_lr=5e-5,
        full_lr=1e-6,
    )
)
register_method(
    Method(
        name="early",
        label="Early ensemble",
        note="one policy trained on both losses at once",
        needs=frozenset({"edit", "response"}),
        objective="copydesk.training.objectives:compute_early_loss",
        lora_lr=1e-4,
        full_lr=5e-6,
        cost_term=True,
    )
)


def describe_learning_rates() -> str:
    """The default learning rate of every method, for `--help`."""
    lora = ", ".join(f"{method.name} {_format_rate(method.lora_lr)}" for method in METHODS.values())
    full = ", ".join(f"{method.name} {_format_rate(method.full_lr)}" for method in METHODS.values())
    return f"{lora}; with --full {full}"


def _format_rate(rate: float) -> str:
    digits, _, exponent = f"{rate:e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
