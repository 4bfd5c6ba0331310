"""State of a running gateway: its store, open policies and ensemble, and the operations of the routes."""

import asyncio
import contextlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.late import Pull
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.gateway import log_commands
from copydesk.gateway.auth import Authenticator, Caller
from copydesk.gateway.backends.base import PolicyBackend
from copydesk.gateway.backends.trimming import TrimmedBackend
from copydesk.gateway.config import GatewayConfig
from copydesk.gateway.log_writer import LogWriter
from copydesk.gateway.middleware import PERSONAL_LABEL, GatewayMetrics
from copydesk.policy_spec import UpstreamKeys
from copydesk.store import EditStore, find_completion
from copydesk.store.users import user_scope
from copydesk.store.write import StoredCompletion

logger = logging.getLogger(__name__)

_SYNC_INTERVAL = 2.0  # seconds between two reads of what other gateways on this store have changed
_REOPEN_DELAY = 30.0  # seconds before a policy that could not be opened is tried again
_MAX_CACHED_COMPLETIONS = 10_000  # completions whose edit can be costed without reading the store


@dataclass(frozen=True)
class _CachedCompletion:
    """Cached completion needed to cost an edit; `key` is the id of the API key of its request."""

    tenant: str
    user: str | None
    key: str | None
    response: str
    policy: str

    @property
    def requester(self) -> str | None:
        """The scope of the user of the request."""
        return None if self.user is None else user_scope(self.tenant, self.user)


class PolicyOpener(Protocol):
    """Opens policies; see `copydesk.gateway.backends.open.BackendOpener`."""

    async def open(self, name: str, spec: str) -> PolicyBackend:
        """Open a policy."""
        ...

    async def close(self) -> None:
        """Close the models of this process."""
        ...


class GatewayState:
    """Everything the routes share. Created once, then `start`ed and `close`d in the event loop."""

    def __init__(self, store: EditStore, config: GatewayConfig, opener: PolicyOpener, upstreams: UpstreamKeys) -> None:
        self.store = store
        self.upstreams = upstreams
        self.config = config
        self.metric = config.cost.name
        self.authenticator = Authenticator(
            store,
            require_key=config.require_key,
            allowed_hosts=config.allowed_hosts,
            cors_origins=config.cors_origins,
        )
        self.metrics = GatewayMetrics()
        self.log_writer = LogWriter(store)
        self.policies: dict[str, PolicyBackend] = {}
        self.audiences: dict[str, str] = {}  # scopes of the policies that are not for everyone
        self._opener = opener
        self._reopen_after: dict[str, float] = {}
        self._failure_streaks: dict[str, int] = {}
        self._recent_completions: OrderedDict[str, _CachedCompletion] = OrderedDict()
        self._forgotten_count = 0
        self._open_requests: Counter[PolicyBackend] = Counter()
        self._change_lock = asyncio.Lock()
        self._sync_task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    async def start(self, arms: Mapping[str, str], ensemble: EnsembleConfig) -> None:
        """Open the given policies and the arms in the log, and apply the ensemble's settings.

        Raises:
            InputError: one of the given policies cannot be opened or its name is taken, or the store's costs were
                computed in another way.
        """
        await self.log_writer.write(log_commands.set_config(ensemble))
        for name, spec in arms.items():
            await self.add_policy(name, spec)
        await self._sync_policies()
        self._sync_task = asyncio.get_running_loop().create_task(self._sync_forever())

    async def close(self) -> None:
        """Close policies and the log writer; everything acknowledged is in the store."""
        if self._sync_task is not None:
            self._sync_task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)  # they may still have something to log
        for policy in self.policies.values():
            await policy.close()
        await asyncio.to_thread(self.log_writer.close)
        await self._opener.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine that outlives its request."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def add_policy(self, name: str, spec: str, audience: str | None = None) -> bool:
        """Open a policy and make it an arm, for everyone or for the users of one scope.

        Returns:
            Whether it is new.

        Raises:
            InputError: it cannot be opened, or the name belongs to another policy or audience.
        """
        check = log_commands.check_arm_name
        async with self._change_lock:
            await self.log_writer.write(lambda tx, ledger: check(ledger, name, spec, audience))
            # Until the log has it, this policy is nobody else's: another gateway may add the name first.
            opened = None if name in self.policies else await self._open_backend(name, spec)
            try:
                added = await self.log_writer.write(log_commands.add_arm(name, spec, audience), durable=True)
            except BaseException:
                if opened is not None:
                    await opened.close()
                raise
            if audience is not None:
                self.audiences[name] = audience  # before requests can name it
            if opened is not None:
                self._offer_policy(name, spec, opened)
            return added

    async def retire_policy(self, name: str, caller: Caller) -> None:
        """Retire an arm; its running requests are answered.

        Raises:
            LookupError: there is none that the caller may know of.
            InputError: it is the last arm for everyone.
        """

        def work(tx: Any, ledger: Ledger) -> None:
            if not caller.may_see(ledger.audiences.get(name)):
                raise LookupError(name)
            log_commands.retire_arm(name)(tx, ledger)

        await self.log_writer.write(work, durable=True)
        await self._sync_policies()

    @contextlib.contextmanager
    def use_policy(self, name: str) -> Iterator[PolicyBackend]:
        """A policy that stays open until the block ends, even if it is retired.

        Raises:
            LookupError: it is not open.
        """
        policy = self.policies[name]
        self._open_requests[policy] += 1
        try:
            yield policy
        finally:
            self._open_requests[policy] -= 1
            if not self._open_requests[policy]:
                del self._open_requests[policy]
                if self.policies.get(name) is not policy:
                    self.spawn(policy.close())

    def get_metrics_label(self, policy: str) -> str:
        """The label of a policy in the metrics: one for all policies that are for some users only."""
        return PERSONAL_LABEL if policy in self.audiences else policy

    async def policies_hidden_from(self, requester: str | None) -> set[str]:
        """The policies that are for other users only, not for the one with this scope."""
        if not self.audiences:
            return set()
        others: set[str] = await self.read_ledger(lambda ledger, seq: ledger.arms_hidden_from(requester))
        return others

    async def choose_arm(
        self, completion_id: str, requester: str | None, tried: Collection[str], key: str | None = None
    ) -> Pull:
        """Let the ensemble choose among the open arms for a user that have not failed this request.

        Raises:
            NoArmAvailable: there is none.
        """

        # Open policies are looked up when the command runs: another gateway may have added an arm by then.
        def work(tx: Any, ledger: Ledger) -> Pull:
            closed = [name for name in ledger.specs if name not in self.policies]
            return log_commands.choose_arm(completion_id, requester, closed, tried, key)(tx, ledger)

        choosing = asyncio.ensure_future(self.log_writer.write(work))
        try:
            return await asyncio.shield(choosing)
        except asyncio.CancelledError:
            self.spawn(self._undo_choice(choosing, completion_id))
            raise

    async def _undo_choice(self, choosing: asyncio.Future[Pull], completion_id: str) -> None:
        """Withdraw a choice whose client disconnected while it was made."""
        with contextlib.suppress(log_commands.NoArmAvailable):
            pull = await choosing
            await self.record_failure(completion_id, pull.arm, pull.id, "the client went away", cooldown=False)

    async def record_failure(
        self, completion_id: str, arm: str, round: int | None, reason: str, *, cooldown: bool
    ) -> None:
        """Log that a policy did not answer; with `cooldown` it is not chosen for a while."""
        seconds = None
        if cooldown:
            self.metrics.failures.labels(self.get_metrics_label(arm)).inc()
            streak = self._failure_streaks[arm] = self._failure_streaks.get(arm, 0) + 1
            seconds = min(self.config.cooldown * 2 ** min(streak - 1, 30), self.config.max_cooldown)
            logger.warning("%s failed and is not chosen for %g s: %s", arm, seconds, reason)
        await self.log_writer.write(log_commands.record_failure(completion_id, arm, round, reason, seconds))

    async def record_completion(self, completion: StoredCompletion) -> None:
        """Log an answer."""
        await self.log_writer.write(log_commands.record_completion(completion))
        self._failure_streaks.pop(completion.policy, None)
        for kind, count in (completion.usage or {}).items():
            if kind in ("prompt_tokens", "completion_tokens") and isinstance(count, int) and count > 0:
                label = self.get_metrics_label(completion.policy)
                self.metrics.tokens.labels(label, kind.removesuffix("_tokens")).inc(count)
        cached = _CachedCompletion(
            completion.tenant, completion.user, completion.key, completion.response, completion.policy
        )
        self._cache_completion(completion.id, cached)

    async def record_edit(
        self, completion_id: str, caller: Caller, edit: str | None
    ) -> log_commands.EditAcknowledgement:
        """Cost an edit and log it durably; `None` means that the answer was accepted.

        Args:
            completion_id: id of the answer.
            caller: who sent the edit.
            edit: the edited text.

        Raises:
            LookupError: there is no such completion, or the caller may not edit it.
            TooManyRevisions: the answer has been edited `max_revisions` times.
        """
        found = await self._find_editable(completion_id, caller)
        text = found.response if edit is None else edit
        cost = 0.0 if text == found.response else await asyncio.to_thread(self.config.cost, found.response, text)
        entry = log_commands.record_edit(
            completion_id, text, cost, self.metric, found.requester, caller.key_id, self.config.max_revisions
        )
        acknowledged = await self.log_writer.write(entry, durable=True)
        if acknowledged.changed:
            self.metrics.costs.labels(self.get_metrics_label(found.policy)).observe(cost)
        return acknowledged

    async def compute_cost(self, completion_id: str, caller: Caller, edit: str) -> float:
        """The cost of an edit that is not logged.

        Raises:
            LookupError: as `record_edit`.
        """
        found = await self._find_editable(completion_id, caller)
        return await asyncio.to_thread(self.config.cost, found.response, edit)

    async def _find_editable(self, completion_id: str, caller: Caller) -> _CachedCompletion:
        found = self._recent_completions.get(completion_id)
        if found is None:
            found = await asyncio.to_thread(self._load_completion, completion_id)
            if found is not None:
                self._cache_completion(completion_id, found)
        if found is None or not caller.may_edit(found.tenant, found.user, found.key):
            raise LookupError(completion_id)
        return found

    async def read_ledger(self, read: Any) -> Any:
        """The result of `read(ledger, seq)`, with the ensemble as it is after everything that is logged."""
        return await self.log_writer.write(lambda tx, ledger: read(ledger, tx.seq))

    def _cache_completion(self, completion_id: str, asked: _CachedCompletion) -> None:
        self._recent_completions[completion_id] = asked
        if len(self._recent_completions) > _MAX_CACHED_COMPLETIONS:
            self._recent_completions.popitem(last=False)

    def _load_completion(self, completion_id: str) -> _CachedCompletion | None:
        with self.store.begin_read() as connection:
            found = find_completion(connection, completion_id)
        if found is None:
            return None
        record = found.record
        return _CachedCompletion(found.tenant, record.user, found.key, record.response, str(record.policy))

    async def _open_backend(self, name: str, spec: str) -> PolicyBackend:
        backend = await self._opener.open(name, spec)
        length = self.config.trim_repeats
        return TrimmedBackend(backend, length) if length else backend

    def _offer_policy(self, name: str, spec: str, policy: PolicyBackend) -> None:
        self.policies[name] = policy
        logger.info("%s is open: %s", name, spec)

    async def _close_policy(self, name: str) -> None:
        policy = self.policies.pop(name, None)
        if policy is not None and policy not in self._open_requests:
            await policy.close()

    async def _sync_policies(self) -> None:
        """Open new arms, close retired ones, and drop the cached texts of forgotten people."""
        async with self._change_lock:
            specs, audiences, forgettings = await self.log_writer.write(
                lambda tx, ledger: (dict(ledger.specs), dict(ledger.audiences), ledger.forgotten_count)
            )
            if forgettings != self._forgotten_count:
                self._recent_completions.clear()
                self._forgotten_count = forgettings
            self.audiences = audiences  # before requests can name new ones
            await self._reconcile_policies(specs)

    async def _reconcile_policies(self, specs: Mapping[str, str]) -> None:
        for name in [name for name in self.policies if name not in specs]:
            await self._close_policy(name)
        for name, spec in specs.items():
            if name in self.policies or self._reopen_after.get(name, 0.0) > time.monotonic():
                continue
            try:
                self._offer_policy(name, spec, await self._open_backend(name, spec))
            except InputError as exc:
                self._reopen_after[name] = time.monotonic() + _REOPEN_DELAY
                logger.warning("the arm %s cannot be opened and is left out for now: %s", name, exc)

    async def _sync_forever(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_INTERVAL)
            with contextlib.suppress(Exception):  # while the store is unavailable, requests report it
                await self._sync_policies()
                await asyncio.to_thread(self.store.checkpoint)
