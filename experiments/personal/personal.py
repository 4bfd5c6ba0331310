"""Choose the learning rate of an adapter, on a user that no table uses, and print the table of several people.

    python experiments/personal/personal.py rate
    python experiments/personal/personal.py table FOLDER...

`table` takes runs of `copydesk demo --personal` that differ only in their seed. `rate --quick` is one rate and a small
log; `table --quick` makes a small run first and prints its table.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

RATES = (1e-3, 5e-3, 2e-2, 5e-2)
LENGTHS = (38, 300)
"""As one person's log and as everybody's."""
SEED = 1000
PRIORS = (0.0, 1.0, 3.0, 10.0)
"""The demo's is the last; it was not chosen by this."""


def rate(rates: Sequence[float], lengths: Sequence[int], rounds: int) -> None:
    """Print the mean cost of SFT at each rate, with the erring user of p = 0.6."""
    from copydesk.data.cost import EditCost
    from copydesk.models.load import quiet_libraries
    from copydesk.policies import LocalPolicy
    from copydesk.simulate.config import ExperimentConfig
    from copydesk.simulate.protocol import draw_online_documents, play_policy, simulate_log
    from copydesk.simulate.recipe import RECIPE
    from copydesk.simulate.tasks import SCRIPTED_TASKS
    from copydesk.simulate.users import get_user
    from copydesk.training.encode import encode_log
    from copydesk.training.fit import compute_reference_logprobs, fit_policy
    from copydesk.training.prepare import load_reference_policy

    quiet_libraries()
    settings = ExperimentConfig(rounds=rounds, temperature=0.7, log_temperature=1.0)
    user, student = get_user("erring-0.6"), load_reference_policy("embedded")
    base = LocalPolicy("base", student.model, student.tokenizer)
    cost = EditCost(cap=settings.c_max)
    found: dict[float, list[float]] = {rate: [] for rate in rates}
    heads = [f"{task}, {count} edits" for task in SCRIPTED_TASKS for count in lengths]
    for task in (replace(one, unseen_values=0.0) for one in SCRIPTED_TASKS.values()):
        for count in lengths:
            log = simulate_log(base, task, user, count, SEED, settings.sampling(settings.log_temperature))
            contexts = draw_online_documents(task, settings.rounds, SEED, log)
            triples = encode_log(log, student.tokenizer, max_length=512).triples
            references = compute_reference_logprobs(student.model, triples, batch_size=64)
            for rate, costs in found.items():
                training = RECIPE["sft"].replace(full=False, learning_rate=rate, seed=SEED)
                fitted = fit_policy(student.model, triples, references, training)
                policy = LocalPolicy("sft", fitted.model, student.tokenizer)
                rounds = play_policy(policy, "sft", task, user, contexts, SEED, cost, settings.sampling())
                costs.append(fmean(one.cost for one in rounds))
                print(task.name, count, rate, costs[-1], file=sys.stderr, flush=True)
    _markdown(
        ["rate", *heads, "mean"],
        [[f"{rate:g}", *(f"{one:.3f}" for one in costs), f"{fmean(costs):.3f}"] for rate, costs in found.items()],
    )


def table(folders: Sequence[Path]) -> None:
    """Print the table of runs that differ in nothing but their seed."""
    from copydesk.report import summarize_rounds
    from copydesk.report.results import build_user_rows, get_user_scenario
    from copydesk.report.style import get_method_label

    rounds = [
        json.loads(line)
        for folder in folders
        for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    settings = json.loads((folders[0] / "results.json").read_text(encoding="utf-8"))["settings"]
    results = summarize_rounds(rounds, settings, {})
    rows = []
    for row in build_user_rows(results):
        cells = [row.cells[method] for method in results["methods"]]
        regret = [] if row.regret is None else [f"{row.regret['mean']:.2f} ± {row.regret['std']:.2f}"]
        costs = (f"{cell['mean']:.3f} ± {cell['std']:.3f}" for cell in cells)
        best = results["regret"].get(get_user_scenario(results, row.name), {}).get("late", {}).get("best", [])
        rows.append([row.name, row.edits, row.taste, *costs, *regret, ", ".join(best)])
    head = [
        "who",
        "edits",
        "taste shared with",
        *map(get_method_label, results["methods"]),
        "regret",
        "better, by seed",
    ]
    _markdown(head, rows)
    _priors(rounds, settings)


def _priors(rounds: Sequence[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Print what the late ensembles of the same rounds pay where they borrow less from each other."""
    from copydesk.ensemble import LateEnsemble, Ucb
    from copydesk.simulate.protocol import Round, play

    alone: dict[int, dict[str, dict[str, list[Round]]]] = {}
    for one in (Round(**played) for played in rounds if played["method"] in ("shared", "own")):
        alone.setdefault(one.seed, {}).setdefault(one.user, {}).setdefault(one.method, []).append(one)
    rows = []
    for prior in PRIORS:
        paid: dict[str, list[float]] = {name: [] for name in [*settings["people"], "everybody"]}
        for seed, people in alone.items():
            ensemble = LateEnsemble(["shared", "own"], Ucb(alpha=settings["alpha"]), seed, prior=prior)
            late = play(ensemble, people, min(len(arm) for arms in people.values() for arm in arms.values()))
            for name in settings["people"]:
                paid[name].append(fmean(one.cost for one in late if one.user == name))
            paid["everybody"].append(fmean(one.cost for one in late))
        rows.append([f"{prior:g}", *(f"{fmean(costs):.3f}" for costs in paid.values())])
    _markdown(["prior", *settings["people"], "everybody"], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print()


def small_run(folder: Path) -> None:
    """A run of several people with little of everything."""
    from copydesk.simulate.presets import make_personal_config
    from copydesk.simulate.run import run_experiment

    settings = make_personal_config(edits=24, rounds=2).replace(recipe={"sft": {"max_steps": 1}})
    run_experiment(settings, folder, compact=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "table"))
    parser.add_argument("folders", nargs="*", type=Path, help="of finished runs, for the table")
    parser.add_argument("--quick", action="store_true", help="a smaller run of the same")
    args = parser.parse_args(argv)
    if args.what == "rate":
        rate(*((RATES[-1:], (8,), 4) if args.quick else (RATES, LENGTHS, 200)))
    elif args.folders:
        table(args.folders)
    elif args.quick:
        with tempfile.TemporaryDirectory() as scratch:
            small_run(Path(scratch))
            table([Path(scratch)])
    else:
        parser.error("table: name the folders of finished runs, or give --quick")


if __name__ == "__main__":
    main()
