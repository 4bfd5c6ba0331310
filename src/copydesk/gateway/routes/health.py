"""Monitoring: `/healthz` (the process runs), `/readyz` (it can answer) and `/metrics`."""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import update

from copydesk.gateway.auth import Caller
from copydesk.gateway.backends.base import PolicyBackend
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.log_commands import describe_arms
from copydesk.gateway.middleware import METRICS_CONTENT_TYPE, PERSONAL_LABEL
from copydesk.gateway.state import GatewayState
from copydesk.store.tables import clock

logger = logging.getLogger(__name__)

router = APIRouter(tags=["operations"])

_CHECK_SECONDS = 5.0  # a check that takes longer has failed
_RESULT_SECONDS = 2.0  # how long the result of a check is used
_PROBE_BYTES = 256 * 1024  # written beside an SQLite file
_POLICIES_AT_ONCE = 8


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> JSONResponse:
    """200 while the process answers; touches no store and needs no API key. See `/readyz`."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether requests can be answered",
    responses={503: {"description": "The store cannot be written to, or no policy answers."}},
)
async def readyz(request: Request) -> JSONResponse:
    """200 if the store can be written to now and at least one policy answers; needs no API key.

    `store` and `policies` say which of the two holds. The result is at most two seconds old.
    """
    checks: ReadinessChecks = request.app.state.readiness
    store, policies = await asyncio.gather(checks.store.run(), checks.policies.run())
    ready = store and policies
    return JSONResponse(
        {"status": "ok" if ready else "not ready", "store": store, "policies": policies}, 200 if ready else 503
    )


class ReadinessChecks:
    """The two checks of `/readyz`.

    Attributes:
        store: whether the store can be written to.
        policies: whether a policy for everyone answers that is open and not in cooldown.
    """

    def __init__(self, state: GatewayState) -> None:
        self.store = _CachedCheck("the store cannot be written to", self._check_store)
        self.policies = _CachedCheck("no policy answers", self._check_policies)
        self._state = state

    async def _check_store(self) -> bool:
        await asyncio.to_thread(self._write_to_store)
        await self._state.read_ledger(lambda ledger, seq: seq)  # the gateway's own writer
        return True

    def _write_to_store(self) -> None:
        with self._state.store.begin_write() as tx:
            tx.connection.execute(update(clock).values(seq=clock.c.seq))
        if (database := self._state.store.file) is not None:
            # On a full disk SQLite still writes to where its write-ahead log has been before.
            with tempfile.TemporaryFile(dir=database.parent) as file:
                file.write(os.urandom(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())

    async def _check_policies(self) -> bool:
        cooling: set[str] = await self._state.read_ledger(lambda ledger, seq: set(ledger.arms_in_cooldown(time.time())))
        offered = self._state.policies.keys() - self._state.audiences.keys() - cooling
        names = sorted(offered)
        for begin in range(0, len(names), _POLICIES_AT_ONCE):
            batch = [self._state.policies.get(name) for name in names[begin : begin + _POLICIES_AT_ONCE]]
            if await _any_answers([policy for policy in batch if policy is not None]):
                return True
        return False


async def _any_answers(policies: list[PolicyBackend]) -> bool:
    checks = [asyncio.ensure_future(_answers(policy)) for policy in policies]
    try:
        for check in asyncio.as_completed(checks):
            if await check:
                return True
        return False
    finally:
        for one in checks:
            one.cancel()


async def _answers(policy: PolicyBackend) -> bool:
    try:
        await policy.check()
    except Exception:
        return False
    return True


class _CachedCheck:
    """A check that runs once at a time, is bounded in time, and whose result is used for a while."""

    def __init__(self, failure: str, check: Callable[[], Awaitable[bool]]) -> None:
        self._failure = failure
        self._check = check
        self._task: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._finished_at = 0.0
        self._passed = True

    async def run(self) -> bool:
        """Whether the check passes; one that takes too long does not."""
        now = time.monotonic()
        if self._task is None or (self._task.done() and now - self._finished_at >= _RESULT_SECONDS):
            self._deadline = now + _CHECK_SECONDS
            self._task = asyncio.get_running_loop().create_task(self._run())
        await asyncio.wait({self._task}, timeout=max(0.0, self._deadline - now))
        if not self._task.done():
            self._set_result(False, "it takes too long")
        return self._passed

    async def _run(self) -> None:
        try:
            passed, reason = await self._check(), ""
        except Exception as exc:
            passed, reason = False, str(exc).partition("\n")[0]
        self._finished_at = time.monotonic()
        self._set_result(passed, reason)

    def _set_result(self, passed: bool, reason: str) -> None:
        if passed != self._passed:
            if passed:
                logger.warning("ready again, after: %s", self._failure)
            else:
                logger.warning("not ready: %s%s", self._failure, f" ({reason})" if reason else "")
        self._passed = passed


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
async def metrics(
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("metrics"))],
) -> Response:
    """Metrics of requests, policies and arms in Prometheus' text format, without texts and names of users.

    All policies that are for some users only have one label, `personal`, and are counted together.
    """
    arms: list[dict[str, Any]] = await state.read_ledger(lambda ledger, seq: describe_arms(ledger))
    _set_arm_gauges(state, arms)
    return Response(state.metrics.render(), headers={"content-type": METRICS_CONTENT_TYPE})


def _set_arm_gauges(state: GatewayState, arms: list[dict[str, Any]]) -> None:
    metrics = state.metrics
    for gauge in (metrics.pulls, metrics.pending, metrics.mean_cost, metrics.available):
        gauge.clear()
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        groups.setdefault(PERSONAL_LABEL if arm["audience"] is not None else arm["name"], []).append(arm)
    for label, group in groups.items():
        metrics.pulls.labels(label).set(sum(arm["pulls"] for arm in group))
        metrics.pending.labels(label).set(sum(arm["pending"] for arm in group))
        available = [arm["status"] == "active" and arm["name"] in state.policies for arm in group]
        metrics.available.labels(label).set(any(available))
        if observed := sum(arm["observed"] for arm in group):
            metrics.mean_cost.labels(label).set(sum(arm["cost_sum"] for arm in group) / observed)
