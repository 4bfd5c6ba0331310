"""Costs of a log's rows, computed from the edits or read from a metadata field."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from copydesk import embedded
from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.model_registry import cache_folder
from copydesk.training.config import CostModelConfig
from copydesk.training.encode import Triple
from copydesk.utils.atomic import atomic_write


def compute_row_costs(
    records: Iterable[EditRecord], settings: CostModelConfig, metric: EditCost | None
) -> dict[str, float]:
    """The cost of every row whose edit is known, by its id.

    Args:
        records: the log.
        settings: where costs come from, and c_max.
        metric: computes them, capped at c_max; `None` where they come from a field.

    Raises:
        InputError: a field holds something that is no cost; the row is named.
    """
    rows = [record for record in records if record.edit is not None]
    if metric is not None:
        costs = metric.cost_batch([(record.response, str(record.edit)) for record in rows])
        return {record.id: cost for record, cost in zip(rows, costs, strict=True)}
    name = settings.field
    for record in rows:
        if name not in record.metadata:
            raise InputError(f"row {record.id!r}: metadata[{name!r}] is missing; log its cost, or leave the row out")
        _check_cost(record.id, record.metadata[name], settings.c_max, f"metadata[{name!r}]")
    return {record.id: float(record.metadata[name]) for record in rows}


def compute_mean_cost(triples: Sequence[Triple]) -> float:
    """The weighted mean cost of rows that have costs and weigh something."""
    total = math.fsum(triple.weight for triple in triples)
    return math.fsum(triple.weight * float(triple.cost or 0.0) for triple in triples) / total


def check_costs(triples: Sequence[Triple], c_max: float) -> None:
    """Refuse rows without a cost, or with one that is none.

    Raises:
        InputError: a cost is missing, not a finite number, negative or above c_max; the row is named.
    """
    for triple in triples:
        _check_cost(triple.id, triple.cost, c_max, "the cost")


def build_cost_metric(model: str, tokenizer: PreTrainedTokenizerBase, settings: CostModelConfig) -> EditCost | None:
    """Δ_edit as the settings want it, counted in the sub-tokens of a model; `None` where costs come from a field.

    Args:
        model: as `load_model` takes it.
        tokenizer: of that model. One that came out of a GGUF file is kept in the cache, where Δ_edit can read it.
        settings: unit, normalisation and c_max.

    Raises:
        InputError: sub-tokens are asked for, and the tokenizer cannot be read without its model.
    """
    if settings.field:
        return None
    name = model
    if settings.unit == "subtoken" and not _has_readable_tokenizer(model):
        if not tokenizer.is_fast:
            raise InputError("this model's tokenizer cannot count an edit's sub-tokens; count words: --cost-unit word")
        contents = tokenizer.backend_tokenizer.to_str()
        path = cache_folder() / "tokenizers" / f"{Path(model).stem}.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != contents:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                reason = (exc.strerror or str(exc)).lower()
                raise InputError(
                    f"{path.parent}: cannot be written ({reason}), and Δ_edit needs the tokenizer there; point "
                    "COPYDESK_CACHE at a folder you may write to"
                ) from None
            with atomic_write(path) as file:
                file.write(contents)
        name = str(path)
    return EditCost(unit=settings.unit, normalize=settings.normalize, cap=settings.c_max, tokenizer=name)


def _has_readable_tokenizer(model: str) -> bool:
    """Whether `EditCost` can count this model's sub-tokens by its name."""
    path = Path(model).expanduser()
    return model == embedded.NAME or not path.exists() or (path / "tokenizer.json").is_file()


def _check_cost(row: str, cost: object, c_max: float, what: str) -> None:
    # JSON's true is a number to Python.
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < float("inf"):
        raise InputError(f"row {row!r}: {what} is {cost!r}; a cost is a finite number of at least 0")
    if cost > c_max:
        raise InputError(f"row {row!r}: {what} is {cost}, above the largest there is; raise --c-max (now {c_max})")
