"""`copydesk cost`: the edit cost of one pair of texts, or of every row of a log."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from copydesk import embedded
from copydesk.cli._shared import emit, iter_with_progress
from copydesk.data.cost import CostNormalization, CostSummary, CostUnit, EditCost, summarize_costs
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.utils.atomic import atomic_write

_LOG_SUFFIXES = {".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".gz", ".zst"}
"""A single argument that ends like this is a log, so that the error is a missing file and not a missing edit."""


def cost_command(
    response: Annotated[
        str | None,
        typer.Argument(help="The response; or, alone, a log (JSON Lines) whose rows are costed."),
    ] = None,
    edit: Annotated[str | None, typer.Argument(help="The edit of the response.")] = None,
    file: Annotated[Path | None, typer.Option(help="A log (JSON Lines); the same as naming it alone.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="With a log: the file to write id, cost and metric of each row to (JSON Lines).")
    ] = None,
    unit: Annotated[CostUnit, typer.Option(help="Unit that is counted.")] = "subtoken",
    normalize: Annotated[
        CostNormalization, typer.Option(help="Text whose length the distance is divided by.")
    ] = "response",
    cap: Annotated[float | None, typer.Option(help="Largest possible cost.", show_default="no cap")] = None,
    tokenizer: Annotated[
        str,
        typer.Option(
            help="Tokenizer of sub-tokens: 'embedded', 'smollm2', a model's folder, a tokenizer.json, or a hub name."
        ),
    ] = embedded.NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Compute the edit cost: how much of a response a person had to change.

    The cost is the Levenshtein distance between RESPONSE and EDIT, counted in
    sub-tokens and divided by the response's length by default. It is 0 exactly
    when the edit is the response. Pending rows have no cost.

    copydesk cost "Dear all" "Dear friends" --unit word

    copydesk cost log.jsonl --out costs.jsonl
    """
    metric = EditCost(unit=unit, normalize=normalize, cap=cap, tokenizer=tokenizer)
    if file is not None and response is not None:
        raise InputError("copydesk cost takes two texts or a log, not both; leave one of them out")
    if file is None and response is not None and edit is None and _looks_like_log_file(response):
        file = Path(response)
    if file is not None:
        summary = _cost_log(metric, file, out)
        document = {"file": str(file), "metric": metric.name, **asdict(summary), "out": str(out) if out else None}
        document["quantiles"] = {f"{level:g}": value for level, value in summary.quantiles}
        emit(document, _render_summary(str(file), metric.name, summary), as_json=as_json)
    else:
        if response is None or edit is None:
            raise InputError("copydesk cost needs a response and its edit, or a log that exists; give both texts")
        if out is not None:
            raise InputError("--out writes the costs of a log, and two texts were given; give a log instead")
        lengths = {"response_units": len(metric.split_units(response)), "edit_units": len(metric.split_units(edit))}
        pair = {"cost": metric(response, edit), "metric": metric.name, **lengths}
        emit(pair, _render_pair(pair), as_json=as_json)


def _looks_like_log_file(argument: str) -> bool:
    """Whether a single argument is a log, rather than a response whose edit was forgotten."""
    try:
        return Path(argument).suffix in _LOG_SUFFIXES or Path(argument).exists()
    except (OSError, ValueError):  # too long for a name
        return False


def _cost_log(metric: EditCost, file: Path, out: Path | None) -> CostSummary:
    """Cost a log in one pass; `out` appears when all rows are costed."""
    costed = metric.iter_costs(iter_with_progress(file, "costs"))
    if out is None:
        summary = summarize_costs(costed)
        return _require_rows(summary, file)
    if out.exists() and file.exists() and out.samefile(file):
        raise InputError(f"{out}: --out is the log itself, which would be replaced; choose another name")
    name = metric.name
    with atomic_write(out) as target:

        def write_costs() -> Iterator[tuple[EditRecord, float | None]]:
            for record, value in costed:
                row = {"id": record.id, "cost": value, "metric": name}
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
                yield record, value

        return _require_rows(summarize_costs(write_costs()), file)


def _require_rows(summary: CostSummary, file: Path) -> CostSummary:
    if not summary.rows:
        raise InputError(f"{file}: the log is empty; it takes at least one row with context, response and edit")
    return summary


def _render_pair(pair: dict[str, Any]) -> Table:
    table = _make_table()
    for name, value in pair.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    return table


def _render_summary(file: str, metric: str, summary: CostSummary) -> Table:
    table = _make_table()
    table.add_row("log", file)
    table.add_row("metric", metric)
    for name in ("rows", "pending", "accepted", "edited"):
        table.add_row(name, str(getattr(summary, name)))
    for name, value in (("mean cost", summary.mean), ("median cost", summary.median)):
        table.add_row(name, "none yet" if value is None else f"{value:.4f}")
    for level, value in summary.quantiles:
        table.add_row(f"{level:.0%} cost at most", f"{value:.4f}")
    return table


def _make_table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
