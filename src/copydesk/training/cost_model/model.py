"""The cost model: what a response will cost its user in edits, and how sure that is.

A decoder's lower layers, computed once for several passes that differ only above them.

f̄, the pessimistic cost: the upper end of what the fits to a log agree with.

Predictions come as a tensor of shape [n, 1 + K]: f̂, the fit on the log itself, then K members, each fitted on a
bootstrap resample of it. What they say of a response like those of the log is nearly the same; away from the log they
part, for nothing holds them together there.

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
    """While this lasts, layers are computed in the first pass, and in every later one give what the last of them gave.

    The passes must have the same input, and nothing in these layers may differ between them.

    Args:
        layers: the lowest of a decoder, from the bottom; none of them leaves every pass as it is.
    """
    if not layers:
        yield
        return
    kept: list[Any] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append(output)
        hook.remove()
        for layer in layers:
            layer.forward = again

    def again(*_: Any, **__: Any) -> Any:
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
    """f̄ as the settings want it; never below f̂ and never above c_max.

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
    """Which fits explain the log about as well as f̂ does.

    The threshold hangs on f̂ alone. A set around whichever fit is best would lose members when a better one is added,
    and f̄ would fall by knowing more.

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
        forward: how to run the base; found out by `choose_forward`.
        initial_cost: what every fit predicts before it has learnt anything: the mean cost.
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
        # The head says how far a cost is from the mean, so a log in which all cost the same leaves it at 0 exactly: the
        # least rounding would be a gradient, and Adam makes whole steps of any.
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

        What the log says brings them together again on responses like its own. Where it says nothing they stay apart,
        and that is how f̄ knows what it does not know. Members that all start at 0 agree on anything.

        Args:
            answers: some of the log's; tell how large hidden states are.
            spread: the standard deviation, over members, of what they say at first of one token; 0 parts nobody.
            seed: decides the heads; a member's does not depend on how many there are.

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
        """What every fit says, as it is learnt: not yet brought into [0, c_max].

        Args:
            batch: what `lay_out_answers` gives; the model must be attending as `forward_plan` wants it.
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
        """What every fit predicts, in [0, c_max]: float32 of shape [n, 1 + K] on the CPU, in the order given.

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
        """f̄, shape [n], of what `predict` gave."""
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
        """Whether upper layers that start from what the lower ones gave do the same. Adapters are no change yet."""
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
