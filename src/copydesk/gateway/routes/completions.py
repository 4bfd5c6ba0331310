"""`POST /v1/chat/completions`: choose a policy, forward the request, log the answer."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from copydesk.gateway.auth import Caller
from copydesk.gateway.backends.base import BackendError, Json, PolicyBackend
from copydesk.gateway.dependencies import lookup_gateway_state
from copydesk.gateway.errors import ApiError, make_error_body
from copydesk.gateway.log_commands import NoArmAvailable
from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.gateway.schemas import CHAT_REQUEST_REF, ENSEMBLE_MODEL, ChatRequest, read_body
from copydesk.gateway.state import GatewayState
from copydesk.store.read import extract_text
from copydesk.store.users import user_scope
from copydesk.store.write import StoredCompletion
from copydesk.upstream import MAX_RETRY_AFTER, clean_line

logger = logging.getLogger(__name__)

router = APIRouter(tags=["completions"])

T = TypeVar("T")

_WITHDRAWAL_PAUSES = (0.0, 1.0, 4.0)  # seconds before each attempt to withdraw a pull while the store is unavailable


@dataclass(frozen=True)
class CompletionCall:
    """A completion request, and the policy chosen for it."""

    id: str
    created_at: float
    caller: Caller
    body: Json
    requested: str
    user: str | None
    policy: str = ""
    propensity: float = 1.0
    round: int | None = None

    @property
    def requester(self) -> str | None:
        """The scope of the requesting user, within their tenant."""
        return None if self.user is None else user_scope(self.caller.tenant, self.user)

    @property
    def key(self) -> str | None:
        """The id of the API key of the request."""
        return self.caller.key_id

    @property
    def extension(self) -> Json:
        """The field `copydesk` of an answer."""
        return {"policy": self.policy, "propensity": self.propensity, "round": self.round}

    @property
    def headers(self) -> dict[str, str]:
        """The same as response headers."""
        return {
            "x-copydesk-completion": self.id,
            "x-copydesk-policy": self.policy,
            "x-copydesk-propensity": f"{self.propensity:.6g}",
        }


@dataclass
class CompletionAccumulator:
    """The parts of an answer so far; `closed` once the answer, its failure or its withdrawal is logged."""

    text_parts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Json | None = None
    closed: bool = False


@router.post(
    "/v1/chat/completions",
    summary="Ask for a completion",
    response_model=None,
    responses={
        200: {
            "description": "OpenAI's `chat.completion`, or with `stream` a stream of `chat.completion.chunk`. `id` is "
            "the handle for the edit; `copydesk` has the policy that answered and its propensity.",
            "content": {"application/json": {}, "text/event-stream": {}},
        }
    },
    # The body is read here, once and with every key: FastAPI would drop unknown keys and validate twice.
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": CHAT_REQUEST_REF}}}},
)
async def chat_completions(request: Request) -> Response:
    """Answer a chat, as OpenAI's API does. `model: "copydesk"` lets the late ensemble choose among the policies."""
    state = lookup_gateway_state(request)
    caller = await state.authenticator.authenticate(request, "complete")
    body, asked = await read_body(request, ChatRequest, context=state.config)
    completion_id = f"chatcmpl-{secrets.token_hex(16)}"  # random: nobody can guess the id of another answer
    user = caller.resolve_user(asked.user or None)
    asked_for = CompletionCall(completion_id, time.time(), caller, body, asked.model, user)
    try:
        if asked.stream:
            return await _cancel_on_disconnect(request, _respond_streaming(state, asked_for))
        return await _cancel_on_disconnect(request, _respond(state, asked_for))
    except NoArmAvailable:
        raise ApiError(503, "no policy can answer now; retry", code="no_policy") from None


async def _respond(state: GatewayState, asked: CompletionCall) -> Response:
    async def ask(current: CompletionCall, policy: PolicyBackend) -> tuple[CompletionAccumulator, bytes]:
        started = time.perf_counter()
        answer = await policy.complete(current.body)
        label = state.get_metrics_label(policy.name)
        state.metrics.policy_seconds.labels(label).observe(time.perf_counter() - started)
        choice = answer["choices"][0]
        text = extract_text((choice.get("message") or {}).get("content"))
        answer |= {"id": current.id, "model": current.policy, "copydesk": current.extension}
        answer.setdefault("object", "chat.completion")
        answer.setdefault("created", int(current.created_at))
        accumulated = CompletionAccumulator([text], choice.get("finish_reason"), answer.get("usage"))
        return accumulated, _encode_json(answer)

    with ExitStack() as stack:
        current, (answer, document) = await _call_with_fallback(state, asked, stack, ask)
        try:
            await _log_completion(state, current, answer)
        except BaseException as exc:
            _record_abandoned(state, current, exc)
            raise
        return Response(document, media_type="application/json", headers=current.headers)


async def _respond_streaming(state: GatewayState, asked: CompletionCall) -> Response:
    async def begin(current: CompletionCall, policy: PolicyBackend) -> tuple[_EventEncoder, AsyncIterator[Json]]:
        # Until the first chunk another policy can still answer; the client has seen nothing yet.
        chunks = policy.stream(current.body)
        try:
            first = await anext(chunks, None)
            if first is None:
                raise BackendError(502, "the policy's answer was empty")
            encoder = _EventEncoder(current)
            encoder.add(first)
        except BaseException:
            with suppress(Exception):
                await chunks.aclose()  # type: ignore[attr-defined]
            raise
        return encoder, chunks

    with ExitStack() as stack:
        current, (encoder, chunks) = await _call_with_fallback(state, asked, stack, begin)
        answer = encoder.answer
        events = _iter_events(state, current, encoder, chunks)
        ending = _finish_stream(state, current, answer, chunks, stack.pop_all())
        headers = {**current.headers, "cache-control": "no-store"}
        return _TrackedStreamingResponse(
            events, partial(state.spawn, ending), media_type="text/event-stream", headers=headers
        )


async def _call_with_fallback(
    state: GatewayState,
    asked: CompletionCall,
    stack: ExitStack,
    ask: Callable[[CompletionCall, PolicyBackend], Awaitable[T]],
) -> tuple[CompletionCall, T]:
    """Call policies until one answers; returns the call with that policy, kept open by `stack`, and the answer."""
    tried: set[str] = set()
    failed: BackendError | None = None
    while True:
        try:
            current, policy = await _open_next_policy(state, asked, tried, stack)
        except NoArmAvailable:
            if failed is None:
                raise
            raise _to_api_error(failed) from None
        try:
            return current, await ask(current, policy)
        except Exception as exc:
            failed = await _record_failure(state, current, exc)
        except BaseException as exc:
            _record_abandoned(state, current, exc)
            raise
        if not failed.retriable_elsewhere or current.round is None:
            raise _to_api_error(failed) from None  # no other policy can answer it, or a policy was named
        tried.add(current.policy)


async def _record_failure(state: GatewayState, current: CompletionCall, exc: Exception) -> BackendError:
    """Log that a policy failed; an exception that it should not raise counts as any other error of it."""
    if isinstance(exc, BackendError):
        error, reason = exc, exc.message
    else:
        logger.exception("%s raised an exception that is not a BackendError", current.policy)
        error, reason = BackendError(500, "the policy failed; see the gateway's log"), f"{type(exc).__name__}: {exc}"
    reason = clean_line(reason)
    try:
        await state.record_failure(
            current.id, current.policy, current.round, reason, cooldown=error.retriable_elsewhere
        )
    except BaseException as failed:
        _record_abandoned(state, current, failed)
        raise
    return error


class _EventEncoder:
    """Turns the chunks of an answer into server-sent events, and accumulates the answer.

    Attributes:
        answer: the answer so far.
        ready: events that can be sent now.
        held: events from the one that ends the answer on; they are sent after the answer is logged.
    """

    def __init__(self, current: CompletionCall) -> None:
        self.answer = CompletionAccumulator()
        self.ready: list[bytes] = []
        self.held: list[bytes] = []
        self._fields: Json = {"id": current.id, "model": current.policy}
        self._first: Json | None = {"copydesk": current.extension}

    def add(self, chunk: Json) -> None:
        """Add a chunk."""
        _accumulate_chunk(self.answer, chunk)
        chunk.pop("copydesk", None)  # only the gateway names the policy
        chunk |= self._fields
        if self._first is not None:
            chunk |= self._first
            self._first = None
        (self.ready if self.answer.finish_reason is None else self.held).append(_encode_event(chunk))

    def take_ready(self) -> list[bytes]:
        """The events that can be sent now."""
        ready, self.ready = self.ready, []
        return ready


async def _iter_events(
    state: GatewayState, current: CompletionCall, encoder: _EventEncoder, chunks: AsyncIterator[Json]
) -> AsyncIterator[bytes]:
    """The chunks as server-sent events. The chunk that ends the answer is sent after the answer is logged."""
    answer = encoder.answer
    started = time.perf_counter()
    try:
        while True:
            for event in encoder.take_ready():
                yield event
            chunk = await anext(chunks, None)
            if chunk is None:
                break
            encoder.add(chunk)
    except Exception as exc:
        try:
            error = await _record_failure(state, current, exc)
            answer.closed = True
        except Exception:
            logger.exception("the failure of %s could not be logged", current.policy)
            error = BackendError(503, "the answer could not be finished or logged")
        yield _encode_event(make_error_body(error.status, error.message, code=error.code))
        return
    label = state.get_metrics_label(current.policy)
    state.metrics.policy_seconds.labels(label).observe(time.perf_counter() - started)
    try:
        await _log_completion(state, current, answer)
    except Exception as exc:
        logger.exception("an answer of %s could not be logged", current.policy)
        answer.closed = True
        _record_abandoned(state, current, exc)
        yield _encode_event(make_error_body(503, "the answer could not be finished or logged"))
        return
    answer.closed = True
    for event in encoder.held:
        yield event
    yield b"data: [DONE]\n\n"


async def _finish_stream(
    state: GatewayState,
    current: CompletionCall,
    answer: CompletionAccumulator,
    chunks: AsyncIterator[Json],
    stack: ExitStack,
) -> None:
    """Clean up after a stream, however it ended: stop the policy, and withdraw the pull of an abandoned answer."""
    with stack:
        if not answer.closed:
            _record_abandoned(state, current, None)
        with suppress(Exception):
            await chunks.aclose()  # type: ignore[attr-defined]


def _encode_event(document: Json) -> bytes:
    return b"data: " + _encode_json(document) + b"\n\n"


def _encode_json(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


class _TrackedStreamingResponse(StreamingResponse):
    """A stream that calls `on_close` at its end, also if the client disconnected before the first event."""

    def __init__(self, events: AsyncIterator[bytes], on_close: Callable[[], None], **more: Any) -> None:
        super().__init__(events, **more)
        self._on_close = on_close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_close()


async def _open_next_policy(
    state: GatewayState, asked: CompletionCall, tried: set[str], stack: ExitStack
) -> tuple[CompletionCall, PolicyBackend]:
    """Choose the next policy, kept open by `stack`."""
    while True:
        current = await _choose_policy(state, asked, tried)
        try:
            return current, stack.enter_context(state.use_policy(current.policy))
        except LookupError:  # it has just been retired
            await state.record_failure(current.id, current.policy, current.round, "retired", cooldown=False)
            tried.add(current.policy)


async def _choose_policy(state: GatewayState, asked: CompletionCall, tried: set[str]) -> CompletionCall:
    if asked.requested == ENSEMBLE_MODEL:
        pull = await state.choose_arm(asked.id, asked.requester, tried, asked.key)
        return replace(asked, policy=pull.arm, propensity=pull.propensity, round=pull.id)
    if asked.requested not in state.policies or not await _may_request_policy(state, asked):
        raise ApiError(
            404,
            f"the model {asked.requested!a} does not exist; GET /v1/models lists those that do",
            code="model_not_found",
            param="model",
        )
    return replace(asked, policy=asked.requested)


async def _may_request_policy(state: GatewayState, asked: CompletionCall) -> bool:
    """Whether a policy may be requested by name: one that learned from a user is hidden from the others.

    A caller with the scope `admin` may try one of their tenant in a request that names no user.
    """
    if asked.requester is None and "admin" in asked.caller.scopes:
        return asked.caller.may_see(state.audiences.get(asked.requested))
    return asked.requested not in await state.policies_hidden_from(asked.requester)


def _to_api_error(error: BackendError) -> ApiError:
    """The error response after a policy failed and no other can answer."""
    wait = error.retry_after
    headers = {} if wait is None or not 0 <= wait <= MAX_RETRY_AFTER else {"retry-after": f"{max(1, round(wait))}"}
    return ApiError(error.status, error.message, code=error.code, param=error.param, headers=headers)


def _record_abandoned(state: GatewayState, current: CompletionCall, error: BaseException | None) -> None:
    """Withdraw the pull of a request whose client disconnected, or that raised.

    Logged in the background, since this may run in a task that is being cancelled.
    """
    disconnected = error is None or isinstance(error, asyncio.CancelledError)
    reason = "the client went away" if disconnected else clean_line(f"{type(error).__name__}: {error}")
    state.spawn(_withdraw(state, current, reason))


async def _withdraw(state: GatewayState, current: CompletionCall, reason: str) -> None:
    for pause in _WITHDRAWAL_PAUSES:
        await asyncio.sleep(pause)
        with suppress(StoreUnavailable):
            await state.record_failure(current.id, current.policy, current.round, reason, cooldown=False)
            return
    logger.warning("the pull of %s could not be withdrawn; it stays pending until it expires", current.id)


async def _log_completion(state: GatewayState, current: CompletionCall, answer: CompletionAccumulator) -> None:
    body = current.body
    await state.record_completion(
        StoredCompletion(
            id=current.id,
            at=current.created_at,
            tenant=current.caller.tenant,
            user=current.user,
            requested=current.requested,
            policy=current.policy,
            propensity=current.propensity,
            round=current.round,
            messages=body["messages"],
            parameters={name: value for name, value in body.items() if name not in ("messages", "model", "user")},
            response=_sanitize_text("".join(answer.text_parts)),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            key=current.key,
        )
    )


def _accumulate_chunk(answer: CompletionAccumulator, chunk: Json) -> None:
    """Add a chunk to the answer."""
    if isinstance(chunk.get("usage"), dict):
        answer.usage = chunk["usage"]
    for choice in chunk.get("choices") or []:
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            continue
        delta = choice.get("delta")
        if isinstance(delta, dict) and (text := extract_text(delta.get("content"))):
            answer.text_parts.append(text)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            answer.finish_reason = reason


async def _cancel_on_disconnect(request: Request, work: Any) -> Response:
    """Cancel generation when the client disconnects."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()  # type: ignore[no-any-return]
        task.cancel()
        await asyncio.wait({task})
        return Response(status_code=499)
    finally:
        watch.cancel()
        task.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _sanitize_text(text: str) -> str:
    """A text that every database stores: invalid characters become the replacement character."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
