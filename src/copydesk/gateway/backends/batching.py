"""Answers written side by side: one token for each row at every step, with rows that come and go in between."""

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
    """What a row has to say after a step: some text, and at the end why it ended."""

    text: str
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class IncrementalDetokenizer:
    """The text of tokens that come one by one, up to where a stop string begins.

    A character is given away when all its bytes are there, and what may be the beginning of a stop string when it
    turns out not to be one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        # Tokens are decoded beside those before them, for some decoders treat the beginning of a text differently.
        self._prefix_offset, self._read_offset = 0, 0
        self._held_back = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain with one more token."""
        self._ids.append(token)
        new = self._decode_new()
        if not new or new.endswith(_REPLACEMENT_CHARACTER):
            return ""
        self._prefix_offset, self._read_offset = self._read_offset, len(self._ids)
        return self._cut_at_stop(new)

    def flush(self) -> str:
        """What was held back, when there are no more tokens to come."""
        return self._cut_at_stop(self._decode_new().rstrip(_REPLACEMENT_CHARACTER)) + self._held_back

    def _decode_new(self) -> str:
        """The text of the tokens that none was given of yet."""
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
    """How many characters at the end of the text could be the beginning of a stop string."""
    most = min(len(text), len(stop) - 1)
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


class Adapter:
    """How one policy speaks through an engine: with which adapter, in which tokens."""

    def __init__(self, engine: "BatchingEngine", adapter: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.name = adapter
        self.tokenizer = tokenizer
        self.end_token_ids = {find_end_of_turn(tokenizer)[-1], tokenizer.eos_token_id}


class SequenceState:
    """One request on its way to an answer.

    Attributes:
        done: whether it needs no more tokens: it has ended or failed, or the client went away, who sets it himself.
    """

    def __init__(
        self,
        voice: Adapter,
        parameters: GenerationRequest,
        max_new_tokens: int,
        emit: Callable[[Chunk | BackendError], None],
    ) -> None:
        self.adapter = voice
        self.prompt: list[int] = []
        self.tokens: list[int] = []
        self.done = False
        self.sampler = Sampler(parameters)
        self._request = parameters
        self._max_new_tokens = max_new_tokens if parameters.token_limit is None else parameters.token_limit
        self._detokenizer = IncrementalDetokenizer(voice.tokenizer, parameters.stop)
        self._emit = emit

    def encode_prompt(self) -> None:
        """Turn the messages into the tokens of the prompt.

        Raises:
            PolicyFault: the chat template refuses the messages, or they leave no room for an answer.
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
        """Write one token more, and say what it adds to the text."""
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

    def fail(self, fault: BackendError) -> None:
        """Give up."""
        self.done = True
        self._emit(fault)


class BatchingEngine:
    """One model and the rows it writes, in one thread.

    A newcomer joins at the next step: its prompt is read in a pass of its own, and its keys and values are laid beside
    those of the running rows, aligned at their last token, as a left-padded batch has them. Each row keeps positions of
    its own and sees none of the padding, so its answer depends on its neighbours by no more than rounding. A row that
    is done leaves at the next step. Where a model remembers more than keys and values (state space models, linear
    attention), one row at a time is written.

    Rows may use different LoRA adapters of one model in one pass, as PEFT's mixed batches do.

    Attributes:
        max_length: how many tokens of prompt and answer together the model was made for; `None` if it does not say.
        sequences: those that are being written.
        has_adapters: whether the model holds adapters of several policies, and each row names its own.
    """

    def __init__(self, model: PreTrainedModel, max_batch: int) -> None:
        self.model = model
        self.has_adapters = False
        self.max_length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.sequences: list[SequenceState] = []
        plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self._new_cache().layers)
        self._max_batch = max_batch if plain else 1
        # What the forward pass can be told (models with ALiBi, for one, take no positions).
        self._forward_parameters = inspect.signature(model.forward).parameters
        self._cache = self._new_cache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    @property
    def free_slots(self) -> int:
        """How many rows could join."""
        return self._max_batch - len(self.sequences)

    def advance(self, joining: Sequence[SequenceState]) -> None:
        """Write one token of every row, after newcomers have joined. If that fails, all of them have failed."""
        try:
            self._step(joining)
        except BaseException as exc:  # a panic in a library's Rust code is no Exception, and no one else would see it
            logger.exception("a local policy's model failed")
            for row in {*self.sequences, *joining}:
                if not row.done:
                    row.fail(BackendError(500, f"the model failed ({type(exc).__name__})"))
            self.evict_finished()

    @torch.inference_mode()
    def _step(self, newcomers: Sequence[SequenceState]) -> None:
        self.evict_finished()
        if self.sequences:
            ids = torch.tensor([[row.tokens[-1]] for row in self.sequences])
            self._mask = functional.pad(self._mask, (0, 1), value=1)
            self._sample(self.sequences, self._forward(_adapter_names(self.sequences), ids, self._mask, self._cache))
        joining = [row for row in newcomers if not row.done and _encode_prompt(row)]
        if joining:
            length = max(len(row.prompt) for row in joining)
            # What is masked may be any token; 0 is one of every vocabulary.
            ids = torch.tensor([[0] * (length - len(row.prompt)) + row.prompt for row in joining])
            mask = torch.tensor([[0] * (length - len(row.prompt)) + [1] * len(row.prompt) for row in joining])
            cache = self._new_cache()
            self._sample(joining, self._forward(_adapter_names(joining), ids, mask, cache))
            self._join(joining, mask, cache)
        self.evict_finished()

    @torch.inference_mode()
    def evict_finished(self) -> None:
        """Let go of the rows that are done, and of columns that only they filled."""
        staying = [place for place, row in enumerate(self.sequences) if not row.done]
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
        """Read two tokens and one more, so that a model that cannot be served so says it before anyone asks."""
        cache, mask = self._new_cache(), torch.ones(1, 3, dtype=torch.long)
        self._forward([adapter], torch.zeros(1, 2, dtype=torch.long), mask[:, :2], cache)
        self._forward([adapter], torch.zeros(1, 1, dtype=torch.long), mask, cache)

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config)

    def _forward(self, adapters: list[str], ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The logits of each row's next token; what was read is added to the cache."""
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

    def _sample(self, rows: Sequence[SequenceState], logits: torch.Tensor) -> None:
        """Draw the next token of each row."""
        scores = torch.cat([row.sampler.process_logits(logits[place : place + 1]) for place, row in enumerate(rows)])
        for row, token in zip(rows, scores.argmax(dim=1).tolist(), strict=True):
            row.append_token(token)

    def _join(self, joining: Sequence[SequenceState], mask: torch.Tensor, cache: DynamicCache) -> None:
        """Lay what newcomers have read beside what the rows before them have."""
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


def _adapter_names(rows: Sequence[SequenceState]) -> list[str]:
    return [row.adapter.name for row in rows]


def _encode_prompt(row: SequenceState) -> bool:
    """Whether the row has a prompt now; if not, it knows why."""
    try:
        row.encode_prompt()
    except BackendError as exc:
        row.fail(exc)
    except Exception as exc:  # a tokenizer or a template that breaks on this text must not break the others' answers
        logger.exception("the messages of a request cannot be encoded")
        row.fail(BackendError(500, f"the messages cannot be encoded ({type(exc).__name__})"))
    return not row.done


def _resize_left(columns: torch.Tensor, length: int, dim: int = -1) -> torch.Tensor:
    """Columns filled up with zeros on the left, or cut off there."""
    behind = [0, 0] * (-dim - 1)
    return functional.pad(columns, [*behind, length - columns.shape[dim], 0])


def _initialized_layers(cache: DynamicCache) -> list[Any]:
    """The layers that hold keys and values (some models have layers that use another one's)."""
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer) and layer.is_initialized]


def _resize_cache(cache: DynamicCache, length: int) -> None:
    """Fill up or cut off the columns of a cache on the left, where every row has padding."""
    for layer in _initialized_layers(cache):
        columns = length
        if isinstance(layer, DynamicSlidingWindowLayer):
            columns = min(length, layer.sliding_window - 1)
            layer.cumulative_length = length
        layer.keys = _resize_left(layer.keys, columns, dim=-2)
        layer.values = _resize_left(layer.values, columns, dim=-2)


@contextlib.contextmanager
def _adapter_per_row(model: PreTrainedModel, adapters: list[str]) -> Iterator[None]:
    """Tell every LoRA layer of a shared model which adapter each row uses.

    This is what `PeftModel.forward(adapter_names=...)` does, except that its hooks stay behind when the pass fails, and
    the next one would run with the wrong adapters.
    """

    def tell(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": adapters}

    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    hooks = [layer.register_forward_pre_hook(tell, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
