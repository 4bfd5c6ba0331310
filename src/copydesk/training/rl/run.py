"""The `rl` method end to end: fit or load a cost model, then optimise the policy against it."""

import copy as copying
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from copydesk.errors import InputError
from copydesk.models.chat import find_end_of_turn
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
from copydesk.training.encode import Triple
from copydesk.training.fit import FitResult, check_edited
from copydesk.training.logprobs import ForwardPlan, choose_forward, compute_longest_length, score_triples
from copydesk.training.loop import disable_dropout, run_trainer
from copydesk.training.prepare import TrainingInputs
from copydesk.training.rl.trainer import RlTrainer, predict_costs, resolve_max_new_tokens
from copydesk.utils.atomic import atomic_folder

# Fields of a model's configuration that TRL and Transformers change for the tokenizer or for training.
_RESTORED_CONFIG_FIELDS = ("use_cache", "pad_token_id", "eos_token_id", "bos_token_id")


def fit_rl(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    triples: Sequence[Triple],
    cost_model: CostModel,
    settings: TrainConfig,
    *,
    copy: bool = True,
    forward: ForwardPlan | None = None,
    checkpoints: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FitResult:
    """Train a policy against a cost model, starting at the reference policy.

    Only the contexts of the rows are used: the policy samples its own responses and pays their predicted cost.
    Seeds Python's, NumPy's and torch's global random numbers; on one CPU the same arguments give the same weights, bit
    for bit, also when the run was interrupted and resumed.

    Args:
        model: π_ref.
        tokenizer: its tokenizer.
        triples: the rows.
        cost_model: f̄.
        settings: `rl`, and how responses make up batches and steps.
        copy: as for `fit_policy`; if all weights are trained, `model` is the reference policy and stays unchanged.
        forward: how the trained policy is run on triples; by default `choose_forward` decides.
        checkpoints: as for `fit_policy`.
        callbacks: added to the trainer.

    Raises:
        InputError: as `fit_policy`; or the launcher shards the weights, which policy optimisation does not support.
        Interrupted: by a signal; the progress is in the checkpoint.
    """
    check_edited(triples)
    check_not_sharded()
    forward = forward or choose_forward(model, compute_longest_length(triples))
    set_seed(settings.seed)
    policy: Any = copying.deepcopy(model) if copy or settings.full else model
    reference = model.requires_grad_(False) if settings.full else None
    disable_dropout(policy)
    before = {name: getattr(policy.config, name, None) for name in _RESTORED_CONFIG_FIELDS}
    generation = copying.deepcopy(policy.generation_config)
    policy.requires_grad_(settings.full)

    def make(folder: Path) -> RlTrainer:
        # TRL adds a padding token to a tokenizer without one, so it gets a copy.
        words = copying.deepcopy(tokenizer)
        trainer = RlTrainer(
            policy, reference, cost_model, triples, settings, words, folder, save=checkpoints is not None
        )
        for callback in callbacks:
            trainer.add_callback(callback)
        return trainer

    trainer = run_trainer(make, checkpoints)
    for used in (policy, model):
        used.__dict__.pop("forward", None)  # set by TRL
    for name, value in before.items():
        setattr(policy.config, name, value)
    policy.generation_config = generation
    history = trainer.build_history()
    if all(entry["cut_off"] == 1 for entry in history):
        logger.warning(
            "every response was cut off at %d tokens, so all cost the same and nothing was learned; raise "
            "--max-new-tokens",
            resolve_max_new_tokens(triples, settings),
        )
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    trained.eval()
    return FitResult(trained, history, forward)


def check_not_sharded() -> None:
    """Refuse to be one of several processes that share out a model's weights.

    Raises:
        InputError: the launcher uses FSDP or DeepSpeed.
    """
    for variable, name in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(variable) == "true":
            raise InputError(f"--method rl: {name} cannot shard the weights here; launch with examples/ddp.yaml")


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RlResult:
    """Result of policy optimisation.

    Attributes:
        fitted: the policy.
        cost_model: the model it was trained against.
        file: contents of its `cost_model.json`.
        before: metrics of the reference policy's own responses to the held-out contexts; see `compute_sampled_metrics`.
        after: the same of the policy.
    """

    fitted: FitResult
    cost_model: CostModel
    file: CostModelFile
    before: dict[str, float]
    after: dict[str, float]


def train_rl(prepared: TrainingInputs, settings: TrainConfig, checkpoints: Path, *, copy: bool) -> RlResult:
    """Fit or load a cost model, then optimise the policy against it, each from its checkpoint if there is one.

    Args:
        prepared: model, rows and costs.
        settings: of the run.
        checkpoints: the run's folder.
        copy: as for `fit_policy`.

    Raises:
        InputError: as `fit_cost_model` and `fit_rl`; or the cost model that was given is for another model.
        Interrupted: by a signal; the progress is in the folder.
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
    """Predicted costs of a policy's own responses to the held-out contexts, one response to each.

    Args:
        prepared: π_ref, rows and tokenizer.
        settings: of the run; its seed also seeds the responses, the same for every policy.
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
    """The cost model to use: the given one, the one that this run has fitted already, or a new one."""
    base, made = prepared.info, checkpoints / COST_MODEL_FOLDER
    given = settings.rl.cost_model
    if given is not None or (made / COST_MODEL_FILE).is_file():
        folder = made if given is None else Path(given)
        file = read_cost_model(folder)
        if (file.base.weights_sha256, file.base.revision) != (base.weights_sha256, base.revision):
            raise InputError(
                f"--cost-model {folder}: fitted for {file.base.spec} and not {base.spec}; fit one for this model"
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
