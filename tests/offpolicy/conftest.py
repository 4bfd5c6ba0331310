"""A store written the way the gateway writes one, and models whose answers can all be counted."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from copydesk.offpolicy.traffic import Traffic, read_traffic
from copydesk.store import EditStore
from copydesk.store import write as append
from copydesk.store.write import StoredCompletion


class Log:
    """Appends to a store; what a round does not say is as in most of them."""

    def __init__(self, store: EditStore) -> None:
        self.store = store
        self.rounds = 0

    def arm(self, name: str, spec: str = "embedded", action: str = "add") -> None:
        with self.store.begin_write() as tx:
            append.append_arm_change(tx, name, action, spec, at=0.0)  # type: ignore[arg-type]

    def answer(
        self,
        policy: str,
        propensity: float,
        *costs: float,
        chosen: bool = True,
        without: Sequence[str] = (),
        metric: str = "metric",
        **changed: Any,
    ) -> str:
        """One completion, and an edit for each of the costs."""
        self.rounds += 1
        number, at = self.rounds, float(self.rounds)
        name = f"c{number}"
        fields = {
            "id": name, "at": at, "tenant": "default", "user": "ann", "requested": "copydesk", "policy": policy,
            "propensity": propensity, "round": number if chosen else None,
            "messages": [{"role": "user", "content": f"Write to {name}"}], "parameters": {"temperature": 0.7},
            "response": f"Dear {name}", "finish_reason": "stop", "usage": None,
        }  # fmt: skip
        with self.store.begin_write() as tx:
            if chosen:
                append.append_pull(
                    tx, name, at=at, round=number, arm=policy, propensity=propensity, scope=None, turn=0,
                    without=without,
                )  # fmt: skip
            append.append_completion(tx, StoredCompletion(**(fields | changed)))  # type: ignore[arg-type]
            for revision, cost in enumerate(costs):
                append.append_edit(tx, f"e{number}-{revision}", name, f"Hi {revision}", cost, metric, at=at)
        return name

    def read(self, **chosen: Any) -> Traffic:
        with self.store.begin_read() as connection:
            return read_traffic(connection, **chosen)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    yield Log(store)
    store.close()


@pytest.fixture
def two_arms(log: Log) -> Callable[[int], None]:
    """Rounds of an ensemble that plays `a` and `b` with 0.25 and 0.75; an answer of `a` costs 0.2, one of `b` 0.6."""

    def write(rounds: int) -> None:
        log.arm("a")
        log.arm("b")
        for number in range(rounds):
            wobble = 0.1 * (number % 3 - 1)
            if number % 4 == 0:
                log.answer("a", 0.25, 0.2 + wobble)
            else:
                log.answer("b", 0.75, 0.6 + wobble)

    return write
