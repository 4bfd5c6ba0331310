"""Print the tables of a run as Markdown: the paper's tables 1 and 2 with the paper's figures, and the rest.

    python experiments/table/print_tables.py experiments-out/table-log-loss

`--quick` makes a small run first and prints its tables.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from copydesk.report.columns import filter_unswept_scenarios, format_scenario_title, group_scenarios
from copydesk.report.metrics import get_paper_costs
from copydesk.report.results import (
    TableResults,
    collect_sweeps,
    collect_tables,
    compute_regret_per_round,
    find_crossings,
)
from copydesk.report.style import get_method_label

MEASURES = ("subtoken_cost", "accepted", "facts", "malformed", "trimmed", "distance", "length")


def spread(cell: Mapping[str, Any] | None, digits: int = 3) -> str:
    return "–" if cell is None else f"{cell['mean']:.{digits}f} ± {cell['std']:.{digits}f}".replace("-", "−")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print()


def show_table(own: TableResults, results: Mapping[str, Any]) -> None:
    """Print one of the paper's tables: our figures, and in a second line the paper's."""
    print(f"{own.title}\n")
    columns: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        (column.table_title, results["cells"][column.name], get_paper_costs(column.name) or {})
        for column in own.columns
    ]
    columns.append(("Max SubOpt", own.max_subopt, own.paper.max_subopt))
    rows = [
        [get_method_label(method), *(beside(ours.get(method), theirs.get(method)) for _, ours, theirs in columns)]
        for method in results["methods"]
    ]
    table(["method", *(title for title, _, _ in columns)], rows)
    for ensemble, ratio in own.robustness.items():
        label = get_method_label(ensemble)
        print(f"- {label}: {spread(ratio, 2)} of the best single feedback's Max SubOpt (the paper: "
              f"{own.paper.robustness[ensemble]:.2f})")  # fmt: skip
    print()


def beside(ours: Mapping[str, Any] | None, theirs: Mapping[str, float] | None) -> str:
    return spread(ours) if theirs is None else f"{spread(ours)}<br>*{spread(theirs, 2)}*"


def show_costs(names: Sequence[str], results: Mapping[str, Any], max_subopt: str) -> None:
    """Print the costs of columns that are in none of the paper's tables, and a Max SubOpt."""
    shown = [results["cells"][name] for name in names] + [results[max_subopt]]
    rows = [[get_method_label(m), *(spread(cells.get(m)) for cells in shown)] for m in results["methods"]]
    table(["method", *map(format_scenario_title, names), "Max SubOpt"], rows)


def show_regrets(names: Iterable[str], results: Mapping[str, Any]) -> None:
    rows = [
        [
            *(format_scenario_title(name), get_method_label(method), spread(results["cells"][name][method])),
            *(spread(compute_regret_per_round(results, name, method), 4), spread(own.get("ratio"), 2)),
            ", ".join(own["best"]),
        ]
        for name in names
        for method, own in results.get("regret", {}).get(name, {}).items()
    ]
    if rows:
        table(["column", "late ensemble", "cost", "regret per round", "ratio", "best arm, by seed"], rows)


def show_measures(names: Iterable[str], results: Mapping[str, Any]) -> None:
    rows = []
    for name in names:
        for method, cell in results["cells"][name].items():
            figures = [cell.get(measure) for measure in ("mean", *MEASURES)]
            texts = ("–" if figure is None else f"{figure:.3f}" for figure in figures)
            rows.append([format_scenario_title(name), get_method_label(method), *texts])
    table(["column", "method", "cost", *MEASURES], rows)


def show_sweeps(results: Mapping[str, Any]) -> None:
    for sweep in collect_sweeps(results):
        print(f"{sweep.title}\n")
        rows = [
            [sweep.format_value(value), *(spread(cells.get(method)) for method in sweep.methods)]
            for value, cells in sweep.cells.items()
        ]
        table([sweep.symbol, *map(get_method_label, sweep.methods)], rows)
        for crossing in find_crossings(sweep):
            print(f"- {crossing}")


def show(folder: Path) -> None:
    """Print every table of a run."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    groups = group_scenarios(results["columns"])
    tables = collect_tables(results)
    for own in tables:
        show_table(own, results)
    plain, shifted = ([column.name for column in columns] for columns in (groups.plain, groups.shifted))
    if plain and not tables:
        show_costs(plain, results, "max_subopt")
    others = [*plain, *shifted] if tables else shifted
    if others:
        show_costs(others, results, "max_subopt_all")
    unswept = filter_unswept_scenarios(results["columns"])
    show_regrets(unswept, results)
    show_measures(unswept, results)
    show_sweeps(results)
    print({name: round(taken) for name, taken in results["seconds"].items()})
    print(results["settings"].get("machine", ""))


def play_small_run(folder: Path) -> None:
    """Make a run of both of the paper's tables that takes seconds."""
    from copydesk.simulate.config import ExperimentConfig
    from copydesk.simulate.run import run_experiment

    users = ("strong", "weak-to-strong", "strong-to-transfer", "weak-to-transfer", "strong-to-other")
    small = ExperimentConfig(
        columns=tuple(f"email/{user}" for user in users), methods=("base", "sft", "late"), seeds=(0,), rounds=2,
        edits=4, held_out_edits=2, recipe={"sft": {"max_steps": 1}},
    )  # fmt: skip
    run_experiment(small, folder)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a finished run")
    parser.add_argument("--quick", action="store_true", help="make a small run and print its tables")
    args = parser.parse_args(argv)
    if args.run is not None:
        show(args.run)
    elif args.quick:
        with tempfile.TemporaryDirectory() as scratch:
            play_small_run(Path(scratch) / "run")
            show(Path(scratch) / "run")
    else:
        parser.error("name the folder of a run, or give --quick")


if __name__ == "__main__":
    main()
