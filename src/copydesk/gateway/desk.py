"""The desk: the store, the policies and the ensemble of a running gateway, and what a request does with them."""

import asyncio
import contextlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from copydesk.ensemble.late import Pull
from copydesk.ensemble.ledger import Ledger
from copydesk.ensemble.settings import EnsembleSettings
from copydesk.errors import InputError
from copydesk.gateway import entries
from copydesk.gateway.access import Access
from copydesk.gateway.metrics import Metrics
from copydesk.gateway.scribe import Scribe
from copydesk.gateway.serving.policy import ServedPolicy
from copydesk.gateway.settings import GatewaySettings
from copydesk.log.store import EditStore, find_completion
from copydesk.log.store.append import Completion
from copydesk.log.store.people import user_scope

logger = logging.getLogger(__name__)

_LOOK = 2.0  # seconds between two looks at what other gateways on this store have changed
_AGAIN = 30.0  # seconds before a policy that could not be opened is tried again
_REMEMBERED = 10_000  # completions whose edit can be costed without reading the store


@dataclass(frozen=True)
class _Asked:
    """What an edit of an answer takes: whose answer, the scope of its user, its text, and who gave it."""

    tenant: str
    who: str | None
    response: str
    policy: str


class Opens(Protocol):
    """What opens policies; see `copydesk.gateway.serving.open.Opener`."""

    async def open(self, name: str, spec: str) -> ServedPolicy:
        """Open a policy."""
        ...

    async def close(self) -> None:
        """Stop what runs in this process."""
        ...


class Desk:
    """Everything the routes share. Made once, `start`ed in the event loop, and `close`d."""

    def __init__(self, store: EditStore, settings: GatewaySettings, opener: Opens) -> None:
        self.store = store
        self.settings = settings
        self.metric = settings.cost.name
        self.access = Access(store)
        self.metrics = Metrics()
        self.scribe = Scribe(store)
        self.policies: dict[str, ServedPolicy] = {}
        self.audiences: dict[str, str] = {}  # whom those are for that are not for everyone
        self._opener = opener
        self._specs: dict[str, str] = {}
        self._failed: dict[str, float] = {}
        self._streaks: dict[str, int] = {}
        self._recent: OrderedDict[str, _Asked] = OrderedDict()
        self._forgettings = 0
        self._users: Counter[ServedPolicy] = Counter()
        self._changing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    async def start(self, arms: Mapping[str, str], ensemble: EnsembleSettings) -> None:
        """Open the given policies and those the log has as arms, and let the ensemble follow its settings.

        Raises:
            InputError: one of the given policies cannot be opened or its name is taken, or the store's costs were
                computed in another way.
        """
        await self.scribe.write(entries.follow(ensemble))
        for name, spec in arms.items():
            await self.add(name, spec)
        await self._look()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def close(self) -> None:
        """Let go of everything; what was acknowledged is in the store."""
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)  # what is still to be logged
        for policy in self.policies.values():
            await policy.close()
        await asyncio.to_thread(self.scribe.close)
        await self._opener.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that outlives the request that asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def add(self, name: str, spec: str, audience: str | None = None) -> bool:
        """Open a policy and make it an arm, for everyone or for the users of one scope.

        Returns:
            Whether it was none before.

        Raises:
            InputError: it cannot be opened, or the name was given to another, or to be for others.
        """
        await self.scribe.write(lambda tx, ledger: entries.check_name(ledger, name, spec, audience))
        async with self._changing:
            if audience is not None:
                self.audiences[name] = audience  # before it can be asked for
            try:
                await self._open(name, spec)
                return await self.scribe.write(entries.add_arm(name, spec, audience), durable=True)
            except InputError:
                await self._let_go(name)
                self.audiences.pop(name, None)
                raise

    async def retire(self, name: str) -> None:
        """Choose an arm no more; requests that it is answering are answered.

        Raises:
            LookupError: there is none.
            InputError: it is the last that is for everyone.
        """
        await self.scribe.write(entries.retire_arm(name), durable=True)
        await self._look()

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[ServedPolicy]:
        """A policy that stays open until the block ends, even if it is retired meanwhile.

        Raises:
            LookupError: it is not open.
        """
        policy = self.policies[name]
        self._users[policy] += 1
        try:
            yield policy
        finally:
            self._users[policy] -= 1
            if not self._users[policy]:
                del self._users[policy]
                if self.policies.get(name) is not policy:
                    self.spawn(policy.close())

    async def for_others(self, who: str | None) -> set[str]:
        """The policies that are for some only, and not for the user with this scope."""
        if not self.audiences:
            return set()
        others: set[str] = await self.ledger(lambda ledger, seq: ledger.for_others(who))
        return others

    async def choose(self, completion_id: str, who: str | None, tried: Collection[str]) -> Pull:
        """Let the ensemble choose among the arms for a user that can be reached and have not failed this request.

        Raises:
            NoArm: there is none.
        """

        # Who is open here is looked up when the entry is written: another gateway may have added an arm since.
        def work(tx: Any, ledger: Ledger) -> Pull:
            closed = [name for name in ledger.specs if name not in self.policies]
            return entries.choose(completion_id, who, closed, tried)(tx, ledger)

        choosing = asyncio.ensure_future(self.scribe.write(work))
        try:
            return await asyncio.shield(choosing)
        except asyncio.CancelledError:
            self.spawn(self._take_back(choosing, completion_id))
            raise

    async def _take_back(self, choosing: asyncio.Future[Pull], completion_id: str) -> None:
        """The client went away while the ensemble chose for it."""
        with contextlib.suppress(entries.NoArm):
            pull = await choosing
            await self.failed(completion_id, pull.arm, pull.id, "the client went away", rest=False)

    async def failed(self, completion_id: str, arm: str, round: int | None, reason: str, *, rest: bool) -> None:
        """Log that a policy did not answer; `rest` says whether it is to blame."""
        seconds = None
        if rest:
            self.metrics.failures.labels(arm).inc()
            streak = self._streaks[arm] = self._streaks.get(arm, 0) + 1
            seconds = min(self.settings.rest * 2 ** min(streak - 1, 30), self.settings.longest_rest)
            logger.warning("%s failed and rests for %g s: %s", arm, seconds, reason)
        await self.scribe.write(entries.withdraw(completion_id, arm, round, reason, seconds))

    async def completed(self, completion: Completion) -> None:
        """Log an answer."""
        await self.scribe.write(entries.complete(completion))
        self._streaks.pop(completion.policy, None)
        for kind, count in (completion.usage or {}).items():
            if kind in ("prompt_tokens", "completion_tokens") and isinstance(count, int) and count > 0:
                self.metrics.tokens.labels(completion.policy, kind.removesuffix("_tokens")).inc(count)
        who = None if completion.user is None else user_scope(completion.tenant, completion.user)
        self._remember(completion.id, _Asked(completion.tenant, who, completion.response, completion.policy))

    async def edited(self, completion_id: str, tenant: str, edit: str | None) -> entries.Acknowledged:
        """Cost an edit and log it; `None` says that the answer was accepted. When this returns the edit is durable.

        Raises:
            LookupError: the tenant has no such completion.
        """
        found = self._recent.get(completion_id)
        if found is None:
            found = await asyncio.to_thread(self._find, completion_id)
            if found is not None:
                self._remember(completion_id, found)
        if found is None or found.tenant != tenant:
            raise LookupError(completion_id)
        text = found.response if edit is None else edit
        cost = 0.0 if text == found.response else await asyncio.to_thread(self.settings.cost, found.response, text)
        entry = entries.edit(completion_id, text, cost, self.metric, found.who)
        acknowledged = await self.scribe.write(entry, durable=True)
        if acknowledged.changed:
            self.metrics.costs.labels(found.policy).observe(cost)
        return acknowledged

    async def ledger(self, read: Any) -> Any:
        """What `read` finds in the ensemble, which stands after everything that was logged by anyone."""
        return await self.scribe.write(lambda tx, ledger: read(ledger, tx.seq))

    def _remember(self, completion_id: str, asked: _Asked) -> None:
        self._recent[completion_id] = asked
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _find(self, completion_id: str) -> _Asked | None:
        with self.store.reading() as connection:
            found = find_completion(connection, completion_id)
        if found is None:
            return None
        record = found.record
        who = None if record.user is None else user_scope(found.tenant, record.user)
        return _Asked(found.tenant, who, record.response, str(record.policy))

    async def _open(self, name: str, spec: str) -> None:
        if name not in self.policies:
            self.policies[name] = await self._opener.open(name, spec)
            logger.info("%s is open: %s", name, spec)

    async def _let_go(self, name: str) -> None:
        policy = self.policies.pop(name, None)
        if policy is not None and policy not in self._users:
            await policy.close()

    async def _look(self) -> None:
        """Open the arms that are not open yet, close those that were retired, and forget who was forgotten."""
        async with self._changing:
            specs, audiences, forgettings = await self.scribe.write(
                lambda tx, ledger: (dict(ledger.specs), dict(ledger.audiences), ledger.forgettings)
            )
            if forgettings != self._forgettings:
                self._recent.clear()
                self._forgettings = forgettings
            self.audiences = audiences  # before those that are new can be asked for
            await self._match(specs)

    async def _match(self, specs: Mapping[str, str]) -> None:
        for name in [name for name in self.policies if name not in specs]:
            await self._let_go(name)
        for name, spec in specs.items():
            if name in self.policies or self._failed.get(name, 0.0) > time.monotonic():
                continue
            try:
                await self._open(name, spec)
            except InputError as fault:
                self._failed[name] = time.monotonic() + _AGAIN
                logger.warning("the arm %s cannot be opened and is left out for now: %s", name, fault)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            with contextlib.suppress(Exception):  # a store that is away for a while: the requests say so
                await self._look()
                await asyncio.to_thread(self.store.tidy)
