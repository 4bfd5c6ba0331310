"""What a training run can be told, with defaults that suit models of 0.1 to 8 billion parameters.

What learning from cost can be told: what a cost is, and how the model of it is made.

What policy optimisation can be told.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from copydesk.data.cost import CostNormalization, CostUnit
from copydesk.errors import InputError
from copydesk.model_registry import Dtype
from copydesk.training.row_weights import parse_row_weighting

Pessimism = Literal["max", "std", "none"]
"""How f̄ is made of f̂ and the members: their maximum, f̂ + κ x spread, or f̂ itself; see `pessimism`."""

# What a cost is; the rest is about the model of it.
_COST_FIELDS = ("source", "unit", "normalize", "c_max")


@dataclass(frozen=True)
class CostModelConfig:
    """Every setting of learning from cost.

    Attributes:
        source: where a row's cost comes from: `edit`, its Δ_edit, or `field:NAME`, the number in `metadata[NAME]`.
        unit: what Δ_edit counts; a sub-token is one of the model's own.
        normalize: what Δ_edit is divided by.
        c_max: the largest cost there is. Divided by its length, a very short response could cost many times 1, and a
            few such rows would be all that a squared loss sees. A larger Δ_edit counts as this much; a larger number
            in a field is a fault.
        members: K, the fits on bootstrap resamples of the log, beside f̂, the one on the log itself.
        prior: how far apart members start, in standard deviations of the costs; see `CostModel.randomize_members`. 0
            starts all at the mean cost; with much more than the default they do not come together on the log either.
        epochs: passes over the log. A head and adapters that start at the mean cost need more than a policy does.
        learning_rate: the peak rate of the adapters and the head.
        rows_per_step: rows of an optimizer step, of all processes together.
        layers: the share of the decoder's layers, from the top, that members have adapters in; the others are computed
            once for all. Half is nearly as good as all, in half the time.
        lora_r: the adapters' rank, which are scaled by 2.
        free_rows: learn also that y' costs 0. True where the user would leave y' alone; but a weak user would go on
            editing it, no one was asked, and telling people's texts from a machine's is not telling what costs.
        pessimism: how f̄ is made. Where policies were pushed too far, `std` was exploited least (docs/costs.md).
        gamma: γ: of the members, those count whose squared error on the log is above f̂'s by at most this share of
            the costs' variance.
        kappa: κ of `std`.

    Raises:
        InputError: a value makes no sense; the message names the setting.
    """

    source: str = "edit"
    unit: CostUnit = "subtoken"
    normalize: CostNormalization = "response"
    c_max: float = 3.0
    members: int = 4
    prior: float = 4.0
    epochs: float = 4.0
    learning_rate: float = 1e-3
    rows_per_step: int = 16
    layers: float = 0.5
    lora_r: int = 8
    free_rows: bool = False
    pessimism: Pessimism = "std"
    gamma: float = 0.1
    kappa: float = 1.0

    def __post_init__(self) -> None:
        for name, choices in (("unit", CostUnit), ("normalize", CostNormalization), ("pessimism", Pessimism)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"cost {name}: {getattr(self, name)!r} is not one of {', '.join(get_args(choices))}")
        if self.source != "edit" and not self.field:
            raise InputError(f"cost source: {self.source!r} is not one of edit, field:NAME")
        for name in ("c_max", "epochs", "learning_rate", "rows_per_step", "lora_r"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"cost {name}: {getattr(self, name)} must be greater than 0")
        for name in ("members", "prior", "gamma", "kappa"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"cost {name}: {getattr(self, name)} must be at least 0")
        if not 0 < self.layers <= 1:
            raise InputError(f"cost layers: {self.layers} must be greater than 0 and at most 1")

    @property
    def field(self) -> str:
        """The field of `metadata` that holds the costs; empty where they are computed."""
        kind, _, name = self.source.partition(":")
        return name if kind == "field" else ""

    def to_json(self, *, model: bool = True) -> dict[str, str | int | float | bool]:
        """Every setting by name; without `model` only those that say what a cost is."""
        return {name: value for name, value in asdict(self).items() if model or name in _COST_FIELDS}


VllmMode = Literal["off", "colocate", "server"]
"""Who writes the policy's responses while it learns: the policy itself, vLLM beside it, or a vLLM server."""


@dataclass(frozen=True)
class RlConfig:
    """Every setting of policy optimisation that no other method has.

    Attributes:
        epochs: passes over the log's contexts. Each draws fresh responses, and more passes exploit the cost model more.
        responses: the policy's responses of an optimizer step, of all processes together.
        generations: responses to each context in a step; each one's baseline is the mean reward of the others.
        max_new_tokens: where a response that does not end is cut off, for which it pays the largest cost. `None` is
            the longest answer in the log.
        cost_model: the folder of a cost model made earlier; `None` makes one first.
        vllm: write responses with vLLM, as TRL offers it; `server` is one started with `trl vllm-serve`.
        vllm_url: where that server is.

    Raises:
        InputError: a value makes no sense; the message names the setting.
    """

    epochs: float = 1.0
    responses: int = 64
    generations: int = 4
    max_new_tokens: int | None = None
    cost_model: str | None = None
    vllm: VllmMode = "off"
    vllm_url: str | None = None

    def __post_init__(self) -> None:
        if self.generations < 2:
            raise InputError(f"generations: {self.generations} must be at least 2, each is measured against the others")
        if not 0 < self.epochs < float("inf"):
            raise InputError(f"rl epochs: {self.epochs} must be greater than 0")
        if self.responses < 1 or self.responses % self.generations:
            raise InputError(f"responses: {self.responses} must be a multiple of generations ({self.generations})")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens: {self.max_new_tokens} must be at least 1")
        if self.vllm not in get_args(VllmMode):
            raise InputError(f"vllm: {self.vllm!r} is not one of {', '.join(get_args(VllmMode))}")
        if self.vllm_url is not None and self.vllm != "server":
            raise InputError("vllm_url: there is an address only with vllm server; give both or neither")


Method = Literal["sft", "dpo", "rl", "early"]
"""How to learn from edits: supervised on y', by preference of y' over y, from their cost, or from several at once."""

METHODS: tuple[Method, ...] = get_args(Method)
"""All of them, in the order in which they are trained and in which a late ensemble first tries them."""

PreferenceForm = Literal["sigmoid", "ipo", "robust", "dpop"]
"""What the preference of y' over y costs when it is not met; see `copydesk.training.objectives`."""


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
        """What `compute_early_ensemble_loss` is told of costs, by the names of its arguments: nothing unless the method
        uses them.

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
