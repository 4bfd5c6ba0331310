from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.support.small_models import shaken
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.errors import InputError
from copydesk.models.chat import encode_context
from copydesk.models.load import load_model
from copydesk.policies import BestOfNPolicy, CachedPolicy, LocalPolicy
from copydesk.policies.prompted import PolicyEncoder, RetrievalMemory, SentenceEncoder
from copydesk.policies.prompted.retrieval import choose_encoder
from copydesk.simulate.tasks import get_task

TEXTS = ["news", "film film paper news", "", "paper news film news paper film"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A random encoder that reads six words and at most 8 tokens."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "news", "film", "paper"]
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8,
    )  # fmt: skip
    shaken(BertModel(config), 0.3, 1).save_pretrained(tmp_path / "bert")
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def by_hand(model: torch.nn.Module, tokens: list[int]) -> np.ndarray:
    """One text alone: the states of its tokens, their mean, at norm 1."""
    with torch.no_grad():
        states = model(input_ids=torch.tensor([tokens])).last_hidden_state[0].double().numpy()
    mean = states.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_a_sentence_encoder_gives_the_mean_of_the_states_of_each_texts_own_tokens(bert: Path) -> None:
    found = SentenceEncoder(str(bert)).encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (4, 16)
    model = BertModel.from_pretrained(bert).eval()
    tokens = [[1, 4, 2], [1, 5, 5, 6, 4, 2], [1, 2], [1, 6, 4, 5, 4, 6, 5, 2]]
    for row, ids in zip(found, tokens, strict=True):
        np.testing.assert_allclose(row, by_hand(model, ids), atol=1e-5)


def test_a_text_that_is_too_long_for_it_loses_its_end(bert: Path) -> None:
    encoder = SentenceEncoder(str(bert))
    longer, just = encoder.encode(["paper news film news paper film " + "news " * 50, TEXTS[3]])
    np.testing.assert_allclose(longer, just, atol=1e-6)


def test_of_no_text_there_are_no_rows(bert: Path, tiny_model: Any, chat_tokenizer: Any) -> None:
    assert SentenceEncoder(str(bert)).encode([]).shape == (0, 16)
    assert PolicyEncoder(LocalPolicy("tiny", tiny_model, chat_tokenizer)).encode([]).shape == (0, 32)


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(InputError, match=r"--encoder .*nowhere: not a folder here") as missing:
        SentenceEncoder(str(tmp_path / "nowhere"))
    (bert / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"--encoder .*bert: cannot be loaded") as damaged:
        SentenceEncoder(str(bert))
    assert "\n" not in str(missing.value) + str(damaged.value)


@pytest.mark.parametrize("chat", [True, False])
def test_a_policys_states_are_the_mean_over_what_it_reads_of_a_context(
    tiny_model: LlamaForCausalLM,
    chat_tokenizer: PreTrainedTokenizerFast,
    plain_tokenizer: PreTrainedTokenizerFast,
    chat: bool,
) -> None:
    tokenizer = chat_tokenizer if chat else plain_tokenizer
    found = PolicyEncoder(LocalPolicy("tiny", tiny_model, tokenizer)).encode(TEXTS)
    for row, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(row, by_hand(tiny_model.model, encode_context(text, tokenizer)), atol=1e-5)


def test_an_adapter_counts_and_the_mode_of_the_model_stays(
    tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    before = PolicyEncoder(LocalPolicy("tiny", tiny_model, chat_tokenizer)).encode(TEXTS)
    config = LoraConfig(target_modules="all-linear", lora_dropout=0.5)
    adapted = shaken(get_peft_model(tiny_model, config), 0.1, 0).train()  # type: ignore[arg-type]
    encoder = PolicyEncoder(LocalPolicy("adapted", adapted, chat_tokenizer))
    found = encoder.encode(TEXTS)
    assert all(module.training for module in adapted.modules())
    assert np.abs(found - before).max() > 1e-3
    adapted.eval()
    tokens = encode_context(TEXTS[1], chat_tokenizer)
    with torch.no_grad():
        states = adapted(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0].numpy()
    mean = states.mean(axis=0)
    np.testing.assert_allclose(found[1], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_context_longer_than_the_model_loses_its_end(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_model.config.max_position_embeddings = 8
    encoder = PolicyEncoder(LocalPolicy("tiny", tiny_model, plain_tokenizer))
    tokens = encode_context("film and paper, news and film", plain_tokenizer)
    assert len(tokens) > 8
    (row,) = encoder.encode(["film and paper, news and film"])
    np.testing.assert_allclose(row, by_hand(tiny_model.model, tokens[:8]), atol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(bert: Path) -> None:
    encoder = SentenceEncoder(str(bert))
    texts = ["news " * (row % 5) + "film " * (row % 3) + "paper" for row in range(70)]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=1e-6)


def test_the_default_encoder_is_the_writers_states_or_the_embedded_models(
    tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, writer: Any, bert: Path, tmp_path: Path
) -> None:
    policy = LocalPolicy("tiny", tiny_model, chat_tokenizer)
    own = PolicyEncoder(policy).encode(TEXTS)
    best = BestOfNPolicy("best", policy, object(), 2)  # type: ignore[arg-type]
    for one in (policy, best, CachedPolicy(policy, "tiny", tmp_path / "a.db"), CachedPolicy(best, "b", tmp_path / "b")):
        np.testing.assert_array_equal(choose_encoder(one).encode(TEXTS), own)
    model, tokenizer, _ = load_model("embedded")
    states = PolicyEncoder(LocalPolicy("embedded", model, tokenizer)).encode(TEXTS)
    np.testing.assert_array_equal(choose_encoder(writer).encode(TEXTS), states)
    asked = SentenceEncoder(str(bert)).encode(TEXTS)
    np.testing.assert_array_equal(choose_encoder(policy, str(bert)).encode(TEXTS), asked)


def test_the_embedded_models_states_tell_kinds_of_documents_apart() -> None:
    rng = np.random.default_rng(7)
    drawn = [get_task("email").draw_document(rng) for _ in range(60)]
    model, tokenizer, _ = load_model("embedded")
    memory: RetrievalMemory[str] = RetrievalMemory(PolicyEncoder(LocalPolicy("embedded", model, tokenizer)))
    memory.add([one.context for one in drawn[:40]], [one.kind for one in drawn[:40]])
    found = memory.find_nearest([one.context for one in drawn[40:]], 1)
    assert [near[0] for near in found] == [one.kind for one in drawn[40:]]
