"""The one who writes: a thread that appends to the store for all requests, and keeps the ensemble in step with it."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from copydesk.ensemble.ledger import Ledger
from copydesk.store import EditStore
from copydesk.store.events import read_events
from copydesk.store.transaction import Transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")
LogCommand = Callable[[Transaction, Ledger], T]

_MAX_BATCH_COMMANDS = 256  # entries to one transaction


class StoreUnavailable(Exception):
    """The store could not be written to; nothing of the entry is in it."""


@dataclass
class _QueuedCommand:
    command: LogCommand[Any]
    durable: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class LogWriter:
    """Writes entries, each all or not at all, in one order.

    Entries that arrive while others are being written share one transaction, so that many cost one commit. An entry is
    a function of the open transaction and the ensemble, which stands exactly after all events before it, of this
    process and of others. It appends to the transaction, and folds into the ensemble what it appended. It may be run a
    second time if the database went away; it must raise, if it does, before it appends.
    """

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_QueuedCommand | None] = queue.SimpleQueue()
        self._ledger: Ledger | None = None
        self._applied_seq = 0
        self._thread = threading.Thread(target=self._run, name="scribe", daemon=True)
        self._thread.start()

    async def write(self, command: LogCommand[T], *, durable: bool = False) -> T:
        """Run an entry in a transaction; returns what it returned, after the commit.

        Args:
            command: the entry.
            durable: whether it must outlive a crash of the machine too when this returns.

        Raises:
            StoreUnavailable: the store could not be written to.
            Exception: whatever the entry raised.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_QueuedCommand(command, durable, future))
        return await future

    def close(self) -> None:
        """Write what is waiting, and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < _MAX_BATCH_COMMANDS and not last:
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    last = True
                else:
                    batch.append(entry)
            self._write(batch)
            _resolve_futures(batch)
            if last:
                return

    def _write(self, batch: list[_QueuedCommand]) -> None:
        for attempt in range(2):
            try:
                self._transact(batch)
                return
            except Exception as exc:
                # Nothing was committed, or nobody knows: the ensemble is made anew from the log.
                self._ledger, self._applied_seq = None, 0
                known = isinstance(exc, DBAPIError)
                logger.warning("the store could not be written to: %s", str(exc).splitlines()[0], exc_info=not known)
                if attempt or not known:
                    for entry in batch:
                        entry.error = StoreUnavailable("the store cannot be written to")
                    return
                time.sleep(0.2)

    def _transact(self, batch: list[_QueuedCommand]) -> None:
        with self._store.begin_write(durable=any(entry.durable for entry in batch)) as tx:
            ledger = self._ledger or Ledger()
            if tx.start_seq != self._applied_seq:
                known = ledger.forgotten_count
                ledger.fold(read_events(tx.connection, self._applied_seq))
                if (
                    self._applied_seq and ledger.forgotten_count != known
                ):  # what was folded of that person is in the log no more
                    ledger = Ledger().fold(read_events(tx.connection))
                self._applied_seq, self._ledger = tx.start_seq, ledger
            for entry in batch:
                entry.result = entry.error = None
                before = tx.seq
                try:
                    entry.result = entry.command(tx, ledger)
                except DBAPIError:
                    raise
                except Exception as exc:
                    if tx.seq != before:
                        raise  # half an entry must not be committed
                    entry.error = exc
            written = tx.seq
        self._applied_seq, self._ledger = written, ledger


def _resolve_futures(batch: list[_QueuedCommand]) -> None:
    def resolve() -> None:
        for entry in batch:
            if entry.future.done():
                continue  # the client went away
            if entry.error is not None:
                entry.future.set_exception(entry.error)
            else:
                entry.future.set_result(entry.result)

    loop = batch[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
