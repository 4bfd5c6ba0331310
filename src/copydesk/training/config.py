"""What a training run can be told, with defaults that suit models of 0.1 to 8 billion parameters."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from copydesk.errors import InputError
from copydesk.training.rl_settings import RlConfig
from copydesk.training.row_weights import parse_row_weighting
from copydesk.training.settings import CostModelConfig

Method = Literal["sft", "dpo", "rl", "early"]
"""How to learn from edits: supervised on y', by preference of y' over y, from their cost, or from several at once."""

METHODS: tuple[Method, ...] = get_args(Method)
"""All of them, in the order in which they are trained and in which a late ensemble first tries them."""

PreferenceForm = Literal["sigmoid", "ipo", "robust", "dpop"]
"""What the preference of y' over y costs when it is not met; see `copydesk.training.objectives`."""

Dtype = Literal["auto", "float32", "bfloat16"]

# The rates people use for LoRA and for full fine-tuning. An adapter starts from nothing and takes ten times the rate of
# full weights. DPO takes less than SFT: pushed hard it moves π away from both y and y'. The joint loss is held on
# the data by its supervised term, so it stands between. Policy optimisation is as easily pushed too far as DPO.
_LORA_LEARNING_RATES: dict[Method, float] = {"sft": 2e-4, "dpo": 5e-5, "rl": 5e-5, "early": 1e-4}
_FULL_LEARNING_RATES: dict[Method, float] = {"sft": 1e-5, "dpo": 1e-6, "rl": 1e-6, "early": 5e-6}


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run; `policy.json` keeps them all.

    Attributes:
        method: `sft`, `dpo`, `rl` or `early`.
        epochs: passes over the log. Logs of edits are small; three passes fit them without learning them by heart.
            `rl` has epochs of its own, in `rl`.
        max_steps: stop after so many optimizer steps, whatever `epochs` says.
        learning_rate: the peak rate; `None` takes the default of the method and of LoRA or full weights (see
            `effective_learning_rate`).
        warmup_ratio: the share of the steps over which the rate rises to its peak; it then falls as a cosine to zero.
        batch_size: triples in one forward pass, on each device; with `rl`, the policy's own responses.
        accumulate: passes added up to one optimizer step; 4 x 4 is the usual 16 and fits an 8B model on one large GPU.
            `rl` adds up as many as its `responses` need.
        clip: the largest norm of the gradient. log π is a sum over tokens, so gradients are large and most are clipped.
        beta: β, the pull towards π_ref in every method but `sft`; 0.1 as in DPO's paper and most recipes.
        preference: the form of the preference loss: `sigmoid` is DPO; `ipo`, `robust` and `dpop` are in `objectives`.
        label_noise: for `robust`, the share of rows whose y' is believed to be no better than y; less than a half.
        dpop_penalty: for `dpop`, the weight of letting y' become less likely than under π_ref; 50 as in its paper.
        lambda_sup: λ of the early ensemble.
        lambda_cost: the weight of its cost term; 0, as in the paper, leaves it out.
        weigh: how rows are weighted in every mean, as `compute_row_weights` takes it; `None` weighs all alike.
        full: train all weights instead of an adapter.
        lora_r: the adapter's rank, on every linear layer; 16 is where more stops helping on small logs.
        lora_alpha: the adapter is scaled by `lora_alpha / lora_r`; twice the rank is the usual choice.
        lora_dropout: 0, because π_ref is measured without dropout and the ratio to it should start at exactly 1.
        max_length: the most tokens of context and answer together; longer contexts lose their beginning.
        cut_answers: let an answer that alone is longer lose its end; otherwise its row is left out.
        row_tokens: the tokens of a packed row, filled with triples (a longer triple has a row of its own). `None` is
            the longest triple of the batch where attention costs their square (CPU), and without limit where a block
            mask skips what is masked (FlexAttention on CUDA).
        held_out: the share of the rows that is not trained on but measured before and after.
        seed: decides the split, the adapter's first weights and the order of the rows.
        dtype: of the weights. `auto` is float32 on CPU; on CUDA bfloat16 under an adapter (whose own weights stay
            float32), and float32 for full weights, whose small updates bfloat16 would round away.
        checkpointing: recompute activations in the backward pass; less memory, about a third more time.
        save_every: how often a checkpoint is kept to resume from: a share of the run below 1, else optimizer steps.
        cost: what a cost is, for `rl` and where `lambda_cost` is above 0, and, for `rl`, the cost model.
        rl: policy optimisation.

    Raises:
        InputError: a value makes no sense; the message names the setting.
    """

    method: Method = "early"
    epochs: float = 3.0
    max_steps: int | None = None
    learning_rate: float | None = None
    warmup_ratio: float = 0.03
    batch_size: int = 4
    accumulate: int = 4
    clip: float = 1.0
    beta: float = 0.1
    preference: PreferenceForm = "sigmoid"
    label_noise: float = 0.1
    dpop_penalty: float = 50.0
    lambda_sup: float = 1.0
    lambda_cost: float = 0.0
    weigh: str | None = None
    full: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    max_length: int = 1024
    cut_answers: bool = False
    row_tokens: int | None = None
    held_out: float = 0.1
    seed: int = 0
    dtype: Dtype = "auto"
    checkpointing: bool = False
    save_every: float = 0.1
    cost: CostModelConfig = field(default_factory=CostModelConfig)
    rl: RlConfig = field(default_factory=RlConfig)

    def __post_init__(self) -> None:
        for name, choices in (("method", Method), ("dtype", Dtype), ("preference", PreferenceForm)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(get_args(choices))}")
        positive = {"epochs", "max_steps", "learning_rate", "batch_size", "accumulate", "clip", "beta"}
        for name in sorted(positive | {"lora_r", "lora_alpha", "row_tokens", "save_every"}):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name}: {value} must be greater than 0")
        for name in ("warmup_ratio", "lora_dropout", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} must be at least 0 and less than 1")
        for name in ("lambda_sup", "lambda_cost", "dpop_penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name}: {getattr(self, name)} must be at least 0")
        if self.weigh is not None:
            parse_row_weighting(self.weigh)
        if not 0 <= self.label_noise < 0.5:
            raise InputError(f"label_noise: {self.label_noise} must be at least 0 and less than a half")
        if self.save_every > 1 and self.save_every != int(self.save_every):
            raise InputError(f"save_every: {self.save_every} must be a whole number of steps, or a share below 1")
        if self.max_length < 2:
            raise InputError(f"max_length: {self.max_length} must be at least 2, one token to read and one to write")

    @property
    def effective_learning_rate(self) -> float:
        """The peak learning rate: the one given, else the default of the method."""
        if self.learning_rate is not None:
            return self.learning_rate
        return (_FULL_LEARNING_RATES if self.full else _LORA_LEARNING_RATES)[self.method]

    @property
    def uses_costs(self) -> bool:
        """Whether the method learns from what edits cost."""
        return self.method == "rl" or (self.method == "early" and self.lambda_cost > 0)

    def preference_options(self) -> dict[str, Any]:
        """What the preference objectives are told of these settings, by the names of their arguments."""
        return {
            "beta": self.beta,
            "form": self.preference,
            "label_noise": self.label_noise,
            "dpop_penalty": self.dpop_penalty,
        }

    def cost_options(self, costs: Any, baseline_value: float) -> dict[str, Any]:
        """What `compute_early_ensemble_loss` is told of costs, by the names of its arguments: nothing unless the method uses them.

        Args:
            costs: of the rows, shape [B].
            baseline_value: V of `compute_offline_cost_loss`.
        """
        return (
            {"lambda_cost": self.lambda_cost, "costs": costs, "baseline_value": baseline_value}
            if self.uses_costs
            else {}
        )

    def to_json(self) -> dict[str, str | int | float | bool | None]:
        """Every setting as `policy.json` keeps it, the learning rate as it was used.

        Those of costs and of policy optimisation stand there as `cost.NAME` and `rl.NAME`, where the method reads them.
        """
        own = [one.name for one in fields(self) if one.name not in ("cost", "rl")]
        flat = {name: getattr(self, name) for name in own} | {"learning_rate": self.effective_learning_rate}
        if self.uses_costs:
            flat |= {f"cost.{name}": value for name, value in self.cost.to_json(model=self.method == "rl").items()}
        if self.method == "rl":
            flat |= {f"rl.{name}": value for name, value in asdict(self.rl).items()}
        return flat
