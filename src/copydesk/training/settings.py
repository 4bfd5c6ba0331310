"""What learning from cost can be told: what a cost is, and how the model of it is made."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from copydesk.data.cost import CostNormalization, CostUnit
from copydesk.errors import InputError

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
