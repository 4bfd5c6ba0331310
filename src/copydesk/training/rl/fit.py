"""Policy optimisation in memory: from a model and a cost model to a trained policy."""

import copy as copying
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import Triple
from copydesk.training.fit import FitResult, check_edited
from copydesk.training.logprobs import ForwardPlan
from copydesk.training.loop import disable_dropout, run_trainer
from copydesk.training.probe import choose_forward
from copydesk.training.rl.trainer import RlTrainer, resolve_max_new_tokens
from copydesk.training.scoring import compute_longest_length

logger = logging.getLogger(__name__)

# What TRL and Transformers change in a model's configuration so that it suits the tokenizer, or training.
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

    Only the contexts of the rows are used: the policy answers them itself, and pays what the cost model predicts.
    Seeds Python's, NumPy's and torch's global random numbers; on one CPU the same arguments give the same weights, bit
    for bit, also when the run was interrupted and resumed.

    Args:
        model: π_ref.
        tokenizer: its tokenizer.
        triples: the rows.
        cost_model: f̄.
        settings: `rl`, and how responses make up batches and steps.
        copy: as for `fit`; where all weights are trained, `model` is the reference policy meanwhile, and stays.
        forward: how the trained policy is run on triples; found out if not given.
        checkpoints: as for `fit`.
        callbacks: are told of every step, as `transformers.Trainer` tells them.

    Raises:
        InputError: as `fit`; or the launcher shares out the weights, which policy optimisation cannot do here.
        Interrupted: a signal came; what was learnt is in the checkpoint.
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
        # TRL gives a tokenizer without one a token for padding; ours keeps what it has.
        words = copying.deepcopy(tokenizer)
        trainer = RlTrainer(
            policy, reference, cost_model, triples, settings, words, folder, save=checkpoints is not None
        )
        for callback in callbacks:
            trainer.add_callback(callback)
        return trainer

    trainer = run_trainer(make, checkpoints)
    for used in (policy, model):
        used.__dict__.pop("forward", None)  # TRL has put one of its own before the model's
    for name, value in before.items():
        setattr(policy.config, name, value)
    policy.generation_config = generation
    history = trainer.build_history()
    if all(entry["cut_off"] == 1 for entry in history):
        logger.warning(
            "every response was cut off at %d tokens, so all cost the same and nothing was learnt; raise "
            "--max-new-tokens",
            resolve_max_new_tokens(triples, settings),
        )
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    trained.eval()
    return FitResult(trained, history, forward)


def check_not_sharded() -> None:
    """Refuse to be one of several processes that share out a model's weights.

    Raises:
        InputError: the launcher was told FSDP or DeepSpeed.
    """
    for variable, name in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(variable) == "true":
            raise InputError(f"--method rl: {name} cannot share out the weights here; launch with examples/ddp.yaml")
