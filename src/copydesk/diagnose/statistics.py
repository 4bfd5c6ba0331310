"""Streaming statistics of a log: counts, cost distribution, duplicate rows, drift over time, and a reservoir sample.

Each row takes 16 bytes of memory (cost and timestamp) and five digests in a temporary file.
"""

import json
import math
import random
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from copydesk.data.cost import CostSummary
from copydesk.data.record import EditRecord


@dataclass(frozen=True)
class LogCounts:
    """Counts of rows, users and policies.

    Attributes:
        rows: all rows, `pending + accepted + edited`.
        pending: rows whose edit is not known yet.
        accepted: rows accepted as written.
        edited: rows that were changed.
        users: number of users; 0 where no row names one.
        named: rows that name their user.
        largest_user: rows of the user with the most rows.
        policies: number of policies that the rows name.
    """

    rows: int
    pending: int
    accepted: int
    edited: int
    users: int
    named: int
    largest_user: int
    policies: int

    @property
    def known(self) -> int:
        """Rows whose edit is known."""
        return self.accepted + self.edited

    @property
    def accepted_share(self) -> float | None:
        """Share of the known rows that were accepted; `None` where no edit is known."""
        return self.accepted / self.known if self.known else None


class LogCountsAccumulator:
    """Counts rows one at a time; keeps one number for each user and the names of policies."""

    def __init__(self) -> None:
        self._pending = self._accepted = self._edited = 0
        self._users: Counter[str] = Counter()
        self._policies: set[str] = set()

    def add(self, record: EditRecord) -> None:
        """Count a row."""
        self._pending += record.pending
        self._accepted += record.accepted
        self._edited += record.edited
        if record.user is not None:
            self._users[record.user] += 1
        if record.policy is not None:
            self._policies.add(record.policy)

    def result(self) -> LogCounts:
        """The counts so far."""
        return LogCounts(
            rows=self._pending + self._accepted + self._edited,
            pending=self._pending,
            accepted=self._accepted,
            edited=self._edited,
            users=len(self._users),
            named=self._users.total(),
            largest_user=max(self._users.values(), default=0),
            policies=len(self._policies),
        )


HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class CostDistribution:
    """Edit costs of the rows whose edit is known.

    Attributes:
        metric: name of the metric (`EditCost.name`).
        mean: mean cost; `None` where no edit is known.
        median: median cost; `None` where no edit is known.
        quantiles: (level, cost), as in `CostSummary`.
        edges: edges of the histogram's bars, one more than there are bars.
        bars: rows in each bar; the last one also holds all higher costs.
    """

    metric: str
    mean: float | None
    median: float | None
    quantiles: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    bars: tuple[int, ...]


def compute_cost_distribution(metric: str, summary: CostSummary, costs: NDArray[np.float64]) -> CostDistribution:
    """Compute the distribution of costs; `summary` is that of the same rows."""
    edges, bars = [], []
    if len(costs):
        # A few rewrites of short texts cost much more than 1 and would squeeze all others into one bar.
        top = float(np.quantile(costs, 0.99)) or 1.0
        counted, bounds = np.histogram(np.minimum(costs, top), bins=HISTOGRAM_BINS, range=(0, top))
        edges, bars = bounds.tolist(), counted.tolist()
    return CostDistribution(metric, summary.mean, summary.median, summary.quantiles, tuple(edges), tuple(bars))


def get_quantile(costs: CostDistribution, level: float) -> float:
    """The quantile at a level; 0 where the summary has none."""
    return dict(costs.quantiles).get(level, 0.0)


EMPTY_DIGEST = 0
"""The digest of a missing text."""

_INSERT_BATCH = 1_000  # rows per statement
_CACHE_KIB = 4 << 10  # part of the file held in memory, in KiB


def hash_texts(*parts: str) -> int:
    """A digest of texts: 8 bytes of BLAKE2b as a signed integer, never `EMPTY_DIGEST`."""
    written = json.dumps(parts).encode("ascii")
    return int.from_bytes(blake2b(written, digest_size=8).digest(), "little", signed=True) or 1


class RowDigests:
    """Costs, timestamps and digests of the rows whose edit is known, in the order of the log.

    The digests are in an anonymous SQLite file in `SQLITE_TMPDIR` or `TMPDIR`, which is deleted with the object.
    """

    def __init__(self) -> None:
        self._costs, self._timestamps = array("d"), array("d")
        self._pending: list[tuple[int, ...]] = []
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE rows (place INTEGER PRIMARY KEY, number INT, "
            "row INT, response INT, edit INT, id INT, parent INT)"
        )

    def add(self, number: int, record: EditRecord, cost: float) -> None:
        """Add a row; `number` counts all rows of the log from 1."""
        edit = record.edit or ""
        context = record.context
        prompt = context if isinstance(context, str) else json.dumps([message.model_dump() for message in context])
        parent = record.metadata.get("parent")
        self._pending.append(
            (
                len(self._costs),
                number,
                hash_texts(prompt, record.response, edit),
                hash_texts(record.response.strip()) if record.response.strip() else EMPTY_DIGEST,
                # An accepted text that occurs again is a duplicate, not a second edit.
                hash_texts(edit.strip()) if record.edited and edit.strip() else EMPTY_DIGEST,
                hash_texts(record.id),
                hash_texts(str(parent)) if isinstance(parent, str | int) else EMPTY_DIGEST,
            )
        )
        self._costs.append(cost)
        self._timestamps.append(record.created_at.timestamp() if record.created_at is not None else float("nan"))
        if len(self._pending) == _INSERT_BATCH:
            self._flush()

    @property
    def costs(self) -> NDArray[np.float64]:
        """The cost of each row."""
        return np.asarray(self._costs)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Unix time of each row in seconds; NaN where it is not known."""
        return np.asarray(self._timestamps)

    def find_duplicates(self) -> tuple[int, list[int]]:
        """How many rows repeat an earlier one (context, response and edit), and the numbers of the first three."""
        self._flush()
        self._create_index("row")
        (different,) = self._file.execute("SELECT count(DISTINCT row) FROM rows").fetchone()
        repeated = len(self._costs) - different
        if not repeated:
            return 0, []
        query = """SELECT number FROM rows AS again WHERE EXISTS
                   (SELECT 1 FROM rows WHERE row = again.row AND place < again.place) ORDER BY place LIMIT 3"""
        return repeated, [number for (number,) in self._file.execute(query)]

    def iter_repeated_edit_costs(self) -> Iterator[tuple[float, float]]:
        """The costs (first, second) of texts that were edited a second time.

        The second row's response is the first row's edit (ignoring white space around it), or its `metadata` names the
        first row as `parent`.
        """
        self._flush()
        self._create_index("edit")
        self._create_index("id")
        query = f"""
            SELECT place, coalesce(
              (SELECT min(place) FROM rows WHERE later.parent != {EMPTY_DIGEST} AND id = later.parent
                 AND edit != {EMPTY_DIGEST} AND place < later.place),
              (SELECT min(place) FROM rows WHERE later.response != {EMPTY_DIGEST} AND edit = later.response
                 AND place < later.place))
            FROM rows AS later ORDER BY place"""
        for place, earlier in self._file.execute(query):
            if earlier is not None:
                yield self._costs[earlier], self._costs[place]

    def _flush(self) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", self._pending)
        self._file.execute("COMMIT")
        self._pending.clear()

    def _create_index(self, column: str) -> None:
        self._file.execute(f"CREATE INDEX IF NOT EXISTS {column}_index ON rows ({column}, place)")


DRIFT_SLICES = 10
_BLOCK_ROWS = 1 << 16
_NORMAL_QUANTILE = 1.959964  # 97.5% of a standard normal


@dataclass(frozen=True)
class Drift:
    """Change of the mean cost over time.

    Attributes:
        by: order of the rows: `created_at` where every row has it, else their order in the log.
        means: mean cost of each of ten slices with equally many rows.
        slope: change of the cost from the first row to the last, by a straight line through all rows.
        low: lower end of the slope's 95% interval.
        high: upper end.
        sentence: summary in one sentence; empty where the interval contains 0.
    """

    by: Literal["created_at", "order"]
    means: tuple[float, ...]
    slope: float
    low: float
    high: float
    sentence: str


def measure_drift(costs: NDArray[np.float64], moments: NDArray[np.float64]) -> Drift | None:
    """Measure the drift of costs; `None` for fewer than ten rows.

    The slope is that of least squares on the rank of the row, scaled to [0, 1]. Its standard error allows for unequal
    variances (HC3: MacKinnon & White, J. Econometrics 29, 1985), but assumes independent rows: it is too small where
    the rows of one user follow each other.

    Args:
        costs: cost of each row, shape [n].
        moments: timestamp of each row in seconds, shape [n]; NaN where it is not known.
    """
    n = len(costs)
    if n < DRIFT_SLICES:
        return None
    timed = bool(np.isfinite(moments).all())
    ordered = costs[np.argsort(moments, kind="stable")] if timed else costs
    # In blocks, so that a long log needs no more memory than its costs take.
    blocks = [slice(start, min(n, start + _BLOCK_ROWS)) for start in range(0, n, _BLOCK_ROWS)]
    square = sum(float(_centered_positions(block, n) @ _centered_positions(block, n)) for block in blocks)
    slope = sum(float(_centered_positions(block, n) @ ordered[block]) for block in blocks) / square
    mean, error = float(ordered.mean()), 0.0
    for block in blocks:
        here, cost = _centered_positions(block, n), ordered[block]
        leverage = 1 / n + here**2 / square
        residual = (cost - mean - slope * here) / (1 - leverage)
        error += float(here**2 @ residual**2)
    error = math.sqrt(error) / square
    low, high = slope - _NORMAL_QUANTILE * error, slope + _NORMAL_QUANTILE * error
    sentence = ""
    if low > 0 or high < 0:
        verb = "rises" if slope > 0 else "falls"
        least, most = sorted((abs(low), abs(high)))
        sentence = (
            f"The edit cost {verb} by {abs(slope):.2f} from the first rows to the last ({least:.2f} to {most:.2f})"
        )
        sentence += "." if timed else "; rows are in the order of the log, since not all of them have a date."
    means = tuple(float(part.mean()) for part in np.array_split(ordered, DRIFT_SLICES))
    return Drift("created_at" if timed else "order", means, slope, low, high, sentence)


def _centered_positions(block: slice, n: int) -> NDArray[np.float64]:
    """Position of each row of a block in the log, from -1/2 for the first row to 1/2 for the last."""
    positions: NDArray[np.float64] = np.arange(block.start, block.stop) / (n - 1) - 0.5
    return positions


T = TypeVar("T")


class ReservoirSample(Generic[T]):
    """A uniform sample of fixed size without replacement, kept in the order of the rows.

    Source: algorithm R, Vitter, *Random Sampling with a Reservoir*, ACM TOMS 11 (1985).
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._rng = random.Random(seed)
        self._seen = 0
        self._held: list[tuple[int, T]] = []

    def add(self, item: T) -> None:
        """Offer the next row."""
        self._seen += 1
        if len(self._held) < self._size:
            self._held.append((self._seen, item))
        elif (place := self._rng.randrange(self._seen)) < self._size:
            self._held[place] = (self._seen, item)

    def items(self) -> list[T]:
        """The sample."""
        return [item for _, item in sorted(self._held, key=lambda held: held[0])]
