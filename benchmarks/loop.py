"""The demo's table: every method in every column (task, user), over several seeds.

    python benchmarks/loop.py --out results --seeds 0 1 2

Every seed redraws the log, the training and the rounds. Prints mean edit cost ± sample standard deviation over seeds,
and writes rounds.jsonl, results.json and report.html. `--json` prints results.json instead of the table; `--quick` is
one small column that ends within two minutes on two cores.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from copydesk.cli.output import log_to_stderr
from copydesk.learn.models import quiet_libraries
from copydesk.learn.staging import staged_folder
from copydesk.report import print_results
from copydesk.simulate.outcome import write_results
from copydesk.simulate.run import RunSettings, run
from copydesk.simulate.tasks import TASKS
from copydesk.simulate.users import USERS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the rounds, results.json and report.html in this folder")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--users", nargs="+", default=list(USERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="one task, one user, one seed, a third of the data")
    parser.add_argument("--json", action="store_true", help="print results.json on stdout")
    args = parser.parse_args()
    if args.quick:
        args.tasks, args.users, args.seeds, args.edits, args.rounds = ["email"], ["strong"], [0], 100, 60
    return args


def beside_cost(results: dict[str, Any]) -> Table:
    """What stands beside the cost: how far from the taste, how often malformed, how many facts right, how long."""
    table = Table(title="Beside the cost (means over all rounds and seeds)", title_justify="left", box=None)
    names = ("cost", "distance", "taste", "malformed", "facts", "length")
    for title in ("column", "method", *names):
        table.add_column(title, justify="right" if title in names else "left")
    for column in results["columns"]:
        for method in results["methods"]:
            cell = results["cells"][column][method]
            figures = [cell["mean"], *(cell[name] for name in names[1:])]
            table.add_row(column, method, *(f"{figure:.3f}" for figure in figures))
    return table


def main() -> None:
    args = arguments()
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch) / "results"
        with staged_folder(out, marker="results.json", overwrite=True) as folder:
            outcomes = []
            for seed in args.seeds:
                for task in args.tasks:
                    for user in args.users:
                        print(f"== {task}, {user} user, seed {seed}", file=sys.stderr)
                        settings = RunSettings(task=task, user=user, seed=seed, edits=args.edits, rounds=args.rounds)
                        own = folder / "runs" / f"{task}-{user}-{seed}"
                        own.mkdir(parents=True)
                        outcomes.append((settings, run(settings, own)))
            results = write_results(folder, outcomes)
    if args.json:
        print(json.dumps(results, indent=2))
        return
    console = Console(width=140)
    print_results(console, results)
    console.print(beside_cost(results))
    console.print(f"Seconds in all: {results['seconds']['total']:.0f}, of {len(outcomes)} runs")


if __name__ == "__main__":
    main()
