"""Continuous batching with many LoRA adapters: one token for every sequence at each step.

It exists because transformers' own continuous batching (`generate_batch`) does not support adapters, and the gateway's
main case is one base model with many LoRA arms. Here sequences of different adapters share one forward pass and one
copy of the base. PEFT's `generate(adapter_names=...)` mixes adapters too, but only in static batches.
"""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jinja2 import TemplateError
from peft.tuners.lora import LoraLayer
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from copydesk.gateway.backends.base import BackendError
from copydesk.gateway.backends.sampling import Sampler
from copydesk.gateway.schemas import GenerationRequest
from copydesk.models.chat import encode_context, find_end_of_turn

logger = logging.getLogger(__name__)

BASE_ADAPTER = "__base__"
"""What PEFT calls the model without an adapter."""

_REPLACEMENT_CHARACTER = "\ufffd"
"""What a decoder writes for the bytes of a character that is not complete."""


@dataclass(frozen=True)
class Chunk:
    """The text that a step added to a sequence, and at the end why the sequence ended."""

    text: str
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class IncrementalDetokenizer:
    """Decodes tokens one by one, up to where a stop string begins.

    A character is returned once all its bytes are there; text that may be the beginning of a stop string is held back
    until it turns out not to be one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        # Tokens are decoded together with those before them: some decoders treat the beginning of a text differently.
        self._prefix_offset, self._read_offset = 0, 0
        self._held_back = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; returns the text that is now certain."""
        self._ids.append(token)
        new = self._decode_new()
        if not new or new.endswith(_REPLACEMENT_CHARACTER):
            return ""
        self._prefix_offset, self._read_offset = self._read_offset, len(self._ids)
        return self._cut_at_stop(new)

    def flush(self) -> str:
        """The text that was held back, after the last token."""
        return self._cut_at_stop(self._decode_new().rstrip(_REPLACEMENT_CHARACTER)) + self._held_back

    def _decode_new(self) -> str:
        """The text of the tokens that have not been returned yet."""
        before = self._decode(self._ids[self._prefix_offset : self._read_offset])
        return self._decode(self._ids[self._prefix_offset :])[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _cut_at_stop(self, new: str) -> str:
        text, self._held_back = self._held_back + new, ""
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        begun = max((_stop_prefix_length(text, stop) for stop in self._stop), default=0)
        self._held_back = text[len(text) - begun :]
        return text[: len(text) - begun]


def _stop_prefix_length(text: str, stop: str) -> int:
    """The number of characters at the end of the text that could begin a stop string."""
    most = min(len(text), len(stop) - 1)
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


class Adapter:
    """One policy of an engine: its LoRA adapter and its tokenizer."""

    def __init__(self, engine: "BatchingEngine", adapter: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.name = adapter
        self.tokenizer = tokenizer
        self.end_token_ids = {find_end_of_turn(tokenizer)[-1], tokenizer.eos_token_id}


class SequenceState:
    """The state of one request while its answer is generated.

    Attributes:
        done: whether it needs no more tokens: it has ended or failed, or its client disconnected and it was cancelled.
    """

    def __init__(
        self,
        adapter: Adapter,
        parameters: GenerationRequest,
        max_new_tokens: int,
        emit: Callable[[Chunk | BackendError], None],
    ) -> None:
        self.adapter = adapter
        self.prompt: list[int] = []
        self.tokens: list[int] = []
        self.done = False
        self.sampler = Sampler(parameters)
        self._request = parameters
        self._max_new_tokens = max_new_tokens if parameters.token_limit is None else parameters.token_limit
        self._detokenizer = IncrementalDetokenizer(adapter.tokenizer, parameters.stop)
        self._emit = emit

    def encode_prompt(self) -> None:
        """Encode the messages as the tokens of the prompt.

        Raises:
            BackendError: the chat template refuses the messages, or they leave no room for an answer.
        """
        messages, tokenizer = self._request.chat, self.adapter.tokenizer
        # Without a chat template one user's message is text, as the model was trained on.
        bare = tokenizer.chat_template is None and len(messages) == 1 and messages[0].role == "user"
        try:
            self.prompt = encode_context(messages[0].content if bare else messages, tokenizer)
        except TemplateError as exc:
            why = f"messages: the chat template refuses them ({exc})"
            raise BackendError(400, why, retriable_elsewhere=False, code="invalid_value", param="messages") from None
        longest = self.adapter.engine.max_length
        if longest is not None:
            if len(self.prompt) + 1 > longest:
                why = f"messages: {len(self.prompt)} tokens are too long; the model takes {longest} with its answer"
                raise BackendError(
                    400, why, retriable_elsewhere=False, code="context_length_exceeded", param="messages"
                )
            self._max_new_tokens = min(self._max_new_tokens, longest - len(self.prompt))

    def append_token(self, token: int) -> None:
        """Append a token and emit the text it adds."""
        self.tokens.append(token)
        self.sampler.record_token(token)
        ended = token in self.adapter.end_token_ids
        text = "" if ended else self._detokenizer.push(token)
        self.done = self.done or ended or self._detokenizer.stopped or len(self.tokens) >= self._max_new_tokens
        if self.done and not self._detokenizer.stopped:
            text += self._detokenizer.flush()
        if self.done:
            reason: Literal["stop", "length"] = "stop" if ended or self._detokenizer.stopped else "length"
            self._emit(Chunk(text, reason, len(self.prompt), len(self.tokens)))
        elif text:
            self._emit(Chunk(text))

    def fail(self, error: BackendError) -> None:
        """End the sequence with an error."""
        self.done = True
        self._emit(error)


class BatchingEngine:
    """One model and its running sequences, used from one thread.

    A new sequence joins at the next step: its prompt is read in a forward pass of its own, and its keys and values are
    concatenated with those of the running sequences, aligned at the last token as in a left-padded batch. Each sequence
    has its own positions and attends to no padding, so its answer depends on its neighbours by no more than rounding. A
    finished sequence leaves at the next step. If a model's state is more than keys and values (state space models,
    linear attention), its sequences run one at a time.

    Sequences may use different LoRA adapters of the model in one pass, as PEFT's mixed batches do.

    Attributes:
        max_length: the most tokens of prompt and answer together; `None` if the model's configuration has no limit.
        sequences: the running sequences.
        has_adapters: whether the model holds the adapters of several policies, and each sequence names its own.
    """

    def __init__(self, model: PreTrainedModel, max_batch: int) -> None:
        self.model = model
        self.has_adapters = False
        self.max_length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.sequences: list[SequenceState] = []
        plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self._new_cache().layers)
        self._max_batch = max_batch if plain else 1
        # Not every model takes all arguments (models with ALiBi take no positions).
        self._forward_parameters = inspect.signature(model.forward).parameters
        self._cache = self._new_cache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    @property
    def free_slots(self) -> int:
        """The number of sequences that can join."""
        return self._max_batch - len(self.sequences)

    def advance(self, joining: Sequence[SequenceState]) -> None:
        """Let new sequences join, then generate one token of every sequence. An error fails all of them."""
        try:
            self._step(joining)
        except BaseException as exc:  # a panic in a library's Rust code is not an Exception, and would go unseen
            logger.exception("a local policy's model failed")
            for sequence in {*self.sequences, *joining}:
                if not sequence.done:
                    sequence.fail(BackendError(500, f"the model failed ({type(exc).__name__})"))
            self.evict_finished()

    @torch.inference_mode()
    def _step(self, newcomers: Sequence[SequenceState]) -> None:
        self.evict_finished()
        if self.sequences:
            ids = torch.tensor([[sequence.tokens[-1]] for sequence in self.sequences])
            self._mask = functional.pad(self._mask, (0, 1), value=1)
            self._sample(self.sequences, self._forward(_adapter_names(self.sequences), ids, self._mask, self._cache))
        joining = [sequence for sequence in newcomers if not sequence.done and _encode_prompt(sequence)]
        if joining:
            length = max(len(sequence.prompt) for sequence in joining)
            # What is masked may be any token; 0 is one of every vocabulary.
            ids = torch.tensor([[0] * (length - len(sequence.prompt)) + sequence.prompt for sequence in joining])
            mask = torch.tensor(
                [[0] * (length - len(sequence.prompt)) + [1] * len(sequence.prompt) for sequence in joining]
            )
            cache = self._new_cache()
            self._sample(joining, self._forward(_adapter_names(joining), ids, mask, cache))
            self._join(joining, mask, cache)
        self.evict_finished()

    @torch.inference_mode()
    def evict_finished(self) -> None:
        """Remove finished sequences, and the cache columns that only they used."""
        staying = [place for place, sequence in enumerate(self.sequences) if not sequence.done]
        if len(staying) == len(self.sequences):
            return
        self.sequences = [self.sequences[place] for place in staying]
        if not self.sequences:
            self._cache = self._new_cache()
            return
        self._cache.batch_select_indices(torch.tensor(staying, device=self.model.device))
        self._mask = self._mask[staying]
        length = int(self._mask.sum(dim=1).max())
        self._mask = _resize_left(self._mask, length)
        _resize_cache(self._cache, length)

    @torch.inference_mode()
    def smoke_test(self, adapter: str) -> None:
        """Run two steps, so that a model that cannot be served this way fails before the first request."""
        cache, mask = self._new_cache(), torch.ones(1, 3, dtype=torch.long)
        self._forward([adapter], torch.zeros(1, 2, dtype=torch.long), mask[:, :2], cache)
        self._forward([adapter], torch.zeros(1, 1, dtype=torch.long), mask, cache)

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config)

    def _forward(self, adapters: list[str], ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The logits of each sequence's next token; the keys and values of `ids` are added to the cache."""
        device = self.model.device
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        extras = {"logits_to_keep": 1, "position_ids": positions.to(device)}
        with _adapter_per_row(self.model, adapters) if self.has_adapters else contextlib.nullcontext():
            output = self.model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                past_key_values=cache,
                use_cache=True,
                **{name: extra for name, extra in extras.items() if name in self._forward_parameters},
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _sample(self, sequences: Sequence[SequenceState], logits: torch.Tensor) -> None:
        """Sample the next token of each sequence."""
        scores = torch.cat(
            [sequence.sampler.process_logits(logits[place : place + 1]) for place, sequence in enumerate(sequences)]
        )
        for sequence, token in zip(sequences, scores.argmax(dim=1).tolist(), strict=True):
            sequence.append_token(token)

    def _join(self, joining: Sequence[SequenceState], mask: torch.Tensor, cache: DynamicCache) -> None:
        """Concatenate the caches of new sequences with those of the running ones."""
        if self.sequences:
            length = max(self._mask.shape[1], mask.shape[1])
            _resize_cache(self._cache, length)
            _resize_cache(cache, length)
            for layer, more in zip(_initialized_layers(self._cache), _initialized_layers(cache), strict=True):
                layer.keys = torch.cat([layer.keys, more.keys])
                layer.values = torch.cat([layer.values, more.values])
            mask = torch.cat([_resize_left(self._mask, length), _resize_left(mask, length)])
        else:
            self._cache = cache
        self._mask = mask
        self.sequences = [*self.sequences, *joining]


def _adapter_names(sequences: Sequence[SequenceState]) -> list[str]:
    return [sequence.adapter.name for sequence in sequences]


def _encode_prompt(sequence: SequenceState) -> bool:
    """Encode a sequence's prompt; returns whether it can run. Otherwise it has failed with the reason."""
    try:
        sequence.encode_prompt()
    except BackendError as exc:
        sequence.fail(exc)
    except Exception as exc:  # must not break the other answers
        logger.exception("the messages of a request cannot be encoded")
        sequence.fail(BackendError(500, f"the messages cannot be encoded ({type(exc).__name__})"))
    return not sequence.done


def _resize_left(columns: torch.Tensor, length: int, dim: int = -1) -> torch.Tensor:
    """Pad columns with zeros on the left, or cut them off there."""
    behind = [0, 0] * (-dim - 1)
    return functional.pad(columns, [*behind, length - columns.shape[dim], 0])


def _initialized_layers(cache: DynamicCache) -> list[Any]:
    """The layers that hold keys and values (some models have layers that use another one's)."""
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer) and layer.is_initialized]


def _resize_cache(cache: DynamicCache, length: int) -> None:
    """Pad or cut off the columns of a cache on the left, where every sequence has padding."""
    for layer in _initialized_layers(cache):
        columns = length
        if isinstance(layer, DynamicSlidingWindowLayer):
            columns = min(length, layer.sliding_window - 1)
            layer.cumulative_length = length
        layer.keys = _resize_left(layer.keys, columns, dim=-2)
        layer.values = _resize_left(layer.values, columns, dim=-2)


@contextlib.contextmanager
def _adapter_per_row(model: PreTrainedModel, adapters: list[str]) -> Iterator[None]:
    """Set the adapter of each sequence in every LoRA layer of a shared model.

    `PeftModel.forward(adapter_names=...)` does the same, but its hooks stay behind if the pass fails, and the next pass
    would run with the wrong adapters.
    """

    def set_names(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": adapters}

    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    hooks = [layer.register_forward_pre_hook(set_names, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
