"""The `rl` method from end to end: a cost model, made or loaded, then policy optimisation against it."""

import copy as copying
import logging
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from copydesk.errors import InputError
from copydesk.models.generate import generate
from copydesk.training import distributed
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.cost_model.io import (
    COST_MODEL_FILE,
    COST_MODEL_FOLDER,
    CostModelFile,
    attach_cost_model,
    build_cost_model_file,
    read_cost_model,
    save_cost_model,
)
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import find_end_of_turn
from copydesk.training.fit import FitResult
from copydesk.training.prepare import TrainingInputs
from copydesk.training.rl.fit import check_not_sharded, fit_rl
from copydesk.training.rl.reward import predict_costs
from copydesk.training.rl.trainer import resolve_max_new_tokens
from copydesk.training.scoring import score_triples
from copydesk.utils.staging import atomic_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RlResult:
    """What policy optimisation gives.

    Attributes:
        fitted: the policy.
        cost_model: what it was trained against.
        file: what `cost_model.json` says of that.
        before: figures of the reference policy's own responses to the held-out contexts; see `compute_sampled_metrics`.
        after: the same of the policy.
    """

    fitted: FitResult
    cost_model: CostModel
    file: CostModelFile
    before: dict[str, float]
    after: dict[str, float]


def train_rl(prepared: TrainingInputs, settings: TrainConfig, checkpoints: Path, *, copy: bool) -> RlResult:
    """Make or load a cost model, then optimise the policy against it, each from its checkpoint if there is one.

    Args:
        prepared: model, rows and costs.
        settings: of the run.
        checkpoints: the run's folder.
        copy: as for `fit`.

    Raises:
        InputError: as `fit_cost_model` and `fit_rl`; or the cost model that was given is for another model.
        Interrupted: a signal came; what was learnt is in the folder.
    """
    check_not_sharded()
    cost_model, file = _prepare_cost_model(prepared, settings, checkpoints)
    before = compute_sampled_metrics(prepared, settings, cost_model, None)
    fitted = fit_rl(
        prepared.model,
        prepared.tokenizer,
        prepared.train_rows,
        cost_model,
        settings,
        copy=copy,
        forward=prepared.forward,
        checkpoints=checkpoints,
    )
    return RlResult(
        fitted, cost_model, file, before, compute_sampled_metrics(prepared, settings, cost_model, fitted.model)
    )


def compute_sampled_metrics(
    prepared: TrainingInputs, settings: TrainConfig, cost_model: CostModel, policy: PreTrainedModel | PeftModel | None
) -> dict[str, float]:
    """What a policy's own responses to the held-out contexts are predicted to cost, one response to each.

    Args:
        prepared: π_ref, rows and tokenizer.
        settings: of the run; its seed is the luck of the responses, the same for every policy.
        cost_model: f̂ and f̄.
        policy: π; `None` is π_ref itself.

    Returns:
        Weighted means over the held-out rows: `cost/fit` and `cost/pessimistic`, f̂ and f̄; `kl/own`, log π/π_ref of
        the policy's own responses, which estimates KL(π || π_ref); and `loss`, the objective: f̄ + β log π/π_ref.
        Empty where no rows were held out.
    """
    rows = [triple for triple in prepared.held_out_rows if triple.weight > 0]
    if not rows:
        return {}
    ending = find_end_of_turn(prepared.tokenizer)
    written = generate(
        policy or prepared.model,
        [triple.context for triple in rows],
        [(settings.seed, place) for place in range(len(rows))],
        end=ending[-1],
        max_new_tokens=resolve_max_new_tokens(prepared.train_rows, settings),
        description="held out",
    )
    costs = predict_costs(cost_model, [triple.context for triple in rows], written, ending)
    ratio = torch.zeros(len(rows))
    if policy is not None:
        answers = [tuple(one.tokens + ending[-1:] * one.ended) for one in written]
        own = [replace(row, response=answer, edit=answer) for row, answer in zip(rows, answers, strict=True)]
        ours = score_triples(policy, own, forward=prepared.forward).edit
        with policy.disable_adapter() if isinstance(policy, PeftModel) else nullcontext():
            reference = policy if isinstance(policy, PeftModel) else prepared.model
            ratio = ours - score_triples(reference, own, forward=prepared.forward).edit
    weights = torch.tensor([triple.weight for triple in rows])
    figures = {
        "loss": costs.pessimistic + settings.beta * ratio,
        "cost/fit": costs.fit,
        "cost/pessimistic": costs.pessimistic,
        "kl/own": ratio,
    }
    return {name: float((weights * values).sum() / weights.sum()) for name, values in figures.items()}


def _prepare_cost_model(
    prepared: TrainingInputs, settings: TrainConfig, checkpoints: Path
) -> tuple[CostModel, CostModelFile]:
    """The cost model to use: one that was given, or that this run has made already, or a new one."""
    base, made = prepared.info, checkpoints / COST_MODEL_FOLDER
    given = settings.rl.cost_model
    if given is not None or (made / COST_MODEL_FILE).is_file():
        folder = made if given is None else Path(given)
        file = read_cost_model(folder)
        if (file.base.weights_sha256, file.base.revision) != (base.weights_sha256, base.revision):
            raise InputError(
                f"--cost-model {folder}: made with {file.base.spec} and not {base.spec}; make one with this model"
            )
        return attach_cost_model(copying.deepcopy(prepared.model), file, folder), file
    logger.info("fitting a cost model and %d members on %d rows", settings.cost.members, len(prepared.train_rows))
    unfinished = checkpoints / f"{COST_MODEL_FOLDER}.unfinished"
    unfinished.mkdir(exist_ok=True)
    model = fit_cost_model(
        prepared.model, prepared.train_rows, settings, forward=prepared.forward, checkpoints=unfinished
    )
    file = build_cost_model_file(
        model, base, prepared.cost_metric, prepared.log_sha256, prepared.train_rows, prepared.held_out_rows
    )
    if distributed.is_main_process():
        with atomic_folder(made, marker=COST_MODEL_FILE) as folder:
            save_cost_model(model, file, folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    distributed.wait_for_everyone()
    return model, file
