"""Serve policies in the gateway's process: Transformers models, with LoRA adapters that share one base in memory."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from peft import LoraConfig, PeftConfig, PeftModel
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from copydesk import embedded, model_registry
from copydesk.errors import InputError
from copydesk.gateway.backends.base import BackendError, Json, PolicyBackend
from copydesk.gateway.backends.batching import BASE_ADAPTER, Adapter, BatchingEngine, Chunk, SequenceState
from copydesk.gateway.backends.sampling import parse_generation_request
from copydesk.gateway.schemas import GenerationRequest
from copydesk.model_registry import Dtype
from copydesk.models.load import load_model

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Settings that an adapter may have and still share its base. Any other setting that is not at its default may change
# the base's own weights (`init_lora_weights="pissa"`), or cannot differ between the sequences of a batch (`use_dora`).
_SHAREABLE_LORA_FIELDS = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "alpha_pattern", "lora_alpha", "lora_bias", "lora_dropout", "peft_type",
    "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
_LORA_WEIGHT_NAMES = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B")


class _LoadedModel:
    """A model in memory and the policies that use it."""

    def __init__(self, engine: BatchingEngine, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.adapters: set[Adapter] = set()
        self._peft: PeftModel | None = None

    def add_adapter(self, adapter: Adapter, folder: str, config: LoraConfig) -> None:
        """Load an adapter's weights; if that fails, nothing of it stays in memory."""
        try:
            if self._peft is None:
                self._peft = PeftModel(self.engine.model, config, adapter_name=adapter.name)
                tuner: Any = self._peft.base_model
                tuner.set_adapter([])  # each sequence names its own; an active adapter could not be deleted
                self.engine.has_adapters = True
            device = str(self.engine.model.device)
            self._peft.load_adapter(folder, adapter_name=adapter.name, torch_device=device)
            self.engine.smoke_test(adapter.name)
        except Exception:
            self.remove_adapter(adapter)
            raise

    def remove_adapter(self, adapter: Adapter) -> None:
        """Unload an adapter's weights, if it has any."""
        self.adapters.discard(adapter)
        self.engine.evict_finished()
        if self._peft is not None and adapter.name in self._peft.peft_config:
            self._peft.delete_adapter(adapter.name)


class LocalServer:
    """Holds the models of this process and one worker thread, so that models do not fight for cores.

    LoRA adapters of the same base share it: the base is in memory once, and its own sequences and those of its adapters
    run in the same batches. An adapter that does more than plain LoRA (DoRA, full weights for some modules, ...) gets a
    copy of the base, and its sequences run in batches of their own.

    Requests wait in one queue. At every step of a model the requests that wait for it join, up to `max_batch`; models
    take turns, one step each.

    Args:
        max_batch: the most sequences of one model in a batch.
        max_waiting: the most requests that wait; further ones are refused with 429.
        max_new_tokens: the most tokens of an answer if the request sets no limit.
        dtype: of the weights; see `TrainConfig.dtype`.
    """

    def __init__(
        self, *, max_batch: int = 16, max_waiting: int = 256, max_new_tokens: int = 512, dtype: Dtype = "auto"
    ) -> None:
        self.max_new_tokens = max_new_tokens
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._dtype: Dtype = dtype
        self._worker = ThreadPoolExecutor(1, "copydesk-policies")
        self._models: dict[Any, _LoadedModel] = {}
        self._adapter_numbers = count()
        self._change_lock = asyncio.Lock()
        # Shared by the event loop and the worker thread.
        self._lock = threading.Lock()
        self._waiting: deque[SequenceState] = deque()
        self._busy: list[BatchingEngine] = []
        self._working = False
        self._closed = False

    async def open(self, name: str, spec: str) -> PolicyBackend:
        """Load a policy, while the others keep answering.

        Args:
            name: the policy's name as an arm and in the log.
            spec: what `load_model` takes: `embedded`, a folder, a hub id, a `.gguf` file, an adapter's folder.

        Raises:
            InputError: there is no such model, a part of it is missing or damaged, or it cannot generate text.
        """
        async with self._change_lock:
            try:
                model, adapter = await self._load_policy(spec)
                model.adapters.add(adapter)
            finally:
                self._drop_unused()
        return LocalBackend(name, self, model, adapter)

    async def close(self) -> None:
        """End the worker after its current step; requests without an answer get a 503."""
        with self._lock:
            self._closed = True
        await asyncio.to_thread(self._worker.shutdown)
        for sequence in [*self._waiting, *(sequence for engine in self._busy for sequence in engine.sequences)]:
            sequence.fail(_make_closed_error())
        self._waiting.clear()
        self._busy.clear()
        self._models.clear()

    def submit(self, sequence: SequenceState) -> None:
        """Queue a sequence.

        Raises:
            BackendError: too many requests wait already (429), or the server is closed (503).
        """
        with self._lock:
            if self._closed:
                raise _make_closed_error()
            if len(self._waiting) >= self._max_waiting:
                raise BackendError(429, "too many requests are waiting", False, code="overloaded", retry_after=1)
            self._waiting.append(sequence)
            if not self._working:
                self._working = True
                self._worker.submit(self._step_models)

    def cancel(self, sequence: SequenceState) -> None:
        """Stop generating a sequence: its client is gone."""
        sequence.done = True
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(sequence)

    async def release(self, model: _LoadedModel, adapter: Adapter) -> None:
        """Unload a policy that no request uses, and its model if no other policy uses it."""
        async with self._change_lock:
            if self._closed:
                return
            await self._run_in_worker(model.remove_adapter, adapter)
            self._drop_unused()

    def _step_models(self) -> None:
        """Run one step of every model that has sequences."""
        with self._lock:
            if self._closed:
                return
            turns: dict[BatchingEngine, list[SequenceState]] = {engine: [] for engine in self._busy}
            late: deque[SequenceState] = deque()
            for sequence in self._waiting:
                newcomers = turns.setdefault(sequence.adapter.engine, [])
                (newcomers if len(newcomers) < sequence.adapter.engine.free_slots else late).append(sequence)
            self._waiting = late
        for engine, newcomers in turns.items():
            engine.advance(newcomers)
        with self._lock:
            self._busy = [engine for engine in turns if engine.sequences]
            self._working = bool(self._busy or self._waiting) and not self._closed
            if self._working:
                # Queued again at every step, so that other work for this thread runs in between.
                self._worker.submit(self._step_models)

    async def _load_policy(self, spec: str) -> tuple[_LoadedModel, Adapter]:
        folder = Path(spec).expanduser()
        if not (folder / "adapter_config.json").is_file():
            model = await self._load_shared_base(spec)
            return model, Adapter(model.engine, BASE_ADAPTER, model.tokenizer)
        config = _read_shareable_lora(folder)
        if config is not None:
            model = await self._load_shared_base(str(config.base_model_name_or_path))
            try:
                tokenizer = await asyncio.to_thread(_load_adapter_tokenizer, folder) or model.tokenizer
                adapter = Adapter(model.engine, f"adapter-{next(self._adapter_numbers)}", tokenizer)
                await self._run_in_worker(model.add_adapter, adapter, str(folder), config)
            except Exception as exc:  # `load_model` raises for a broken one
                logger.info("%s cannot share its base (%s); it is loaded with one of its own", spec, exc)
            else:
                return model, adapter
        model = await self._load_own_model(spec)
        return model, Adapter(model.engine, BASE_ADAPTER, model.tokenizer)

    async def _load_shared_base(self, spec: str) -> _LoadedModel:
        """The model without an adapter; loaded if it is not in memory."""
        key = _compute_model_key(spec)
        if key not in self._models:
            self._models[key] = await self._load_own_model(spec)
        return self._models[key]

    async def _load_own_model(self, spec: str) -> _LoadedModel:
        loaded: Any
        loaded, tokenizer, _ = await asyncio.to_thread(load_model, spec, self._dtype)
        if isinstance(loaded, PeftModel):
            config = loaded.active_peft_config
            if config.is_prompt_learning or getattr(config, "alora_invocation_tokens", None):
                # Their weights act on the prompt as a whole, not token by token.
                raise InputError(
                    f"{spec}: adapters of the kind {config.peft_type.value} cannot be served in this process"
                )
            loaded = loaded.get_base_model()
        model = _LoadedModel(BatchingEngine(loaded, self._max_batch), tokenizer)
        try:
            await self._run_in_worker(model.engine.smoke_test, BASE_ADAPTER)
        except Exception as exc:
            raise InputError(f"{spec}: cannot generate text token by token ({type(exc).__name__}: {exc})") from exc
        return model

    def _drop_unused(self) -> None:
        self._models = {key: model for key, model in self._models.items() if model.adapters}

    async def _run_in_worker(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the worker thread, between two steps."""
        return await asyncio.wrap_future(self._worker.submit(work, *args, **kwargs))


class LocalBackend:
    """A policy of a `LocalServer`."""

    def __init__(self, name: str, server: LocalServer, model: _LoadedModel, adapter: Adapter) -> None:
        self._name = name
        self._server = server
        self._loaded: tuple[_LoadedModel, Adapter] | None = (model, adapter)
        self._closing = False
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        return self._name

    async def complete(self, request: Json) -> Json:
        """The whole `chat.completion` object. Cancelling the task stops the work.

        Raises:
            BackendError: the request is invalid (400), too many requests wait (429), the model failed (500), or the
                policy or its server is closed (503).
        """
        text, usage, reason = "", {}, None
        async with contextlib.aclosing(self._iter_chunks(parse_generation_request(request))) as chunks:
            async for chunk in chunks:
                text += chunk.text
                usage, reason = _make_usage(chunk), chunk.finish_reason
        message = {"role": "assistant", "content": text, "refusal": None}
        return {
            "object": "chat.completion",
            "created": int(time.time()),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": usage,
        }

    async def stream(self, request: Json) -> AsyncGenerator[Json]:
        """The `chat.completion.chunk` objects, one by one. Closing the iterator stops the work.

        Raises:
            BackendError: as `complete`; 400 and 429 come before the first chunk.
        """
        parameters = parse_generation_request(request)
        head: Json = {"object": "chat.completion.chunk", "created": int(time.time())}
        extra: Json = {"usage": None} if parameters.stream_options.include_usage else {}
        begun = False
        async with contextlib.aclosing(self._iter_chunks(parameters)) as chunks:
            async for chunk in chunks:
                if not begun:
                    begun = True
                    yield {**head, "choices": [_make_choice({"role": "assistant", "content": ""})], **extra}
                if chunk.text:
                    yield {**head, "choices": [_make_choice({"content": chunk.text})], **extra}
                if chunk.finish_reason:
                    yield {**head, "choices": [_make_choice({}, chunk.finish_reason)], **extra}
                    if parameters.stream_options.include_usage:
                        yield {**head, "choices": [], "usage": _make_usage(chunk)}

    async def check(self) -> None:
        """Check that the policy is loaded; see `PolicyBackend`."""
        if self._loaded is None or self._closing:
            raise _make_closed_error()

    async def close(self) -> None:
        """Refuse further requests, wait for the running ones, and unload the adapter and the model."""
        self._closing = True
        await self._idle.wait()
        held, self._loaded = self._loaded, None
        if held is not None:
            await self._server.release(*held)

    async def _iter_chunks(self, parameters: GenerationRequest) -> AsyncGenerator[Chunk]:
        """The chunks of an answer; the last one has the reason why it ended."""
        if self._closing or self._loaded is None:
            raise _make_closed_error()
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Chunk | BackendError] = asyncio.Queue()

        def emit(chunk: Chunk | BackendError) -> None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(inbox.put_nowait, chunk)

        sequence = SequenceState(self._loaded[1], parameters, self._server.max_new_tokens, emit)
        self._server.submit(sequence)
        self._requests += 1
        self._idle.clear()
        try:
            finished = False
            while not finished:
                chunk = await inbox.get()
                if isinstance(chunk, BackendError):
                    raise chunk
                finished = chunk.finish_reason is not None
                yield chunk
        finally:
            self._server.cancel(sequence)
            self._requests -= 1
            if not self._requests:
                self._idle.set()


def _make_closed_error() -> BackendError:
    return BackendError(503, "the policy is closed")


def _make_usage(chunk: Chunk) -> Json:
    prompt, completion = chunk.prompt_tokens, chunk.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _make_choice(delta: Json, finish: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _compute_model_key(spec: str) -> tuple[Any, ...]:
    """A key that two specs of one model have in common: its files with size and time, or its name on the hub."""
    path = (
        embedded.path()
        if spec == embedded.NAME
        else model_registry.find_pinned_model_folder(spec) or Path(spec).expanduser()
    )
    if not path.exists():
        return (spec,)
    stats = [(file.name, file.stat()) for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    return (path.resolve(), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def _read_shareable_lora(folder: Path) -> LoraConfig | None:
    """The adapter's configuration if PEFT can mix it with others in a batch and it does not change the base.

    `None` also if it cannot be read: `load_model` raises the error.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder), inference_mode=True)
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
            names = list(weights.keys())
    except Exception:  # whatever PEFT and safetensors raise for a damaged file
        return None
    if type(config) is not LoraConfig or not config.base_model_name_or_path:
        return None
    if (Path(config.base_model_name_or_path).expanduser() / "adapter_config.json").is_file():
        return None  # an adapter on top of an adapter
    usual = LoraConfig()
    as_usual = all(
        getattr(config, field.name) == getattr(usual, field.name)
        for field in fields(config)
        if field.name not in _SHAREABLE_LORA_FIELDS
    )
    plain = all(any(part in f"{name}." for part in _LORA_WEIGHT_NAMES) for name in names)
    return config if as_usual and plain else None


def _load_adapter_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """An adapter's own tokenizer, if it has one."""
    if not (folder / "tokenizer_config.json").is_file():
        return None
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return tokenizer
