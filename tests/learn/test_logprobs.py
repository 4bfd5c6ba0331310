import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from copydesk.learn.encode import Triple
from copydesk.learn.logprobs import collate, score_triples, sequence_logprobs

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = [
    Qwen3Config(**SMALL),
    MistralConfig(**SMALL, sliding_window=None),
    GemmaConfig(**SMALL),
    GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2),
]
PAIRS = [((5, 6, 7), (8, 9)), ((4,), (3, 9, 8, 7, 2)), ((4, 5, 6, 7, 8, 9), (2,))]


def one_by_one(model: torch.nn.Module, context: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """The definition: Σ_t log π(answer_t | context, answer_<t), from full logits, without padding."""
    logps = model(torch.tensor([context + answer])).logits[0].double().log_softmax(-1)
    return sum(logps[len(context) + t - 1, token].item() for t, token in enumerate(answer))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_sums_match_the_definition_on_every_architecture(config: PreTrainedConfig) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        sums = sequence_logprobs(model, **collate(PAIRS))
        assert sums.tolist() == pytest.approx([one_by_one(model, *pair) for pair in PAIRS], rel=1e-4)
    assert sums.dtype == torch.float32


def test_logits_are_computed_only_where_they_are_scored(tiny_model: LlamaForCausalLM) -> None:
    shapes = []
    tiny_model.lm_head.register_forward_hook(lambda _module, _input, logits: shapes.append(logits.shape[:-1].numel()))
    sequence_logprobs(tiny_model, **collate(PAIRS))
    assert shapes == [sum(len(answer) for _, answer in PAIRS)]


def test_what_fills_the_padding_does_not_matter(tiny_model: LlamaForCausalLM) -> None:
    batch = collate(PAIRS)
    other = batch | {"input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)}
    assert torch.equal(sequence_logprobs(tiny_model, **batch), sequence_logprobs(tiny_model, **other))


def test_scores_come_back_in_the_order_given(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    scores = score_triples(tiny_model, triples, batch_size=5)
    with torch.no_grad():
        edits = [one_by_one(tiny_model, t.context, t.edit) for t in triples]
        responses = [one_by_one(tiny_model, t.context, t.response) for t in triples]
    assert scores.edit.tolist() == pytest.approx(edits, rel=1e-4)
    assert scores.response.tolist() == pytest.approx(responses, rel=1e-4)


def test_an_unedited_row_has_one_score(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    scores = score_triples(tiny_model, triples)
    same = [i for i, triple in enumerate(triples) if not triple.edited]
    assert same and torch.equal(scores.edit[same], scores.response[same])


def test_scoring_leaves_the_model_in_its_mode(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    score_triples(tiny_model.train(), triples[:1])
    assert tiny_model.training


def test_no_triples_have_no_scores(tiny_model: LlamaForCausalLM) -> None:
    assert score_triples(tiny_model, []).edit.shape == (0,)
