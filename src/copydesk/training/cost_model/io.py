"""Save, load and measure cost models: `cost_model.json` describes one, `cost_model.safetensors` has its weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.errors import InputError
from copydesk.model_registry import Dtype, collect_library_versions
from copydesk.models.load import ModelInfo, load_model
from copydesk.training.config import CostModelConfig
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import Triple
from copydesk.training.logprobs import choose_forward, compute_longest_length
from copydesk.training.policy_file import BaseModelRef, CostModelRef


def compute_prediction_metrics(predicted: ArrayLike, costs: ArrayLike, mean: float) -> dict[str, float]:
    """Measure predictions against costs, and compare them with the constant prediction of the mean.

    Args:
        predicted: shape [n].
        costs: shape [n].
        mean: the mean cost of the training rows.

    Returns:
        `mae` and `mae_mean`, the mean absolute error and that of the mean predictor; `bias`, the mean of prediction
        minus cost; `r2`, 1 less the squared error over the mean predictor's; and `rank_correlation`, Spearman's. The
        last two are left out where they are not defined, because all costs or all predictions are the same. Empty
        where there are no rows.
    """
    f, c = np.asarray(predicted, dtype=float), np.asarray(costs, dtype=float)
    if not len(c):
        return {}
    found = {
        "mae": float(np.abs(f - c).mean()),
        "mae_mean": float(np.abs(mean - c).mean()),
        "bias": float((f - c).mean()),
    }
    if total := float(((c - mean) ** 2).sum()):
        found["r2"] = 1 - float(((f - c) ** 2).sum()) / total
    if np.ptp(f) > 0 and np.ptp(c) > 0:
        found["rank_correlation"] = float(np.corrcoef(_compute_ranks(f), _compute_ranks(c))[0, 1])
    return found


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of like prediction: how many, their mean prediction, their mean cost, and that mean's standard error."""

    rows: int
    predicted: float
    cost: float
    error: float


def compute_calibration(predicted: ArrayLike, costs: ArrayLike, most: int = 10) -> list[CalibrationBin]:
    """Whether rows of which a cost is predicted have that cost on average.

    Args:
        predicted: shape [n].
        costs: shape [n].
        most: bins, of about as many rows each and at least five.

    Returns:
        The bins, from the least prediction to the largest.
    """
    f, c = np.asarray(predicted, dtype=float), np.asarray(costs, dtype=float)
    if not len(c):
        return []
    order = np.argsort(f, kind="stable")
    parts: Sequence[NDArray[np.intp]] = np.array_split(order, max(1, min(most, len(c) // 5)))
    return [
        CalibrationBin(
            rows=len(part),
            predicted=float(f[part].mean()),
            cost=float(c[part].mean()),
            error=float(c[part].std(ddof=1) / np.sqrt(len(part))) if len(part) > 1 else 0.0,
        )
        for part in parts
    ]


def _compute_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


COST_MODEL_FILE = "cost_model.json"
COST_MODEL_WEIGHTS = "cost_model.safetensors"
COST_MODEL_FOLDER = "cost_model"
"""Its name in the folder of the policy that was trained with it."""

COST_MODEL_FORMAT = 1


class CostModelFile(BaseModel):
    """The contents of `cost_model.json`.

    Attributes:
        format: version of this layout.
        base: the model the adapters are for.
        settings: every setting of `CostModelConfig`.
        metric: the name of the edit cost that is predicted, or the field the costs were read from.
        data_sha256: hash of the log.
        rows: number of training rows.
        mean: their mean cost.
        longest: tokens of the longest context and answer among them.
        within: which fits are in the confidence set, f̂ first.
        held_out: number of held-out rows.
        fit: metrics of f̂ on them; see `compute_prediction_metrics`.
        pessimistic: metrics of f̄.
        calibration: of f̂; see `CalibrationBin`.
        weights_sha256: hash of `cost_model.safetensors`.
        versions: of the libraries that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = COST_MODEL_FORMAT
    base: BaseModelRef
    settings: dict[str, str | int | float | bool]
    metric: str
    data_sha256: str
    rows: int
    mean: float
    longest: int
    within: list[bool]
    held_out: int
    fit: dict[str, float]
    pessimistic: dict[str, float]
    calibration: list[dict[str, float]]
    weights_sha256: str = ""
    versions: dict[str, str] = Field(default_factory=collect_library_versions)

    def to_ref(self) -> CostModelRef:
        """What the `policy.json` of a policy trained against it says of it."""
        return CostModelRef(
            folder=COST_MODEL_FOLDER,
            sha256=self.weights_sha256,
            metric=self.metric,
            fit=self.fit,
            pessimistic=self.pessimistic,
        )


def build_cost_model_file(
    model: CostModel,
    info: ModelInfo,
    metric: str,
    data_sha256: str,
    train_rows: Sequence[Triple],
    held_out: Sequence[Triple],
) -> CostModelFile:
    """What `cost_model.json` says of a cost model, measured on the held-out rows."""
    return CostModelFile(
        base=BaseModelRef(**asdict(info)),
        settings=model.settings.to_json(),
        metric=metric,
        data_sha256=data_sha256,
        rows=len(train_rows),
        mean=model.initial_cost,
        longest=compute_longest_length(train_rows),
        within=model.within.tolist(),
        weights_sha256=compute_weights_sha256(model),
        **measure_held_out(model, held_out),
    )


def measure_held_out(model: CostModel, held_out: Sequence[Triple]) -> dict[str, Any]:
    """What `CostModelFile` says of held-out rows: `held_out`, `fit`, `pessimistic` and `calibration`."""
    predictions = model.predict([(triple.context, triple.response) for triple in held_out], quiet=False)
    costs = [float(triple.cost or 0.0) for triple in held_out]
    fit, upper = predictions[:, 0].tolist(), model.compute_pessimistic(predictions).tolist()
    return {
        "held_out": len(held_out),
        "fit": compute_prediction_metrics(fit, costs, model.initial_cost),
        "pessimistic": compute_prediction_metrics(upper, costs, model.initial_cost),
        "calibration": [asdict(one) for one in compute_calibration(fit, costs)],
    }


def save_cost_model(model: CostModel, file: CostModelFile, folder: Path) -> None:
    """Write a cost model into a folder that nobody reads yet."""
    folder.mkdir(exist_ok=True)
    (folder / COST_MODEL_WEIGHTS).write_bytes(_serialize(model))
    (folder / COST_MODEL_FILE).write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_cost_model(folder: Path | str) -> CostModelFile:
    """Read `cost_model.json`.

    Raises:
        InputError: there is none, or it is damaged or newer than this Copydesk.
    """
    path = Path(folder) / COST_MODEL_FILE
    try:
        return CostModelFile.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{path}: cannot be read; give a cost model's folder, such as {COST_MODEL_FOLDER} in that of an rl policy"
        ) from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"{path}: damaged, or of a newer Copydesk; make the cost model again") from None


def load_cost_model(folder: Path | str, dtype: Dtype = "auto") -> tuple[CostModel, PreTrainedTokenizerBase]:
    """Load a cost model with its base, ready to predict, and the tokenizer its answers are to be encoded with.

    Raises:
        InputError: a file is missing or damaged, or the base is missing or has changed.
    """
    file = read_cost_model(folder)
    base, tokenizer, info = load_model(file.base.spec, dtype)
    assert isinstance(base, PreTrainedModel)
    if (info.revision, info.weights_sha256) != (file.base.revision, file.base.weights_sha256):
        raise InputError(f"{folder}: its base {file.base.spec} has other weights now; make the cost model again")
    return attach_cost_model(base, file, folder), tokenizer


def attach_cost_model(base: PreTrainedModel, file: CostModelFile, folder: Path | str) -> CostModel:
    """The cost model of a folder, put into its base, which it changes.

    Raises:
        InputError: the weights are missing or damaged.
    """
    settings = CostModelConfig(**file.settings)  # type: ignore[arg-type]
    model = CostModel(base, settings, choose_forward(base, file.longest), file.mean)
    path = Path(folder) / COST_MODEL_WEIGHTS
    try:
        weights = load_file(path)
        if weights.keys() != get_trained_weights(model).keys():
            raise ValueError("it is of another model")
        model.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, ValueError, RuntimeError) as exc:
        raise InputError(f"{path}: cannot be used ({exc}); make the cost model again") from None
    model.within.copy_(torch.tensor(file.within))
    return model


def compute_weights_sha256(model: CostModel) -> str:
    """The hash that `cost_model.safetensors` has, or would have."""
    return hashlib.sha256(_serialize(model)).hexdigest()


def _serialize(model: CostModel) -> bytes:
    weights = {name: weight.detach().contiguous().cpu() for name, weight in get_trained_weights(model).items()}
    return save(weights, {"format": "pt"})


def get_trained_weights(model: CostModel) -> dict[str, torch.Tensor]:
    """The weights of the adapters and the head, by name."""
    return {name: weight for name, weight in model.named_parameters() if ".lora_" in name or name.startswith("head.")}
