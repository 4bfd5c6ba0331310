"""Packed rows give what running every sequence alone gives, and what TRL gives: values, losses and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tests.support.small_models import FAMILIES, VOCABULARY, alone, make, shaken
from torch import nn

from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan, batch_logprobs, choose_forward
from copydesk.training.packing import lay_out

PACKED = ForwardPlan()
RUNS = ForwardPlan(attention="copydesk_run_by_run")
SEPARATE = ForwardPlan(layout="separate", fused=False)

# Every shape a triple can have; the last token of an answer ends the turn.
SHAPES = [
    Triple("edited in the middle", (5, 6, 7, 8), (10, 11, 12, 13, 0), (10, 11, 20, 21, 22, 13, 0)),
    Triple("accepted", (5, 6, 7), (30, 31, 0), (30, 31, 0)),
    Triple("y' is a prefix of y", (9, 8), (40, 41, 42, 43, 0), (40, 41, 0)),
    Triple("y is a prefix of y'", (9, 8), (40, 41, 0), (40, 41, 42, 43, 0)),
    Triple("nothing in common", (3,), (50, 51, 0), (60, 61, 62, 0)),
    Triple("everything deleted", (3, 4, 5, 6, 7, 8, 9), (70, 71, 72, 0), (0,)),
    Triple("cut answers", (3, 4), (80, 81, 82, 83), (80, 81)),
]


def loss_of(edit: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Weighs every answer of every triple differently, so that no error can hide in a sum."""
    places = torch.arange(1, len(edit) + 1)
    return (edit / (places + 1) - response / (places + 3)).sum() / 10


def plain(model: nn.Module, triples: list[Triple]) -> tuple[torch.Tensor, torch.Tensor]:
    edit = torch.stack([alone(model, triple.context, triple.edit) for triple in triples])
    return edit, torch.stack([alone(model, triple.context, triple.response) for triple in triples])


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.requires_grad and w.grad is not None])


def with_adapter(model: nn.Module) -> nn.Module:
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return shaken(get_peft_model(model, config), 0.1, 3)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Within 1e-4 of the largest value, as float32 allows for sums in another order."""
    return bool((found - wanted).abs().max() <= 1e-4 * wanted.abs().max().clamp(min=1e-6))


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "forward", [RUNS, PACKED, ForwardPlan(fused=False), SEPARATE], ids=["runs", "packed", "unfused", "separate"]
)
def test_log_probabilities_and_gradients_are_those_of_single_sequences(
    forward: ForwardPlan, family: str, adapter: bool
) -> None:
    results = []
    for packed in (True, False):
        model: nn.Module = make(family)
        if adapter:
            model = with_adapter(model)
        if packed:
            batch = lay_out(SHAPES, with_response=True, layout=forward.layout, row_tokens=40)
            with forward.use_attention(model):
                edit, response = batch_logprobs(model, batch, len(SHAPES), forward)
        else:
            edit, response = plain(model, SHAPES)
        loss_of(edit, response).backward()
        results.append((edit.detach(), response.detach(), gradients(model)))
    for found, wanted in zip(*results, strict=True):
        assert wanted.abs().max() > 0.01
        assert close(found, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_run_packed(family: str) -> None:
    assert choose_forward(make(family), longest=64) == RUNS


TOKENS = st.lists(st.integers(1, VOCABULARY - 1), max_size=9).map(tuple)


@st.composite
def triples(draw: st.DrawFn) -> Triple:
    """Any context; y and y' with any common beginning, possibly equal, each with its end of turn."""
    common, response, edit = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    edit = draw(st.sampled_from([edit, response]))
    context = draw(TOKENS.filter(bool))
    return Triple("any", context, (*common, *response, 0), (*common, *edit, 0))


MODELS = {family: make(family) for family in ("llama", "gpt2")}


@pytest.mark.slow
@pytest.mark.parametrize("forward", [RUNS, PACKED], ids=["runs", "packed"])
@pytest.mark.parametrize("family", MODELS)
@settings(max_examples=40)
@given(batch=st.lists(triples(), min_size=1, max_size=5), row_tokens=st.none() | st.integers(1, 120))
def test_any_triples_packed_any_way_score_as_if_alone(
    family: str, forward: ForwardPlan, batch: list[Triple], row_tokens: int | None
) -> None:
    model = MODELS[family]
    with torch.no_grad(), forward.use_attention(model):
        laid_out = lay_out(batch, with_response=True, row_tokens=row_tokens)
        found = batch_logprobs(model, laid_out, len(batch), forward)
        only_edits = batch_logprobs(model, lay_out(batch, with_response=False), len(batch), forward)
    with torch.no_grad():
        for one, wanted in zip(found, plain(model, batch), strict=True):
            assert torch.allclose(one, wanted, rtol=1e-4, atol=1e-4)
    assert torch.allclose(only_edits.edit, found.edit, rtol=1e-4, atol=1e-4)


def test_the_order_and_company_of_a_triple_do_not_matter() -> None:
    model = make("qwen3")
    with torch.no_grad():
        together = batch_logprobs(model, lay_out(SHAPES, with_response=True, row_tokens=1000), len(SHAPES), PACKED)
        for place, triple in enumerate(SHAPES):
            by_itself = batch_logprobs(model, lay_out([triple], with_response=True), 1, PACKED)
            assert torch.allclose(together.edit[place], by_itself.edit[0], rtol=1e-4)
            assert torch.allclose(together.response[place], by_itself.response[0], rtol=1e-4)
