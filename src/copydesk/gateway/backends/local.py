"""Policies that run in the gateway's own process: Transformers models, with adapters that share one base in memory."""

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

# What an adapter may say of itself and still share its base. With anything else that is not as it is by default it may
# change the base's own weights (`init_lora_weights="pissa"`), or cannot be told apart by row (`use_dora`).
_SHAREABLE_LORA_FIELDS = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "alpha_pattern", "lora_alpha", "lora_bias", "lora_dropout", "peft_type",
    "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
_LORA_WEIGHT_NAMES = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B")


class _LoadedModel:
    """A model in memory and the policies that speak through it."""

    def __init__(self, engine: BatchingEngine, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.adapters: set[Adapter] = set()
        self._peft: PeftModel | None = None

    def add_adapter(self, voice: Adapter, folder: str, config: LoraConfig) -> None:
        """Load the adapter of a voice; if that fails, nothing is left of it."""
        try:
            if self._peft is None:
                self._peft = PeftModel(self.engine.model, config, adapter_name=voice.name)
                tuner: Any = self._peft.base_model
                tuner.set_adapter([])  # rows name theirs; one active by itself would be in the way when it is deleted
                self.engine.has_adapters = True
            device = str(self.engine.model.device)
            self._peft.load_adapter(folder, adapter_name=voice.name, torch_device=device)
            self.engine.smoke_test(voice.name)
        except Exception:
            self.remove_adapter(voice)
            raise

    def remove_adapter(self, voice: Adapter) -> None:
        """Unload the adapter of a voice, if it has one."""
        self.adapters.discard(voice)
        self.engine.evict_finished()
        if self._peft is not None and voice.name in self._peft.peft_config:
            self._peft.delete_adapter(voice.name)


class LocalServer:
    """Holds the models of this process and one worker thread, so that models do not fight for cores.

    Adapters (LoRA) of the same base share it: it is in memory once, and their rows and the bare base's are written in
    the same batches. An adapter that does more than plain LoRA (DoRA, weights of its own for whole modules, ...) gets a
    base of its own, and so its rows run alone.

    Requests wait in one queue. At every step of a model those that wait for it join, as far as there is room; models
    take turns, a step each.

    Args:
        max_batch: rows of one model that are written side by side.
        max_waiting: requests that may wait; more are refused with 429.
        max_new_tokens: where an answer is cut off if the request does not say.
        dtype: of the weights; see `TrainSettings.dtype`.
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
        # What the event loop and the worker both touch.
        self._lock = threading.Lock()
        self._waiting: deque[SequenceState] = deque()
        self._busy: list[BatchingEngine] = []
        self._working = False
        self._closed = False

    async def open(self, name: str, spec: str) -> PolicyBackend:
        """Load a policy, while others go on answering.

        Args:
            name: as an arm and in the log.
            spec: what `load_model` takes: `embedded`, a folder, a hub id, a `.gguf` file, an adapter's folder.

        Raises:
            InputError: there is no such model, a part of it is missing or damaged, or it cannot write answers.
        """
        async with self._change_lock:
            try:
                model, voice = await self._load_policy(spec)
                model.adapters.add(voice)
            finally:
                self._drop_unused()
        return LocalBackend(name, self, model, voice)

    async def close(self) -> None:
        """End the worker after the step it is at; requests that have no answer yet get a 503."""
        with self._lock:
            self._closed = True
        await asyncio.to_thread(self._worker.shutdown)
        for row in [*self._waiting, *(row for engine in self._busy for row in engine.sequences)]:
            row.fail(_make_closed_error())
        self._waiting.clear()
        self._busy.clear()
        self._models.clear()

    def submit(self, row: SequenceState) -> None:
        """Queue a row.

        Raises:
            PolicyFault: too many wait already (429), or the server is closed (503).
        """
        with self._lock:
            if self._closed:
                raise _make_closed_error()
            if len(self._waiting) >= self._max_waiting:
                raise BackendError(429, "too many requests are waiting", False, code="overloaded", retry_after=1)
            self._waiting.append(row)
            if not self._working:
                self._working = True
                self._worker.submit(self._step_models)

    def cancel(self, row: SequenceState) -> None:
        """Nobody waits for the row any more."""
        row.done = True
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(row)

    async def release(self, model: _LoadedModel, voice: Adapter) -> None:
        """Let go of a policy that no request uses, and of its model if no other policy does."""
        async with self._change_lock:
            if self._closed:
                return
            await self._run_in_worker(model.remove_adapter, voice)
            self._drop_unused()

    def _step_models(self) -> None:
        """One step of every model that has something to do."""
        with self._lock:
            if self._closed:
                return
            turns: dict[BatchingEngine, list[SequenceState]] = {engine: [] for engine in self._busy}
            late: deque[SequenceState] = deque()
            for row in self._waiting:
                newcomers = turns.setdefault(row.adapter.engine, [])
                (newcomers if len(newcomers) < row.adapter.engine.free_slots else late).append(row)
            self._waiting = late
        for engine, newcomers in turns.items():
            engine.advance(newcomers)
        with self._lock:
            self._busy = [engine for engine in turns if engine.sequences]
            self._working = bool(self._busy or self._waiting) and not self._closed
            if self._working:
                # Queued anew at every step, so that what else the worker is asked to do comes in between.
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
                voice = Adapter(model.engine, f"adapter-{next(self._adapter_numbers)}", tokenizer)
                await self._run_in_worker(model.add_adapter, voice, str(folder), config)
            except Exception as exc:  # `load_model` says what is wrong with it, or finds nothing wrong
                logger.info("%s cannot share its base (%s); it is loaded with one of its own", spec, exc)
            else:
                return model, voice
        model = await self._load_own_model(spec)
        return model, Adapter(model.engine, BASE_ADAPTER, model.tokenizer)

    async def _load_shared_base(self, spec: str) -> _LoadedModel:
        """The model without an adapter, from memory where it is there."""
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
                # Their weights act on the prompt as a whole, and do not come token by token.
                raise InputError(f"{spec}: adapters of the kind {config.peft_type.value} cannot be served here")
            loaded = loaded.get_base_model()
        model = _LoadedModel(BatchingEngine(loaded, self._max_batch), tokenizer)
        try:
            await self._run_in_worker(model.engine.smoke_test, BASE_ADAPTER)
        except Exception as exc:
            raise InputError(f"{spec}: cannot write answers token by token ({type(exc).__name__}: {exc})") from exc
        return model

    def _drop_unused(self) -> None:
        self._models = {key: model for key, model in self._models.items() if model.adapters}

    async def _run_in_worker(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with a model between two steps."""
        return await asyncio.wrap_future(self._worker.submit(work, *args, **kwargs))


class LocalBackend:
    """A policy of a `LocalServer`."""

    def __init__(self, name: str, server: LocalServer, model: _LoadedModel, voice: Adapter) -> None:
        self._name = name
        self._server = server
        self._loaded: tuple[_LoadedModel, Adapter] | None = (model, voice)
        self._closing = False
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def name(self) -> str:
        """The name it has as an arm and in the log."""
        return self._name

    async def complete(self, request: Json) -> Json:
        """The whole `chat.completion` object. Cancelling the task stops the work.

        Raises:
            PolicyFault: the request is wrong (400), too many wait (429), the model failed (500), or the policy or its
                server is closed (503).
        """
        text, usage, reason = "", {}, None
        async with contextlib.aclosing(self._iter_chunks(parse_generation_request(request))) as pieces:
            async for piece in pieces:
                text += piece.text
                usage, reason = _make_usage(piece), piece.finish_reason
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
            PolicyFault: as `complete`; before the first chunk, except for 500 and 503.
        """
        parameters = parse_generation_request(request)
        head: Json = {"object": "chat.completion.chunk", "created": int(time.time())}
        extra: Json = {"usage": None} if parameters.stream_options.include_usage else {}
        begun = False
        async with contextlib.aclosing(self._iter_chunks(parameters)) as pieces:
            async for piece in pieces:
                if not begun:
                    begun = True
                    yield {**head, "choices": [_make_choice({"role": "assistant", "content": ""})], **extra}
                if piece.text:
                    yield {**head, "choices": [_make_choice({"content": piece.text})], **extra}
                if piece.finish_reason:
                    yield {**head, "choices": [_make_choice({}, piece.finish_reason)], **extra}
                    if parameters.stream_options.include_usage:
                        yield {**head, "choices": [], "usage": _make_usage(piece)}

    async def close(self) -> None:
        """Refuse further requests, and let go of adapter and model when those under way have their answers."""
        self._closing = True
        await self._idle.wait()
        held, self._loaded = self._loaded, None
        if held is not None:
            await self._server.release(*held)

    async def _iter_chunks(self, parameters: GenerationRequest) -> AsyncGenerator[Chunk]:
        """The answer piece by piece; the last one says how it finished."""
        if self._closing or self._loaded is None:
            raise _make_closed_error()
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Chunk | BackendError] = asyncio.Queue()

        def emit(piece: Chunk | BackendError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever asked with it
                loop.call_soon_threadsafe(inbox.put_nowait, piece)

        row = SequenceState(self._loaded[1], parameters, self._server.max_new_tokens, emit)
        self._server.submit(row)
        self._requests += 1
        self._idle.clear()
        try:
            finished = False
            while not finished:
                piece = await inbox.get()
                if isinstance(piece, BackendError):
                    raise piece
                finished = piece.finish_reason is not None
                yield piece
        finally:
            self._server.cancel(row)
            self._requests -= 1
            if not self._requests:
                self._idle.set()


def _make_closed_error() -> BackendError:
    return BackendError(503, "the policy is closed")


def _make_usage(piece: Chunk) -> Json:
    prompt, completion = piece.prompt_tokens, piece.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _make_choice(delta: Json, finish: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _compute_model_key(spec: str) -> tuple[Any, ...]:
    """What is the same for two specs of the same model: the files as they are now, or the name on the hub."""
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
    """The adapter's settings if PEFT can mix it with others in one batch, and it leaves the base as it is.

    `None` also where it cannot be read: `load_model` says why.
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
        return None  # an adapter upon an adapter
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
