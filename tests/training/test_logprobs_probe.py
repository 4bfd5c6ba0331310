import logging
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.support.small_models import alone, make
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from copydesk.training import logprobs
from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan, choose_forward, score_triples

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "eos_token_id": 0, "bos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
RUNS = ForwardPlan(attention="copydesk_run_by_run")
ROWS = [
    Triple("a", tuple(range(1, 30)), (*range(30, 45), 0), (*range(30, 38), 50, 51, 52, 0)),
    Triple("b", (4, 5), (6, 7, 0), (6, 7, 0)),
]


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "_warned_models", set())


def odd_models() -> dict[str, tuple[nn.Module, ForwardPlan]]:
    torch.manual_seed(0)
    apart = ForwardPlan(layout="separate")
    return {
        "short sliding window": (MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)), apart),
        "long sliding window": (MistralForCausalLM(MistralConfig(**SIZES, sliding_window=64)), RUNS),
        "state space": (
            MambaForCausalLM(MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4)), apart,
        ),
        "linear attention in some layers": (
            Qwen3NextForCausalLM(Qwen3NextConfig(
                **SIZES, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
                shared_expert_intermediate_size=16, linear_num_key_heads=2, linear_num_value_heads=2,
                linear_key_head_dim=8, linear_value_head_dim=8,
            )), apart,
        ),
        "positions in the attention": (
            BloomForCausalLM(BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0)), apart,
        ),
        "scaled logits": (CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)), replace(RUNS, fused=False)),
        "eager attention": (
            MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None, attn_implementation="eager")), apart,
        ),
        "capped scores and logits": (
            Gemma2ForCausalLM(Gemma2Config(**SIZES, sliding_window=64, attn_implementation="eager",
                                           final_logit_softcapping=3.0)),
            ForwardPlan(layout="separate", fused=False),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", odd_models())
def test_what_a_model_cannot_do_is_found_and_scores_stay_exact(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model, expected = odd_models()[name]
    model.eval()
    with caplog.at_level(logging.WARNING, logger="copydesk"):
        forward = choose_forward(model, longest=46)
        choose_forward(model, longest=46)
    assert forward == expected
    told = [record.message for record in caplog.records if "cannot take packed rows" in record.message]
    assert len(told) == (forward.layout == "separate")
    scores = score_triples(model, ROWS)
    with torch.no_grad():
        for place, row in enumerate(ROWS):
            assert torch.allclose(scores.edit[place], alone(model, row.context, row.edit), rtol=1e-4)
            assert torch.allclose(scores.response[place], alone(model, row.context, row.response), rtol=1e-4)


def test_an_adapter_on_the_output_layer_is_not_skipped() -> None:
    model = get_peft_model(make("llama"), LoraConfig(target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM"))
    assert choose_forward(model, longest=46) == replace(RUNS, fused=False)


def test_the_probe_leaves_the_mode_of_the_model_alone() -> None:
    model = make("llama").train()
    choose_forward(model, longest=46)
    assert model.training and not any("forward" in vars(module) for module in model.modules())
