"""The cost model: predicted edit costs f̂, an ensemble that measures their uncertainty, and the pessimistic cost f̄.

Predictions are a tensor of shape [n, 1 + K]: f̂, the fit on the log itself, then K members, each fitted on a bootstrap
resample of it. They nearly agree on responses like those of the log and diverge away from it. f̄ is the upper end of
their predictions. All fits share the decoder's lower layers, which are computed once.

Source: the confidence set of https://arxiv.org/abs/2601.19055, section "offline RL", with the members for the class of
functions it is taken from.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from copydesk.training.config import CostModelConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan
from copydesk.training.loop import disable_dropout


def find_decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of a causal language model, from the bottom.

    Raises:
        ValueError: it has no list of as many modules as its configuration has layers.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ValueError(f"{type(model).__name__} has no list of its {count} layers")


@contextmanager
def reuse_layer_outputs(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within this context, compute layers in the first pass and reuse the output of the last of them in later passes.

    All passes must have the same input, and nothing in these layers may differ between them.

    Args:
        layers: the lowest layers of a decoder, from the bottom; without any, every pass is complete.
    """
    if not layers:
        yield
        return
    kept: list[Any] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append(output)
        hook.remove()
        for layer in layers:
            layer.forward = reuse

    def reuse(*_: Any, **__: Any) -> Any:
        return kept[0]

    replaced = [layer.__dict__.get("forward") for layer in layers]
    hook = layers[-1].register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
        for layer, forward in zip(layers, replaced, strict=True):
            if forward is not None:
                layer.forward = forward
            else:
                layer.__dict__.pop("forward", None)  # what the class defines shows again


def compute_pessimistic_cost(predictions: Tensor, within: Tensor, settings: CostModelConfig) -> Tensor:
    """f̄ by the `pessimism` of the settings; never below f̂ and never above c_max.

    Args:
        predictions: shape [n, 1 + K], each in [0, c_max].
        within: which columns are in the confidence set, shape [1 + K]; see `compute_confidence_set`.
        settings: `pessimism`, κ and c_max.

    Returns:
        shape [n].
    """
    match settings.pessimism:
        case "max":
            return compute_confidence_maximum(predictions, within)
        case "std":
            return compute_upper_bound(predictions, settings.kappa).clamp(max=settings.c_max)
        case "none":
            return predictions[:, 0]


def compute_confidence_set(errors: Tensor, gamma: float) -> Tensor:
    """The fits that explain the log about as well as f̂ does.

    The threshold depends on f̂ alone. A set around the best fit would lose members when a better one is added, and f̄
    would fall with more knowledge.

    Args:
        errors: mean squared error of each on the log, shape [1 + K].
        gamma: γ, by how much it may exceed f̂'s, in squared cost.

    Returns:
        bool of shape [1 + K]; f̂ itself is always in it.
    """
    return errors <= errors[0] + gamma


def compute_confidence_maximum(predictions: Tensor, within: Tensor) -> Tensor:
    """The largest cost that a fit in the confidence set predicts. A further member can only raise it.

    Args:
        predictions: shape [n, 1 + K].
        within: shape [1 + K].

    Returns:
        shape [n].
    """
    return predictions.masked_fill(~within, -torch.inf).amax(dim=1)


def compute_upper_bound(predictions: Tensor, kappa: float) -> Tensor:
    """f̂ + κ x the members' root mean square distance from it, which is the bootstrap's standard error of f̂.

    The spread is taken around f̂ and not around the members' mean, so that the bound never falls below f̂. Unlike the
    maximum it can fall when a member is added that agrees with f̂.

    Args:
        predictions: shape [n, 1 + K].
        kappa: κ.

    Returns:
        shape [n]; f̂ where there are no members.
    """
    fit, members = predictions[:, 0], predictions[:, 1:]
    if not members.shape[1]:
        return fit
    return fit + kappa * (members - fit[:, None]).square().mean(dim=1).sqrt()


TokenizedAnswer = tuple[Sequence[int], Sequence[int]]
"""A context and a response as token ids; the response ends with the token that ends a turn."""


class CostModel(nn.Module):
    """f̂ and K members: one language model, and for each of them a LoRA adapter in its upper layers and a linear head.

    A cost is predicted as a mean over the tokens of the response, its end included, of a number read off each token's
    last hidden state: an edit cost normalised by the response's length is such a mean, of what each token costs.

    Args:
        base: a causal language model; adapters are put into it, and nothing else of it is trained.
        settings: K, the adapters, c_max and how f̄ is made.
        forward: how to run the base, from `choose_forward`.
        initial_cost: the prediction of every fit before training: the mean cost.
    """

    def __init__(
        self, base: PreTrainedModel, settings: CostModelConfig, forward: ForwardPlan, initial_cost: float = 0.0
    ) -> None:
        super().__init__()
        self.settings, self.forward_plan = settings, forward
        base.requires_grad_(False)
        disable_dropout(base)
        self.base = base
        layers = find_decoder_layers(base)
        lower = len(layers) - max(1, round(len(layers) * settings.layers))
        self.fit_names = ["fit", *(f"member_{k}" for k in range(1, settings.members + 1))]
        upper = {id(module) for layer in layers[lower:] for module in layer.modules()}
        targets = [
            name
            for name, module in base.named_modules()
            if id(module) in upper and isinstance(module, nn.Linear | Conv1D)
        ]
        lora = LoraConfig(r=settings.lora_r, lora_alpha=2 * settings.lora_r, target_modules=targets)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are meant
            for name in self.fit_names:
                inject_adapter_in_model(lora, base, name)
        self._adapter_layers = [module for module in base.modules() if isinstance(module, BaseTunerLayer)]
        for weight in self._adapter_weights():
            weight.data = weight.data.float()
        device = next(base.parameters()).device
        self.head = nn.Linear(base.config.get_text_config().hidden_size, len(self.fit_names), device=device)
        # The head predicts the difference from the mean, so a log of equal costs leaves it at exactly 0: any rounding
        # error would be a gradient, which Adam scales up to a whole step.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.initial_cost = initial_cost
        self.register_buffer("within", torch.ones(len(self.fit_names), dtype=torch.bool, device=device))
        self.within: Tensor
        self._shared_layers = layers[:lower]
        if not self._sharing_is_exact():
            self._shared_layers = []
        self.eval()

    @torch.no_grad()
    def randomize_members(self, answers: Sequence[TokenizedAnswer], spread: float, seed: int) -> None:
        """Start the members' heads at random and apart, f̂'s left where it is.

        Training makes them agree on responses like those of the log. On others they stay apart, which is how f̄
        measures uncertainty. Members that all start at 0 would agree everywhere.

        Args:
            answers: some of the log's, to measure the size of hidden states.
            spread: the standard deviation over members of the initial prediction for one token; 0 starts all alike.
            seed: decides the heads; a member's head does not depend on the number of members.

        Source: randomised prior functions, Osband, Aslanides and Cassirer, https://arxiv.org/abs/1806.03335.
        """
        batch = {name: tensor.to(self.head.weight.device) for name, tensor in self.lay_out_answers(answers).items()}
        with self.forward_plan.use_attention(self.base):
            size = self._hidden(batch, "fit").float().square().mean().sqrt()
        width = self.head.weight.shape[1]
        for member in range(1, len(self.fit_names)):
            draw = torch.tensor(np.random.default_rng([seed, member]).standard_normal(width), dtype=torch.float32)
            self.head.weight[member] = draw.to(size.device) * spread / (size * width**0.5)

    def train(self, mode: bool = True) -> "CostModel":
        """Make the adapters and the head trainable, or all of it fixed."""
        super().train(mode)
        self.base.train(False)
        for weight in [*self._adapter_weights(), *self.head.parameters()]:
            weight.requires_grad_(mode)
        return self

    def forward(self, batch: dict[str, Tensor], count: int) -> Tensor:
        """The predictions of every fit as they are trained, not clamped to [0, c_max].

        Args:
            batch: from `lay_out_answers`; the model must use the attention of `forward_plan`.
            count: B, the answers in it.

        Returns:
            float32 of shape [B, 1 + K]: f̂, then the members.
        """
        values = []
        with reuse_layer_outputs(self._shared_layers):
            for place, name in enumerate(self.fit_names):
                hidden = self._hidden(batch, name)
                values.append(
                    _mean_by_owner(self._apply_head(hidden, place), batch["owner"], count) + self.initial_cost
                )
        if self.training:
            self.train()  # activating one adapter has frozen the others
        return torch.stack(values, dim=1)

    def lay_out_answers(self, answers: Sequence[TokenizedAnswer]) -> dict[str, Tensor]:
        """Lay out B answers for a forward pass, see `lay_out`; an answer is a triple in which nothing was edited."""
        triples = [Triple("", tuple(context), tuple(answer), tuple(answer)) for context, answer in answers]
        return self.forward_plan.lay_out(triples, with_response=False)

    @torch.no_grad()
    def predict(self, answers: Sequence[TokenizedAnswer], *, batch_size: int = 32, quiet: bool = True) -> Tensor:
        """The prediction of every fit, in [0, c_max]: float32 of shape [n, 1 + K] on the CPU, in the order given.

        Shows a progress bar on a terminal unless `quiet`.
        """
        order = sorted(range(len(answers)), key=lambda place: -len(answers[place][0]) - len(answers[place][1]))
        predictions = torch.zeros(len(answers), len(self.fit_names))
        device = self.head.weight.device
        starts = range(0, len(order), batch_size)
        with self.forward_plan.use_attention(self.base):
            for start in tqdm(starts, desc="predicting", leave=False, disable=quiet or not sys.stderr.isatty()):
                places = order[start : start + batch_size]
                batch = self.lay_out_answers([answers[place] for place in places])
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                predictions[places] = self(batch, len(places)).float().cpu()
        return predictions.clamp(0.0, self.settings.c_max)

    def compute_pessimistic(self, predictions: Tensor) -> Tensor:
        """f̄, shape [n], from the output of `predict`."""
        return compute_pessimistic_cost(predictions, self.within.to(predictions.device), self.settings)

    def _hidden(self, batch: dict[str, Tensor], name: str) -> Tensor:
        """The last hidden states of the response's tokens with one fit's adapter, shape [tokens, D]."""
        for module in self._adapter_layers:
            module.set_adapter(name, inference_mode=not self.training)
        hidden: Tensor = self.base.base_model(**self.forward_plan.build_model_inputs(batch)).last_hidden_state
        return hidden.flatten(0, 1)[batch["source"] + 1]

    def _apply_head(self, hidden: Tensor, place: int) -> Tensor:
        return hidden.float() @ self.head.weight[place] + self.head.bias[place]

    def _adapter_weights(self) -> list[nn.Parameter]:
        return [weight for name, weight in self.base.named_parameters() if ".lora_" in name]

    @torch.no_grad()
    def _sharing_is_exact(self) -> bool:
        """Whether the upper layers give the same from reused outputs of the lower ones. Adapters change nothing yet."""
        if not self._shared_layers:
            return False
        vocabulary = self.base.config.get_text_config().vocab_size
        tokens = [(7 * place) % vocabulary for place in range(20)]
        batch: dict[str, Any] = self.lay_out_answers([(tokens[:8], tokens[8:14]), (tokens[3:7], tokens[10:20])])
        batch = {name: tensor.to(self.head.weight.device) for name, tensor in batch.items()}
        try:
            with self.forward_plan.use_attention(self.base), reuse_layer_outputs(self._shared_layers):
                first, again = self._hidden(batch, "fit"), self._hidden(batch, "fit")
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
            return False
        return torch.equal(first, again)


def _mean_by_owner(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """The mean of the values of each of `count` owners, shape [count]."""
    sums = values.new_zeros(count).index_add(0, owner, values)
    return sums / values.new_zeros(count).index_add(0, owner, torch.ones_like(values))
