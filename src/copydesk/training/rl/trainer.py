"""Policy optimisation with TRL's `RLOOTrainer` on the contexts of a log; the reward is -f̄ of a cost model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from copydesk.errors import InputError
from copydesk.models.chat import find_end_of_turn
from copydesk.models.generate import GeneratedTokens
from copydesk.training import distributed
from copydesk.training.base_trainer import replace_progress_callbacks
from copydesk.training.checkpoints import AtomicCheckpoints
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import Triple
from copydesk.training.fit import build_lora_config
from copydesk.training.loop import build_common_arguments


class PredictedCosts(NamedTuple):
    """f̂ and f̄ of n responses, float32 on the CPU, shape [n]."""

    fit: Tensor
    pessimistic: Tensor


def predict_costs(
    cost_model: CostModel, contexts: Sequence[Sequence[int]], responses: Sequence[GeneratedTokens], end: Sequence[int]
) -> PredictedCosts:
    """Predict the costs of sampled responses.

    A response that was cut off costs c_max: there is none in the log, so the model has no evidence for a lower cost.

    Args:
        cost_model: gives f̂ and f̄.
        contexts: as token ids.
        responses: one for each context.
        end: the tokens that close a response, as the log's responses were encoded.
    """
    answers = [(context, (*one.tokens, *end)) for context, one in zip(contexts, responses, strict=True)]
    predictions = cost_model.predict(answers)
    fit, upper = predictions[:, 0], cost_model.compute_pessimistic(predictions)
    for place, one in enumerate(responses):
        if not one.ended:
            fit[place] = upper[place] = cost_model.settings.c_max
    return PredictedCosts(fit, upper)


# TRL's names of metrics, and ours.
_TRL_METRIC_NAMES = {
    "cost/fit": "cost/fit",
    "cost/pessimistic": "cost/pessimistic",
    "kl": "kl_per_token",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut_off",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "step": "step",
}


class RlTrainer(AtomicCheckpoints, RLOOTrainer):
    """Minimises E_{y ~ π(·|x)} [f̄(x, y) + β log π(y|x)/π_ref(y|x)] over the contexts of a log.

    A step samples `generations` responses to each of its contexts. The advantage of a response is its reward,
    -f̄ - β log π/π_ref summed over its tokens, less the mean reward of the others to the same context: the gradient of
    the objective above, without bias, with the variance of a baseline.

    Args:
        policy: π at its start; gets a LoRA adapter unless all weights are trained.
        reference: π_ref, where all weights are trained; under an adapter it is the model without it.
        cost_model: f̄.
        triples: the rows whose contexts are used.
        settings: of the run.
        tokenizer: of the policy.
        folder: for checkpoints.
        save: whether to make any.

    Raises:
        InputError: vLLM is asked for and not installed, or a step would hold no whole group of responses.

    Source: RLOO, Ahmadian et al., *Back to Basics*, https://arxiv.org/abs/2402.14740; the objective is that of
    https://arxiv.org/abs/2601.19055.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        cost_model: CostModel,
        triples: Sequence[Triple],
        settings: TrainConfig,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        save: bool,
    ) -> None:
        self._cost_model = cost_model
        self._contexts = [triple.context for triple in triples]
        self._end_of_turn = find_end_of_turn(tokenizer)
        policy.generation_config.eos_token_id = self._end_of_turn[-1]
        arguments = _build_rloo_config(settings, triples, folder, save=save)
        order = _draw_context_order(triples, arguments)
        try:
            super().__init__(
                model=policy,
                reward_funcs=self._reward,
                args=arguments,
                train_dataset=Dataset.from_dict({"prompt": [str(place) for place in order]}),
                processing_class=tokenizer,
                peft_config=None if settings.full else build_lora_config(settings),
            )
        except ImportError as exc:
            raise InputError(f"--vllm: {exc}; install it with: pip install vllm, or leave --vllm out") from None
        # TRL would load the reference policy again by its name, which a GGUF file does not have.
        self.beta = settings.beta
        if reference is not None:
            add_fused_lm_head(reference)
            self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)
        replace_progress_callbacks(self)

    def build_history(self) -> list[dict[str, float]]:
        """The log entries, under our names of metrics."""
        return [
            {ours: entry[theirs] for theirs, ours in _TRL_METRIC_NAMES.items() if entry.get(theirs) is not None}
            for entry in self.state.log_history
            if "loss" in entry
        ]

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card: `policy.json` has more."""

    def _send_telemetry(self) -> None:
        """Send no telemetry."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The contexts as they were encoded from the log, not as TRL would encode them."""
        return [list(self._contexts[int(place)]) for place in prompts], None, {}

    def _reward(
        self, prompts: list[str], completion_ids: list[list[int]], log_metric: Any = None, **_: Any
    ) -> list[float | None]:
        """The mean cost of the log minus f̄ of each sampled response.

        That is -f̄ plus a constant, which cancels in the advantages. If f̄ is the same for all responses the reward is
        exactly 0; otherwise Adam would scale rounding errors up to whole steps.
        """
        responses = []
        for ids in completion_ids:
            # TRL also stops at the tokenizer's end-of-document token; only an end of turn ends a response.
            ended = bool(ids) and ids[-1] == self._end_of_turn[-1]
            responses.append(GeneratedTokens(ids[:-1] if ended else ids, ended))
        contexts = [self._contexts[int(place)] for place in prompts]
        costs = predict_costs(self._cost_model, contexts, responses, self._end_of_turn)
        if log_metric is not None:
            log_metric("cost/fit", float(costs.fit.mean()))
            log_metric("cost/pessimistic", float(costs.pessimistic.mean()))
        return [self._cost_model.initial_cost - cost for cost in costs.pessimistic.tolist()]


def resolve_max_new_tokens(triples: Sequence[Triple], settings: TrainConfig) -> int:
    """The length at which a response is cut off: the setting, or the longest answer of these rows."""
    longest = max(max(len(triple.response), len(triple.edit)) for triple in triples)
    return settings.rl.max_new_tokens or longest


def _build_rloo_config(settings: TrainConfig, triples: Sequence[Triple], folder: Path, *, save: bool) -> RLOOConfig:
    """The run as TRL's configuration.

    Raises:
        InputError: a step would not hold whole groups of responses to one context.
    """
    own = settings.rl
    batch = min(settings.batch_size, own.responses)
    accumulate = max(1, own.responses // (batch * distributed.get_world_size()))
    responses = batch * accumulate * distributed.get_world_size()
    if responses % own.generations:
        raise InputError(
            f"--batch-size {batch} x {accumulate} passes x {distributed.get_world_size()} processes is no multiple of "
            f"--generations {own.generations}; change one of them"
        )
    common = build_common_arguments(settings.replace(batch_size=batch, accumulate=accumulate), folder, save=save)
    common["max_steps"] = settings.max_steps or max(1, round(own.epochs * len(triples) * own.generations / responses))
    common["num_train_epochs"] = 1  # all contexts are one long list, so that a resumed run sees the same order
    arguments = RLOOConfig(
        **common,
        beta=0.0,  # see where it is set
        num_generations=own.generations,
        max_completion_length=resolve_max_new_tokens(triples, settings),
        temperature=1.0,
        shuffle_dataset=False,
        gradient_checkpointing=settings.checkpointing,
        bf16=False,
        use_vllm=own.vllm != "off",
        vllm_mode="server" if own.vllm == "server" else "colocate",
        vllm_server_base_url=own.vllm_url,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for several processes, not for DataParallel
    return arguments


def _draw_context_order(triples: Sequence[Triple], arguments: RLOOConfig) -> list[int]:
    """The contexts of every step in order: shuffles of the log, or draws by weight if the rows have weights."""
    rng = np.random.default_rng(arguments.seed)
    responses: Any = arguments.generation_batch_size  # TRL has set it to a number
    count = arguments.max_steps * responses // arguments.num_generations
    weights = np.array([triple.weight for triple in triples])
    if np.ptp(weights):
        return [int(place) for place in rng.choice(len(triples), size=count, p=weights / weights.sum())]
    shuffles = [rng.permutation(len(triples)) for _ in range(-(-count // len(triples)))]
    return [int(place) for place in np.concatenate(shuffles)[:count]]
