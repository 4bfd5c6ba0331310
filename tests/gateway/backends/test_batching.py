from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_models import FAMILIES, make, shaken
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from copydesk.gateway.backends.base import BackendError
from copydesk.gateway.backends.batching import (
    BASE_ADAPTER,
    Adapter,
    BatchingEngine,
    Chunk,
    IncrementalDetokenizer,
    SequenceState,
)
from copydesk.gateway.backends.sampling import parse_generation_request
from copydesk.models.generate import generate

SIZES: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": 0,
    "pad_token_id": None,
}  # fmt: skip
LAYERS = ["sliding_attention", "full_attention"]


def mistral() -> PreTrainedModel:
    """Every layer sees seven tokens."""
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=7))


def gemma3() -> PreTrainedModel:
    """One layer sees five tokens, the other one all."""
    return Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, sliding_window=5, layer_types=LAYERS))


def lfm2() -> PreTrainedModel:
    """A layer that remembers no keys and values."""
    return Lfm2ForCausalLM(Lfm2Config(**SIZES, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False))


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    **{name: lambda name=name: make(name) for name in FAMILIES},  # type: ignore[misc]
    "window": lambda: shaken(mistral(), 0.1, 0),
    "windows and not": lambda: shaken(gemma3(), 0.1, 0),
}


class Letters:
    """A tokenizer: one token a letter."""

    chat_template = None
    eos_token_id = 0
    bos_token_id = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) - 31 for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(chr(one + 31) for one in ids if one)


class Asked:
    """A row and what it said."""

    def __init__(self, engine: BatchingEngine, text: str, seed: int, tokens: int, **fields: Any) -> None:
        self.said: list[Chunk | BackendError] = []
        self.text, self.seed, self.tokens = text, seed, tokens
        voice = Adapter(engine, BASE_ADAPTER, Letters())  # type: ignore[arg-type]
        request = {"messages": [{"role": "user", "content": text}], "seed": seed, "temperature": 1.3, **fields}
        self.row = SequenceState(voice, parse_generation_request(request), tokens, self.said.append)

    def alone(self, model: PreTrainedModel) -> list[int]:
        """What the model writes of it by other means."""
        prompt = Letters()(self.text)["input_ids"]
        (one,) = generate(model, [prompt], [(self.seed,)], end=0, temperature=1.3, max_new_tokens=self.tokens)
        return [*one.tokens, 0] if one.ended else one.tokens


TEXTS = ["a", "tell Ada about it", "hi there", "tell Bo about the meeting on Monday", "so", "what, now?"]


def run(engine: BatchingEngine, asked: list[Asked], apart: int) -> None:
    """They come one by one, some steps apart."""
    step = 0
    while not all(one.row.done for one in asked):
        engine.advance([one.row for place, one in enumerate(asked) if place * apart == step])
        step += 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_sequences_that_join_and_leave_are_as_if_alone(name: str) -> None:
    model = MODELS[name]()
    engine = BatchingEngine(model, 16)
    for apart in (0, 4):
        asked = [Asked(engine, text, seed, 9 + 7 * (seed % 3)) for seed, text in enumerate(TEXTS)]
        run(engine, asked, apart)
        assert [one.row.tokens for one in asked] == [one.alone(model) for one in asked]
        assert not engine.sequences and engine.free_slots == 16


def test_a_model_with_another_state_generates_one_sequence_at_a_time() -> None:
    model = shaken(lfm2(), 0.1, 0)
    engine = BatchingEngine(model, 16)
    assert engine.free_slots == 1
    one = Asked(engine, TEXTS[1], 3, 12)
    run(engine, [one], 0)
    assert one.row.tokens == one.alone(model)


@pytest.mark.parametrize("name", ["llama", "windows and not"])
def test_a_batch_that_never_ends_is_no_wider_than_its_longest_sequence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    plain = BatchingEngine._forward

    def spy(
        self: BatchingEngine, adapters: list[str], ids: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        if ids.shape[1] == 1 and len(adapters) == 2:
            widths.append(mask.shape[1])
        return plain(self, adapters, ids, mask, cache)

    monkeypatch.setattr(BatchingEngine, "_forward", spy)
    engine = BatchingEngine(MODELS[name](), 16)
    asked = [Asked(engine, "tell", seed, 10) for seed in range(12)]
    for one in asked:
        one.row.adapter.end_token_ids.clear()
    run(engine, asked, 5)
    assert len(widths) > 40 and max(widths) <= 4 + 10


def test_a_cancelled_sequence_leaves_at_the_next_step() -> None:
    model = make("llama")
    engine = BatchingEngine(model, 16)
    asked = [Asked(engine, text, seed, 20) for seed, text in enumerate(TEXTS[:3])]
    for one in asked:
        one.row.adapter.end_token_ids.clear()
    engine.advance([one.row for one in asked])
    engine.advance([])
    asked[1].row.done = True
    engine.advance([])
    assert engine.sequences == [asked[0].row, asked[2].row]
    assert (len(asked[0].row.tokens), len(asked[1].row.tokens)) == (3, 2)
    # ... and one that left before its turn is not even read.
    late = Asked(engine, "late", 9, 5)
    late.row.done = True
    engine.advance([late.row])
    assert late.row.prompt == [] and len(engine.sequences) == 2


def test_the_last_chunk_has_the_reason_and_the_token_counts() -> None:
    engine = BatchingEngine(make("llama"), 16)
    cut, ended = Asked(engine, "tell", 1, 5), Asked(engine, "tell me", 1, 5)
    cut.row.adapter.end_token_ids.clear()
    ended.row.adapter.end_token_ids.update(range(97))
    run(engine, [cut, ended], 0)
    last = cut.said[-1]
    assert isinstance(last, Chunk)
    assert (last.finish_reason, last.prompt_tokens, last.completion_tokens) == ("length", 4, 5)
    assert ended.said == [Chunk("", "stop", 7, 1)]


def test_the_model_s_length_bounds_prompt_and_answer_together() -> None:
    engine = BatchingEngine(make("llama"), 16)
    assert engine.max_length == 128
    long, longer, other = (Asked(engine, "x" * length, 0, 500) for length in (120, 128, 3))
    for one in (long, other):
        one.row.adapter.end_token_ids.clear()
    run(engine, [long, longer, other], 0)
    assert (len(long.row.tokens), len(other.row.tokens)) == (8, 125)
    (error,) = longer.said
    assert isinstance(error, BackendError)
    assert (error.status, error.retriable_elsewhere, error.code) == (400, False, "context_length_exceeded")
    assert error.param == "messages"


def test_a_failing_model_fails_its_sequences_and_continues_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama")
    engine = BatchingEngine(model, 16)
    asked = [Asked(engine, text, seed, 20) for seed, text in enumerate(TEXTS[:2])]
    engine.advance([asked[0].row])
    with monkeypatch.context() as broken:
        broken.setattr(model, "forward", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("no more")))
        engine.advance([asked[1].row])
    for one in asked:
        error = one.said[-1]
        assert isinstance(error, BackendError) and (error.status, error.retriable_elsewhere) == (500, True)
        assert "OutOfMemoryError" in error.message
    assert engine.free_slots == 16
    again = Asked(engine, TEXTS[0], 5, 20)
    run(engine, [again], 0)
    assert again.row.tokens == again.alone(model)


def test_text_that_breaks_the_tokenizer_fails_its_sequence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama")
    engine = BatchingEngine(model, 16)
    bad, good = Asked(engine, "bad", 0, 5), Asked(engine, "good", 1, 5)
    monkeypatch.setattr(Letters, "__call__", lambda self, text: {"input_ids": {"good": [1, 2]}[text]})
    run(engine, [bad, good], 0)
    (error,) = bad.said
    assert isinstance(error, BackendError) and error.status == 500
    assert len(good.row.tokens) == 5 or good.row.tokens[-1] == 0


def said(
    tokenizer: PreTrainedTokenizerFast, ids: list[int], stop: tuple[str, ...] = ()
) -> tuple[list[str], IncrementalDetokenizer]:
    text, pieces = IncrementalDetokenizer(tokenizer, stop), []
    for one in ids:
        pieces.append(text.push(one))
        if text.stopped:
            return pieces, text
    return [*pieces, text.flush()], text


@given(written=st.text(max_size=30))
def test_chunks_are_whole_characters_and_join_to_the_text(
    plain_tokenizer: PreTrainedTokenizerFast, written: str
) -> None:
    pieces, _ = said(plain_tokenizer, plain_tokenizer(written)["input_ids"])
    # U+FFFD itself cannot be told from an unfinished character; at the very end it is taken for one.
    assert "".join(pieces) == written.rstrip("\ufffd")
    if "\ufffd" not in written:
        assert not any("\ufffd" in piece for piece in pieces)


def test_chunks_are_emitted_as_soon_as_they_are_certain(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = plain_tokenizer("é🙂b")["input_ids"]
    pieces, _ = said(plain_tokenizer, ids)
    assert pieces == ["", "é", "", "", "", "🙂", "b", ""]
    assert said(plain_tokenizer, ids[:5])[0] == ["", "é", "", "", "", ""]  # an emoji without its last byte


@given(written=st.text("ab🙂", max_size=12), stops=st.lists(st.text("ab🙂", min_size=1, max_size=4), max_size=4))
def test_a_text_ends_before_its_first_stop_string(
    plain_tokenizer: PreTrainedTokenizerFast, written: str, stops: list[str]
) -> None:
    pieces, text = said(plain_tokenizer, plain_tokenizer(written)["input_ids"], tuple(stops))
    found = "".join(pieces)
    assert not any(stop in found for stop in stops)
    assert text.stopped == any(stop in written for stop in stops)
    if text.stopped:
        # It stops with the first stop string that is complete.
        ends = {written.find(stop) + len(stop): stop for stop in stops if stop in written}
        complete = written[: min(ends)]
        assert found == min((complete[: -len(stop)] for stop in stops if complete.endswith(stop)), key=len)
    else:
        assert found == written


def test_the_beginning_of_a_stop_string_is_held_back(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = plain_tokenizer("xSTOxSTOP")["input_ids"]
    pieces, text = said(plain_tokenizer, ids, ("STOP",))
    assert pieces == ["x", "", "", "", "STOx", "", "", "", ""] and text.stopped
    assert said(plain_tokenizer, ids[:4], ("STOP",))[0][-1] == "STO"
