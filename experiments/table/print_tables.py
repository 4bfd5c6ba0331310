"""Print the tables of a run as Markdown, for docs/results.md.

    python experiments/table/print_tables.py experiments-out/table

`--quick` makes a small run first and prints its tables.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from copydesk.report.columns import format_scenario_title, parse_scenario
from copydesk.report.results import collect_sweeps, find_crossings
from copydesk.report.style import get_method_label


def spread(cell: dict[str, Any] | None, digits: int = 3) -> str:
    return "–" if cell is None else f"{cell['mean']:.{digits}f} ± {cell['std']:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print()


def show(folder: Path) -> None:
    """Print every table of a run."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    columns = [parse_scenario(name) for name in results["columns"]]
    for kind in ("plain", "shifted"):
        names = [column.name for column in columns if getattr(column, f"is_{kind}")]
        subopt = [results["max_subopt"]] if kind == "plain" else []
        shown = [results["cells"][name] for name in names] + subopt
        head = ["method", *(format_scenario_title(name) for name in names), *["Max SubOpt"] * len(subopt)]
        rows = [[get_method_label(m), *(spread(cells.get(m)) for cells in shown)] for m in results["methods"]]
        if names:
            table(head, rows)
    for ensemble, ratio in results.get("robustness", {}).items():
        print(f"- {get_method_label(ensemble)}: {spread(ratio, 2)} of the best single feedback's Max SubOpt")
    regrets = [
        [
            format_scenario_title(name),
            get_method_label(m),
            spread(own["regret"], 2),
            spread(own.get("ratio"), 2),
            ", ".join(own["best"]),
        ]
        for name, methods in results.get("regret", {}).items()
        for m, own in methods.items()
    ]
    if regrets:
        print()
        table(["column", "late ensemble", "regret", "ratio", "best arm, by seed"], regrets)
    measures = ("cost", "distance", "taste", "malformed", "facts", "length")
    rows = []
    for column in (column for column in columns if column.is_plain):
        for method, cell in results["cells"][column.name].items():
            figures = [cell["mean"], *(cell.get(name) for name in measures[1:])]
            rows.append([column.title, get_method_label(method), *("–" if f is None else f"{f:.3f}" for f in figures)])
    if rows:
        table(["column", "method", *measures], rows)
    for sweep in collect_sweeps(results):
        print(f"{sweep.title}\n")
        rows = [
            [sweep.format_value(value), *(spread(cells.get(method)) for method in sweep.methods)]
            for value, cells in sweep.cells.items()
        ]
        table([sweep.symbol, *map(get_method_label, sweep.methods)], rows)
        for crossing in find_crossings(sweep):
            print(f"- {crossing}")
    print({name: round(taken) for name, taken in results["seconds"].items()})
    print(results["settings"]["machine"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a finished run")
    parser.add_argument("--quick", action="store_true", help="make a small run and print its tables")
    args = parser.parse_args(argv)
    if args.run is not None:
        show(args.run)
    elif args.quick:
        from copydesk.simulate.config import ExperimentConfig
        from copydesk.simulate.run import run_experiment

        small = ExperimentConfig(
            columns=("email/strong", "email/strong-to-weak"), methods=("base", "sft", "late"), seeds=(0,), rounds=2,
            edits=4, recipe={"sft": {"max_steps": 1}},
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            run_experiment(small, Path(scratch) / "run")
            show(Path(scratch) / "run")
    else:
        parser.error("name the folder of a run, or give --quick")


if __name__ == "__main__":
    main()
