"""Diagnoses an edit log in one pass over its rows: counts, costs, rewrites, quality, coverage, privacy, and advice."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

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
from copydesk.utils.config import Config

CONSISTENCY_ROWS = 5_000
"""Rows from which consistency is measured; a sample where the log has more."""


class DiagnoseConfig(Config):
    """Settings of a diagnosis."""

    sample: Annotated[int, Field(ge=2, description="Number of edited rows that the model scores; needs --model.")] = 200
    seed: Annotated[int, Field(ge=0, description="Seed of the samples and of the model's own responses.")] = 0
    region: Annotated[str, Field(description="Country of phone numbers without a country code: US, GB, DE, ...")] = "US"


@dataclass(frozen=True)
class Diagnosis:
    """Measurements of an edit log, warnings, and the recommended training method.

    Attributes:
        counts: counts of rows and users.
        costs: distribution of edit costs.
        where: which parts of the text people edit.
        rewrites: the commonest edits.
        drift: change of the cost over time; `None` where too few edits are known.
        quality: how good the edits are to learn from.
        coverage: how likely the model is to write the edits; `None` without a model, or where nothing was edited.
        leaks: personal data.
        duplicates: number of rows that repeat an earlier one.
        cautions: what to fix or check before training.
        advice: the recommended method; `None` where nothing was edited, so that there is nothing to learn.
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


def diagnose_log(
    log: Path | str | Iterable[EditRecord],
    model: str | None = None,
    *,
    metric: EditCost | None = None,
    config: DiagnoseConfig | None = None,
    name: str | None = None,
) -> Diagnosis:
    """Diagnose a log.

    Rows are read once and not kept. Each one leaves two numbers in memory and five in a temporary file, so the memory
    needed hardly grows with the log. The model scores a sample.

    Args:
        log: a file (JSON Lines) or records.
        model: the reference policy, as for `copydesk.models.load.load_model`; `None` skips coverage.
        metric: the edit cost; `EditCost()` by default.
        config: sample size, seed and region; `DiagnoseConfig()` by default.
        name: name of the log in messages; by default the file's.

    Raises:
        InputError: a row is invalid, there are no rows, the region is unknown, or the model or the metric's tokenizer
            cannot be loaded.
    """
    name = name or (str(log) if isinstance(log, Path | str) else "the log")
    records = read_jsonl(log) if isinstance(log, Path | str) else log
    metric = metric or EditCost()
    config = config or DiagnoseConfig()
    leaks = LeakDetector(config.region)
    counted, digests, positions, rewrites, kept = (
        LogCountsAccumulator(),
        RowDigests(),
        EditPositionAccumulator(),
        RewriteAccumulator(),
        EditQualityAccumulator(),
    )
    to_score: ReservoirSample[EditRecord] = ReservoirSample(config.sample, config.seed)
    compared: ReservoirSample[tuple[str, str]] = ReservoirSample(CONSISTENCY_ROWS, config.seed)

    def iter_measured_rows() -> Iterator[tuple[EditRecord, float | None]]:
        for number, (record, cost) in enumerate(metric.iter_costs(records), start=1):
            counted.add(record)
            response, edit = leaks.add(number, record)
            if cost is not None:
                digests.add(number, record, cost)
                # Rewrites are shown to people, so they are taken from the masked texts.
                compared.add((response, edit))
            if cost is not None and record.edited:
                change = align_edit(response, edit)
                positions.add(change)
                rewrites.add(number, change, record.user)
                kept.add(change, cost)
                to_score.add(record)
            yield record, cost

    summary = summarize_costs(iter_measured_rows())
    counts = counted.result()
    if not counts.rows:
        raise InputError(f"{name}: the log is empty; at least one row with context, response and edit is needed")
    costs = compute_cost_distribution(metric.name, summary, digests.costs)
    quality = EditQuality(
        kept.kept_share,
        kept.near_identical_share,
        measure_consistency([align_edit(*pair) for pair in compared.items()], config.seed),
        measure_repeated_edits(digests.iter_repeated_edit_costs()),
    )
    coverage = _measure_sample_coverage(model, to_score.items(), config.seed)
    found_leaks, duplicates = leaks.result(), digests.find_duplicates()
    return Diagnosis(
        counts=counts,
        costs=costs,
        where=positions.result(),
        rewrites=rewrites.result(),
        drift=measure_drift(digests.costs, digests.timestamps),
        quality=quality,
        coverage=coverage,
        leaks=found_leaks,
        duplicates=duplicates[0],
        cautions=find_cautions(counts, duplicates, found_leaks, quality.near_identical, coverage),
        advice=advise(collect_advice_inputs(counts, costs, quality, coverage)) if counts.edited else None,
    )


def collect_advice_inputs(
    counts: LogCounts, costs: CostDistribution, quality: EditQuality, coverage: Coverage | None
) -> AdviceInputs:
    """Collect the measurements that the advice depends on."""
    consistency, reedits = quality.consistency, quality.edited_again
    return AdviceInputs(
        rows=counts.known,
        edited=counts.edited,
        mean_cost=costs.mean or 0.0,
        high_cost=get_quantile(costs, 0.99),
        consistency=consistency.mean,
        covered=consistency.covered,
        reedit_rows=reedits.rows if reedits else 0,
        reedit_left=reedits.left if reedits else None,
        distinct=consistency.distinct,
        vocabulary=consistency.vocabulary,
        ess=coverage.ess if coverage else None,
        margin_scale=coverage.margin_scale if coverage else None,
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
