"""The whole diagnosis of a log, in one pass over its rows."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copydesk.data.cost import EditCost, summarize_costs
from copydesk.data.jsonl import read_jsonl
from copydesk.data.record import EditRecord
from copydesk.diagnose.advice import Advice, AdviceInputs, advise
from copydesk.diagnose.cautions import Caution, find_cautions
from copydesk.diagnose.edits import (
    EditPosition,
    EditPositionAccumulator,
    RewriteAccumulator,
    RewriteSummary,
    align_edit,
    measure_consistency,
)
from copydesk.diagnose.privacy import LeakDetector, Leaks
from copydesk.diagnose.quality import (
    Coverage,
    EditQuality,
    EditQualityAccumulator,
    measure_coverage,
    measure_repeated_edits,
)
from copydesk.diagnose.statistics import (
    CostDistribution,
    Drift,
    LogCounts,
    LogCountsAccumulator,
    ReservoirSample,
    RowDigests,
    compute_cost_distribution,
    get_quantile,
    measure_drift,
)
from copydesk.errors import InputError

CONSISTENCY_ROWS = 5_000
"""Rows that are looked at for how alike people edit; a sample of the log where it has more."""


@dataclass(frozen=True)
class Diagnosis:
    """What a log says before anything is trained on it.

    Attributes:
        counts: rows and users.
        costs: of the edits.
        where: in the text people edit.
        rewrites: the commonest edits.
        drift: of the costs over time; `None` where too few edits are known.
        quality: of the edits.
        coverage: of the edits by a model; `None` where none was given, or nothing was edited.
        leaks: personal data.
        duplicates: rows that repeat an earlier one.
        cautions: what should make one think before training.
        advice: what to train; `None` where nothing was edited, so that there is nothing to learn.
    """

    counts: LogCounts
    costs: CostDistribution
    where: EditPosition
    rewrites: RewriteSummary
    drift: Drift | None
    quality: EditQuality
    coverage: Coverage | None
    leaks: Leaks
    duplicates: int
    cautions: tuple[Caution, ...]
    advice: Advice | None

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as JSON values."""
        document = asdict(self)
        document["counts"] |= {"known": self.counts.known, "accepted_share": self.counts.accepted_share}
        document["costs"]["quantiles"] = {f"{level:g}": cost for level, cost in self.costs.quantiles}
        for entry, one in zip(
            document["quality"]["consistency"]["applications"], self.quality.consistency.applications, strict=True
        ):
            entry["rate"] = one.rate
        return document


def diagnose(
    log: Path | str | Iterable[EditRecord],
    model: str | None = None,
    *,
    metric: EditCost | None = None,
    sample: int = 200,
    seed: int = 0,
    region: str = "US",
    name: str | None = None,
) -> Diagnosis:
    """Diagnose a log.

    Rows are read once and not kept; of each there remain two numbers, and five in a temporary file, so that a log of
    any length fits. The model scores a sample.

    Args:
        log: a file (JSON Lines) or records.
        model: the reference policy, as `copydesk.models.load.load_model` takes it; `None` leaves coverage out.
        metric: what an edit costs; `EditCost()` where not given.
        sample: edited rows that the model scores, drawn by the seed; at least 2.
        seed: of samples and bootstrap.
        region: of phone numbers without a country's code.
        name: of the log, for messages; a file's own where not given.

    Raises:
        InputError: a row is faulty, there are none, `sample` is too small, the region is unknown, or the model or the
            metric's tokenizer cannot be loaded.
    """
    name = name or (str(log) if isinstance(log, Path | str) else "the log")
    records = read_jsonl(log) if isinstance(log, Path | str) else log
    metric = metric or EditCost()
    if sample < 2:
        raise InputError(f"--sample: {sample} must be at least 2, or nothing can be said of the rest")
    leaks = LeakDetector(region)
    counting, columns, placing, rewritings, keeping = (
        LogCountsAccumulator(),
        RowDigests(),
        EditPositionAccumulator(),
        RewriteAccumulator(),
        EditQualityAccumulator(),
    )
    scored: ReservoirSample[EditRecord] = ReservoirSample(sample, seed)
    compared: ReservoirSample[tuple[str, str]] = ReservoirSample(CONSISTENCY_ROWS, seed)

    def passing() -> Iterator[tuple[EditRecord, float | None]]:
        for number, (record, cost) in enumerate(metric.iter_costs(records), start=1):
            counting.add(record)
            response, edit = leaks.add(number, record)
            if cost is not None:
                columns.add(number, record, cost)
                # Rewrites are shown, so they come from texts without what is personal.
                compared.add((response, edit))
            if cost is not None and record.edited:
                change = align_edit(response, edit)
                placing.add(change)
                rewritings.add(number, change, record.user)
                keeping.add(change, cost)
                scored.add(record)
            yield record, cost

    summary = summarize_costs(passing())
    counts = counting.result()
    if not counts.rows:
        raise InputError(f"{name}: the log is empty; it takes at least one row with context, response and edit")
    costs = compute_cost_distribution(metric.name, summary, columns.costs)
    alike = measure_consistency([align_edit(*pair) for pair in compared.items()], seed)
    quality = EditQuality(
        keeping.kept_share,
        keeping.near_identical_share,
        alike,
        measure_repeated_edits(columns.iter_repeated_edit_costs()),
    )
    covered = _measure_sample_coverage(model, scored.items(), seed)
    found, repeated = leaks.result(), columns.find_duplicates()
    return Diagnosis(
        counts=counts,
        costs=costs,
        where=placing.result(),
        rewrites=rewritings.result(),
        drift=measure_drift(columns.costs, columns.timestamps),
        quality=quality,
        coverage=covered,
        leaks=found,
        duplicates=repeated[0],
        cautions=find_cautions(counts, repeated, found, quality.near_identical, covered),
        advice=advise(collect_advice_inputs(counts, costs, quality, covered)) if counts.edited else None,
    )


def collect_advice_inputs(
    counts: LogCounts, costs: CostDistribution, quality: EditQuality, covered: Coverage | None
) -> AdviceInputs:
    """What advice needs of the measurements."""
    alike, again = quality.consistency, quality.edited_again
    return AdviceInputs(
        rows=counts.known,
        edited=counts.edited,
        mean_cost=costs.mean or 0.0,
        high_cost=get_quantile(costs, 0.99),
        consistency=alike.mean,
        covered=alike.covered,
        reedit_rows=again.rows if again else 0,
        reedit_left=again.left if again else None,
        distinct=alike.distinct,
        vocabulary=alike.vocabulary,
        ess=covered.ess if covered else None,
        margin_scale=covered.margin_scale if covered else None,
        near_identical=quality.near_identical,
    )


def _measure_sample_coverage(model: str | None, rows: list[EditRecord], seed: int) -> Coverage | None:
    if model is None or not rows:
        return None
    try:
        from copydesk.diagnose.reference import score_sample
    except ModuleNotFoundError as exc:
        raise InputError(f"--model needs {exc.name}; install it with: pip install 'copydesk[train]'") from None
    return measure_coverage(model, score_sample(rows, model, seed))
