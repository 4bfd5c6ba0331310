"""Single writer thread: batches appends to the store and applies them to the ensemble."""

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
from copydesk.store.errors import DamagedDataError, StoreError
from copydesk.store.events import read_events
from copydesk.store.transaction import Transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")
LogCommand = Callable[[Transaction, Ledger], T]

_MAX_BATCH_COMMANDS = 256  # commands in one transaction


class StoreUnavailable(StoreError):
    """The store could not be written to; nothing of the command is in it. The message is not for clients."""


@dataclass
class _QueuedCommand:
    command: LogCommand[Any]
    durable: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class LogWriter:
    """Runs log commands in one order, each of them completely or not at all.

    Commands that arrive while others are written share one transaction, so that many need one commit. A command is a
    function of the open transaction and of the ensemble as it is after all earlier events, of this process and of
    others. It appends events to the transaction and applies them to the ensemble. If it raises, nothing of it is
    stored.

    If a batch fails because of one command, every command runs again in a transaction of its own, so that one that
    fails leaves the others alone. If the store as a whole cannot be written to, all of them fail.
    """

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_QueuedCommand | None] = queue.SimpleQueue()
        self._ledger: Ledger | None = None
        self._applied_seq = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    async def write(self, command: LogCommand[T], *, durable: bool = False) -> T:
        """Run a command in a transaction; returns its result after the commit.

        Args:
            command: the command.
            durable: whether the commit must survive a crash of the machine when this returns.

        Raises:
            StoreUnavailable: the store could not be written to.
            Exception: whatever the command raised.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_QueuedCommand(command, durable, future))
        return await future

    def close(self) -> None:
        """Run the waiting commands and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < _MAX_BATCH_COMMANDS and not last:
                try:
                    queued = self._queue.get_nowait()
                except queue.Empty:
                    break
                if queued is None:
                    last = True
                else:
                    batch.append(queued)
            self._write(batch)
            _resolve_futures(batch)
            if last:
                return

    def _write(self, batch: list[_QueuedCommand]) -> None:
        error = self._try_transact(batch)
        if isinstance(error, StoreError) and error.is_outage:  # perhaps only the connection was lost
            time.sleep(0.2)
            error = self._try_transact(batch)
        if error is None:
            return
        if isinstance(error, StoreError) and error.is_outage:
            logger.warning("%s", error)
        elif len(batch) > 1:
            self._write_one_by_one(batch)
            return
        else:
            logger.error("a command of the log failed, and nothing of it is stored", exc_info=error)
        for queued in batch:
            queued.error = _make_command_error(error)

    def _write_one_by_one(self, batch: list[_QueuedCommand]) -> None:
        for queued in batch:
            self._write([queued])
            if isinstance(queued.error, StoreUnavailable) and queued.error.is_outage:
                for other in batch[batch.index(queued) + 1 :]:
                    other.error = queued.error
                return

    def _try_transact(self, batch: list[_QueuedCommand]) -> Exception | None:
        """Run a batch in one transaction; returns the error if nothing was committed, or that is unknown."""
        try:
            self._transact(batch)
        except Exception as exc:
            # The ensemble may have events that were rolled back: it is rebuilt from the log.
            self._ledger, self._applied_seq = None, 0
            return exc
        return None

    def _transact(self, batch: list[_QueuedCommand]) -> None:
        with self._store.begin_write(durable=any(queued.durable for queued in batch)) as tx:
            ledger = self._ledger or Ledger()
            if tx.start_seq != self._applied_seq:
                known = ledger.forgotten_count
                ledger.fold(read_events(tx.connection, self._applied_seq))
                if (
                    self._applied_seq and ledger.forgotten_count != known
                ):  # events of a forgotten person were applied and are gone
                    ledger = Ledger().fold(read_events(tx.connection))
                self._applied_seq, self._ledger = tx.start_seq, ledger
            for queued in batch:
                queued.result = queued.error = None
                before = tx.seq
                try:
                    queued.result = queued.command(tx, ledger)
                except Exception as exc:
                    if tx.seq != before or isinstance(exc, DBAPIError | DamagedDataError):
                        raise  # half a command must not be committed
                    queued.error = exc
            written = tx.seq
        self._applied_seq, self._ledger = written, ledger


def _make_command_error(error: Exception) -> Exception:
    """The error of a command: its own, or that the store could not be written to."""
    if isinstance(error, StoreError):
        return StoreUnavailable(str(error), is_outage=error.is_outage)
    return error


def _resolve_futures(batch: list[_QueuedCommand]) -> None:
    def resolve() -> None:
        for queued in batch:
            if queued.future.done():
                continue  # the client disconnected
            if queued.error is not None:
                queued.future.set_exception(queued.error)
            else:
                queued.future.set_result(queued.result)

    loop = batch[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
