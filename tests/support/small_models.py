"""Randomly initialised models of several families, each a few thousand weights."""

from collections.abc import Callable, Sequence

import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 97
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}


def _gpt2() -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=128, n_embd=32, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES, tie_word_embeddings=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SIZES)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_SIZES)),
    "gpt2": _gpt2,
}


def make(family: str, seed: int = 0) -> PreTrainedModel:
    """The same weights for the same seed; large enough for log-probabilities to differ between tokens."""
    torch.manual_seed(seed)
    return shaken(FAMILIES[family](), 0.1, seed)


def shaken(model: torch.nn.Module, size: float, seed: int) -> PreTrainedModel:
    """Another policy than before: noise on every trainable weight, so that no margin and no adapter is 0."""
    torch.manual_seed(seed + 1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(size * torch.randn_like(weight))
    return model.eval()  # type: ignore[return-value]


def alone(model: torch.nn.Module, context: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """log π(answer|context) by definition: one sequence, no padding, no mask, all logits."""
    ids = torch.tensor([[*context, *answer]])
    log_probs = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(dim=-1)
    return log_probs.gather(1, ids[0, 1:, None])[len(context) - 1 :, 0].sum()
