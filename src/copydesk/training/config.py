"""Settings of a training run: the policy's, the cost model's and those of policy optimisation.

Each setting is one field, with its default, range, help text and flag; `copydesk train`, error messages and
`policy.json` are made from the fields. The defaults suit models of 0.1 to 8 billion parameters.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from copydesk.data.cost import CostNormalization, CostUnit
from copydesk.errors import InputError
from copydesk.method_registry import METHODS, describe_learning_rates, get_method
from copydesk.model_registry import Dtype
from copydesk.training.row_weights import parse_row_weighting
from copydesk.utils.config import Config, Flag, Real

JsonValue = str | int | float | bool | None

Pessimism = Literal["max", "std", "none"]
"""How f̄ is made from f̂ and the members: their maximum, f̂ + κ × spread, or f̂ itself; see `compute_pessimistic_cost`."""

_COSTS = "Costs (rl, and early with --lambda-cost)"
_COST_MODEL = "Cost model (rl)"
_RL = "Policy optimisation (rl)"

# The fields that define a cost; the others are about the model of it.
_COST_FIELDS = {"source", "unit", "normalize", "c_max"}


class CostModelConfig(Config):
    """Settings of learning from costs: what a cost is, and how the cost model is fitted.

    Attributes:
        source: where a row's cost comes from: `edit`, its Δ_edit, or `field:NAME`, the number in `metadata[NAME]`.
        unit: what Δ_edit counts; a sub-token is one of the model's own.
        normalize: what Δ_edit is divided by.
        c_max: the largest possible cost. Divided by its length, a very short response could cost many times 1, and a
            few such rows would dominate a squared loss. A larger Δ_edit counts as this much; a larger number in a
            field is an error.
        members: K, the fits on bootstrap resamples of the log, in addition to f̂, the fit on the log itself.
        prior: how far apart members start, in standard deviations of the costs; see `CostModel.randomize_members`. 0
            starts all at the mean cost; far above the default they do not agree on the log after training either.
        epochs: passes over the log. A head and adapters that start at the mean cost need more than a policy does.
        learning_rate: the peak rate of the adapters and the head.
        rows_per_step: rows of an optimizer step, over all processes.
        layers: the share of the decoder's layers, from the top, in which members have adapters; the others are computed
            once for all members. Half is nearly as good as all, in half the time.
        lora_r: the adapters' rank; they are scaled by 2.
        free_rows: learn also that y' costs 0. True where the user would leave y' alone; but a weak user would go on
            editing it, nobody was asked, and telling human text from a machine's does not predict a cost.
        pessimism: how f̄ is made. Where policies were over-optimised, `std` was exploited least (docs/costs.md).
        gamma: γ: a member counts if its squared error on the log exceeds f̂'s by at most this share of the costs'
            variance.
        kappa: κ of `std`.

    Raises:
        InputError: a value is not allowed; the message names the flag.
    """

    source: Annotated[
        str,
        Flag("--costs", panel=_COSTS),
        Field(description="Source of the costs: edit (computed from the edit) or field:NAME (a number in metadata)."),
    ] = "edit"
    unit: Annotated[
        CostUnit, Flag("--cost-unit", panel=_COSTS), Field(description="Unit in which an edit's cost is counted.")
    ] = "subtoken"
    normalize: Annotated[
        CostNormalization,
        Flag("--cost-normalize", panel=_COSTS),
        Field(description="Text whose length divides an edit's cost."),
    ] = "response"
    c_max: Annotated[
        Real, Flag(panel=_COSTS), Field(gt=0, description="Largest possible cost; a larger edit cost is cut to it.")
    ] = 3.0
    members: Annotated[
        int,
        Flag(panel=_COST_MODEL),
        Field(ge=0, description="Number of fits on bootstrap resamples, in addition to the fit on the log."),
    ] = 4
    prior: Annotated[
        Real,
        Flag(panel=_COST_MODEL),
        Field(ge=0, description="Spread of the members' random start, in standard deviations of the costs."),
    ] = 4.0
    epochs: Annotated[
        Real,
        Flag("--cost-epochs", panel=_COST_MODEL),
        Field(gt=0, description="Passes over the log to fit the cost model."),
    ] = 4.0
    learning_rate: Annotated[
        Real,
        Flag("--cost-lr", panel=_COST_MODEL),
        Field(gt=0, description="Peak learning rate of the cost model."),
    ] = 1e-3
    rows_per_step: Annotated[
        int,
        Flag("--cost-rows-per-step", panel=_COST_MODEL),
        Field(gt=0, description="Rows per optimizer step of the cost model."),
    ] = 16
    layers: Annotated[
        Real,
        Flag("--cost-layers", panel=_COST_MODEL),
        Field(gt=0, le=1, description="Share of the layers, from the top, that get the cost model's adapters."),
    ] = 0.5
    lora_r: Annotated[
        int, Flag("--cost-lora-r", panel=_COST_MODEL), Field(gt=0, description="Rank of the cost model's adapters.")
    ] = 8
    free_rows: Annotated[
        bool,
        Flag("--free-rows", panel=_COST_MODEL),
        Field(description="Also learn that an edit itself costs 0, although nobody was asked to edit it again."),
    ] = False
    pessimism: Annotated[
        Pessimism,
        Flag(panel=_COST_MODEL),
        Field(
            description="Cost the policy pays: the largest that the fits agree on (max), the fit + kappa x spread "
            "(std), or the fit (none)."
        ),
    ] = "std"
    gamma: Annotated[
        Real,
        Flag(panel=_COST_MODEL),
        Field(
            ge=0,
            description="Leave out members whose squared error on the log is larger than the fit's by more than this "
            "share of the costs' variance (--pessimism max).",
        ),
    ] = 0.1
    kappa: Annotated[
        Real, Flag(panel=_COST_MODEL), Field(ge=0, description="Multiplier of the spread (--pessimism std).")
    ] = 1.0

    @field_validator("source")
    @classmethod
    def _check_source(cls, value: str) -> str:
        if value != "edit" and not (value.startswith("field:") and value.removeprefix("field:")):
            raise InputError(f"--costs: {value!r} is not one of edit, field:NAME")
        return value

    @property
    def field(self) -> str:
        """The field of `metadata` that holds the costs; empty where they are computed."""
        return self.source.removeprefix("field:") if self.source.startswith("field:") else ""

    def to_json(self, *, model: bool = True) -> dict[str, str | int | float | bool]:
        """Every setting by name; without `model` only those that define a cost."""
        return self.model_dump(include=None if model else _COST_FIELDS)


VllmMode = Literal["off", "colocate", "server"]
"""What generates responses in policy optimisation: the policy itself, vLLM in the same process, or a vLLM server."""


class RlConfig(Config):
    """Settings of policy optimisation that no other method has.

    Attributes:
        epochs: passes over the log's contexts. Each draws fresh responses, and more passes exploit the cost model more.
        responses: the policy's responses of an optimizer step, over all processes.
        generations: responses to each context in a step; the baseline of each is the mean reward of the others.
        max_new_tokens: where a response that does not end is cut off, for which it pays the largest cost. `None` is
            the longest answer in the log.
        cost_model: the folder of a cost model fitted earlier; `None` fits one first.
        vllm: generate responses with vLLM, as TRL offers it; `server` is one started with `trl vllm-serve`.
        vllm_url: address of that server.

    Raises:
        InputError: a value is not allowed; the message names the flag.
    """

    epochs: Annotated[
        Real, Flag("--rl-epochs", panel=_RL), Field(gt=0, description="Passes over the contexts of the log.")
    ] = 1.0
    responses: Annotated[
        int, Flag(panel=_RL), Field(gt=0, description="Responses per optimizer step; a multiple of --generations.")
    ] = 64
    generations: Annotated[
        int, Flag(panel=_RL), Field(ge=2, description="Responses to each context in an optimizer step.")
    ] = 4
    max_new_tokens: Annotated[
        int | None,
        Flag(default_text="the longest answer of the log", panel=_RL),
        Field(gt=0, description="Length at which a response is cut off; a response that is cut off pays --c-max."),
    ] = None
    cost_model: Annotated[
        str | None,
        Flag(panel=_COST_MODEL),
        Field(description="Folder of a cost model fitted earlier, to use with its own settings."),
    ] = None
    vllm: Annotated[VllmMode, Flag(panel=_RL), Field(description="How to generate responses with vLLM.")] = "off"
    vllm_url: Annotated[
        str | None, Flag(panel=_RL), Field(description="Address of the `trl vllm-serve` server (--vllm server).")
    ] = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.responses % self.generations:
            raise InputError(
                f"--responses: {self.responses} must be a multiple of --generations ({self.generations}), because each "
                "response is compared with the others to its context"
            )
        if self.vllm_url is not None and self.vllm != "server":
            raise InputError("--vllm-url: an address needs --vllm server; give both or neither")
        return self


PreferenceForm = Literal["sigmoid", "ipo", "robust", "dpop"]
"""The loss of a pair y', y; see `copydesk.training.objectives`."""


class TrainConfig(Config):
    """Every setting of a training run; `policy.json` keeps them all.

    Attributes:
        method: a name in `copydesk.method_registry.METHODS`.
        epochs: passes over the log. Logs of edits are small; three passes fit them without learning them by heart.
            `rl` has epochs of its own, in `rl`.
        max_steps: stop after this many optimizer steps, whatever `epochs` says.
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
        dpop_penalty: for `dpop`, the weight of y' becoming less likely than under π_ref; 50 as in its paper.
        lambda_sup: λ of the early ensemble.
        lambda_cost: the weight of its cost term; 0, as in the paper, leaves it out.
        weigh: how rows are weighted in every mean, as `compute_row_weights` takes it; `None` weighs all alike.
        full: train all weights instead of an adapter.
        lora_r: the adapter's rank, on every linear layer; more than 16 stops helping on small logs.
        lora_alpha: the adapter is scaled by `lora_alpha / lora_r`; twice the rank is the usual choice.
        lora_dropout: 0, because π_ref is measured without dropout and the ratio to it should start at exactly 1.
        max_length: the most tokens of context and answer together; longer contexts lose their beginning.
        cut_answers: cut the end of an answer that alone is longer; otherwise its row is left out.
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
        InputError: a value is not allowed; the message names the flag.
    """

    method: Annotated[str, Field(description="Training method.")] = "early"
    epochs: Annotated[Real, Field(gt=0, description="Passes over the log (all methods but rl).")] = 3.0
    max_steps: Annotated[
        int | None,
        Flag(default_text="as --epochs says"),
        Field(gt=0, description="Stop after this number of optimizer steps."),
    ] = None
    learning_rate: Annotated[
        Real | None,
        Flag("--lr", default_text=describe_learning_rates()),
        Field(gt=0, description="Peak learning rate."),
    ] = None
    warmup_ratio: Annotated[
        Real,
        Flag("--warmup"),
        Field(ge=0, lt=1, description="Share of the steps over which the learning rate rises to its peak."),
    ] = 0.03
    batch_size: Annotated[
        int, Field(gt=0, description="Rows per forward pass on each device; with rl, the policy's own responses.")
    ] = 4
    accumulate: Annotated[
        int,
        Flag("--gradient-accumulation-steps", "--accumulate"),
        Field(gt=0, description="Forward passes per optimizer step (all methods but rl)."),
    ] = 4
    clip: Annotated[
        Real,
        Flag("--max-grad-norm", "--clip"),
        Field(gt=0, description="Largest norm of the gradient; larger gradients are scaled down."),
    ] = 1.0
    beta: Annotated[
        Real, Field(gt=0, description="Strength of the pull towards the reference policy (all methods but sft).")
    ] = 0.1
    preference: Annotated[
        PreferenceForm, Field(description="Form of the preference loss (dpo, early); sigmoid is DPO's own.")
    ] = "sigmoid"
    label_noise: Annotated[
        Real,
        Field(ge=0, lt=0.5, description="Share of edits believed to be no better than the response (robust)."),
    ] = 0.1
    dpop_penalty: Annotated[
        Real, Field(ge=0, description="Weight of the penalty on edits that become less likely (dpop).")
    ] = 50.0
    lambda_sup: Annotated[Real, Field(ge=0, description="Weight of the supervised term (early).")] = 1.0
    lambda_cost: Annotated[
        Real,
        Field(ge=0, description="Weight of the offline cost term (early); 0 leaves it out, as the paper does."),
    ] = 0.0
    weigh: Annotated[
        str | None,
        Flag("--row-weighting", "--weigh", default_text="all rows alike"),
        Field(
            description="Row weights: user (every user has the same total), recency:DAYS (half-life), or field:NAME "
            "(a number in metadata)."
        ),
    ] = None
    full: Annotated[bool, Flag("--full"), Field(description="Train all weights instead of a LoRA adapter.")] = False
    lora_r: Annotated[int, Field(gt=0, description="Rank of the LoRA adapter.")] = 16
    lora_alpha: Annotated[int, Field(gt=0, description="The LoRA adapter is scaled by alpha / r.")] = 32
    lora_dropout: Annotated[Real, Field(ge=0, lt=1, description="Dropout in the LoRA adapter.")] = 0.0
    max_length: Annotated[
        int, Field(ge=2, description="Most tokens of context and answer; a longer context loses its beginning.")
    ] = 1024
    cut_answers: Annotated[
        bool,
        Flag("--cut-answers"),
        Field(description="Cut answers longer than --max-length; by default their rows are left out."),
    ] = False
    row_tokens: Annotated[
        int | None,
        Flag(default_text="what suits the device"),
        Field(gt=0, description="Tokens up to which a packed row is filled."),
    ] = None
    held_out: Annotated[
        Real, Field(ge=0, lt=1, description="Share of the rows kept out of training to measure the policy on.")
    ] = 0.1
    seed: Annotated[
        int, Field(description="Seed of the held-out split, the initial adapter weights and the order of the rows.")
    ] = 0
    dtype: Annotated[Dtype, Field(description="Precision of the weights; auto chooses what suits the device.")] = "auto"
    checkpointing: Annotated[
        bool,
        Flag("--checkpointing"),
        Field(description="Recompute activations in the backward pass: less memory, more time."),
    ] = False
    save_every: Annotated[
        Real,
        Field(gt=0, description="Optimizer steps between checkpoints or, below 1, the share of the run between them."),
    ] = 0.1
    cost: CostModelConfig = CostModelConfig()
    rl: RlConfig = RlConfig()

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        return get_method(value).name

    @field_validator("weigh")
    @classmethod
    def _check_weigh(cls, value: str | None) -> str | None:
        if value is not None:
            parse_row_weighting(value)
        return value

    @field_validator("save_every")
    @classmethod
    def _check_save_every(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise InputError(f"--save-every: {value} must be a whole number of steps, or a share below 1")
        return value

    @property
    def effective_learning_rate(self) -> float:
        """The peak learning rate: the one given, or else the default of the method."""
        if self.learning_rate is not None:
            return self.learning_rate
        method = METHODS[self.method]
        return method.full_lr if self.full else method.lora_lr

    @property
    def uses_costs(self) -> bool:
        """Whether the method learns from what edits cost."""
        method = METHODS[self.method]
        return "cost" in method.needs or (method.cost_term and self.lambda_cost > 0)

    def preference_options(self) -> dict[str, Any]:
        """The preference objective's keyword arguments."""
        return {
            "beta": self.beta,
            "form": self.preference,
            "label_noise": self.label_noise,
            "dpop_penalty": self.dpop_penalty,
        }

    def to_json(self) -> dict[str, JsonValue]:
        """Every setting as `policy.json` keeps it, with the learning rate that was used.

        Settings of costs and of policy optimisation are added as `cost.NAME` and `rl.NAME` if the method reads them.
        """
        on_policy = METHODS[self.method].on_policy
        flat = self.model_dump(exclude={"cost", "rl"}) | {"learning_rate": self.effective_learning_rate}
        if self.uses_costs:
            flat |= {f"cost.{name}": value for name, value in self.cost.to_json(model=on_policy).items()}
        if on_policy:
            flat |= {f"rl.{name}": value for name, value in self.rl.model_dump().items()}
        return flat
