"""Choose how the embedded model is trained in simulations, and how the late ensembles explore.

    python experiments/recipe/choose_recipe.py --out recipe

Every method gets the same budget of ten trials, and they are compared on a validation user (p = 0.6, between weak and
strong) and a seed that no table uses, over both tasks, by mean edit cost. The search goes along one setting after the
other, from the best found so far. The learning rate of the cost model is chosen before, by R² on a second log of that
user. Afterwards every rule of the late ensemble is given the α (and discount) with the least cost on the rounds of the
policies chosen, played with the validation user and with one whose taste changes halfway. A method whose file is in the
folder is not searched again. It prints the values that `copydesk.simulate.recipe` and `copydesk.simulate.config` hold.
An hour on two cores; `--quick` is one trial for each setting of SFT and DPO, with small logs.
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.ensemble import DiscountedUcb, LateEnsemble, Rule, Thompson, Ucb
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.protocol import (
    Round,
    draw_online_documents,
    play,
    play_policy,
    simulate_edits,
    simulate_log,
)
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import SCRIPTED_TASKS
from copydesk.simulate.tasks.scripted import ScriptedTask
from copydesk.simulate.users import ChangingUser, ScriptedUser
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.cost_model.io import measure_held_out
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import Triple, encode_log
from copydesk.training.fit import compute_reference_logprobs, fit_policy
from copydesk.training.rl.run import fit_rl
from copydesk.utils.atomic import atomic_write

USER = ScriptedUser("validation", 0.6, facets=False)
SEED = 1000
CHANGED = ScriptedUser("changed", 0.6, taste_offset=1, facets=False)
TASKS = {name: replace(task, unseen_values=0.0) for name, task in SCRIPTED_TASKS.items()}
COST_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0)
DISCOUNTS = (0.9, 0.95, 0.98, 0.99, 0.995)
RULE_SEEDS = 10
"""Seeds of each late ensemble; only Thompson sampling needs any."""
START = {"epochs": 4.0, "beta": 0.1, "lambda_sup": 1.0, "rl_epochs": 1.0}
SEARCH: dict[str, Sequence[tuple[str, Sequence[float]]]] = {
    "rl": [
        ("learning_rate", (1e-3, 3e-4, 2e-3, 3e-3)),
        ("beta", (0.01, 0.03, 0.3, 1.0)),
        ("rl_epochs", (0.5, 2.0)),
    ],
    "early": [
        ("learning_rate", (3e-3, 3e-4, 1e-3, 1e-2)),
        ("lambda_sup", (0.1, 0.01)),
        ("beta", (0.3, 1.0)),
        ("epochs", (2.0, 8.0)),
    ],
    "dpo": [
        ("learning_rate", (3e-4, 1e-4, 1e-3, 3e-3)),
        ("beta", (0.03, 0.3, 1.0, 3.0)),
        ("epochs", (2.0, 8.0)),
    ],
    "sft": [
        ("learning_rate", (3e-3, 3e-4, 1e-3, 1e-2)),
        ("epochs", (1.0, 2.0, 8.0, 16.0)),
        ("learning_rate", (2e-3, 5e-3)),
    ],
}
"""Ten trials a method. The largest searches come first, so that two processes end at about the same time."""


class Bench:
    """The validation user's logs and rounds, for every task."""

    def __init__(self, rounds: int, edits: int) -> None:
        quiet_libraries()
        torch.set_num_threads(1)
        self.settings = ExperimentConfig(rounds=rounds, edits=edits, temperature=0.7, log_temperature=1.0)
        self.cost = EditCost(cap=self.settings.c_max)
        self.model, self.tokenizer, _ = load_model("embedded")
        self.base = LocalPolicy("base", self.model, self.tokenizer)
        self.log = {name: self._log(name, SEED) for name in SCRIPTED_TASKS}
        self.triples = {name: self.encoded(log) for name, log in self.log.items()}
        self.cost_models: dict[str, CostModel] = {}

    def _log(self, task: str, seed: int) -> list[EditRecord]:
        drawn = Sampling(self.settings.log_temperature, self.settings.max_new_tokens)
        return simulate_log(self.base, TASKS[task], USER, self.settings.edits, seed, drawn)

    def encoded(self, log: list[EditRecord]) -> list[Triple]:
        """A log as rows with their costs."""
        costs = self.cost.cost_batch([(record.response, str(record.edit)) for record in log])
        known = {record.id: c for record, c in zip(log, costs, strict=True)}
        return encode_log(log, self.tokenizer, max_length=512, costs=known).triples

    def choose_cost_rate(self) -> list[dict[str, Any]]:
        """Fit the cost model at each rate; the best one of each task is kept."""
        rows, fits = [], {}
        unseen = {task: self.encoded(self._log(task, SEED + 1)) for task in SCRIPTED_TASKS}
        for rate in COST_RATES:
            for task in SCRIPTED_TASKS:
                recipe = RECIPE["rl"]
                training = recipe.replace(seed=SEED, cost=recipe.cost.replace(learning_rate=rate))
                fits[task, rate] = fit_cost_model(self.model, self.triples[task], training)
                rows.append({"task": task, "rate": rate, **measure_held_out(fits[task, rate], unseen[task])["fit"]})
                print(rows[-1], file=sys.stderr, flush=True)
        best = max(COST_RATES, key=lambda rate: sum(row["r2"] for row in rows if row["rate"] == rate))
        self.cost_models = {task: fits[task, best] for task in SCRIPTED_TASKS}
        return [{**row, "chosen": row["rate"] == best} for row in rows]

    def trial(self, method: str, chosen: dict[str, float]) -> dict[str, Any]:
        """Train and play on both tasks with these settings."""
        row: dict[str, Any] = {"method": method, **chosen}
        for name, task in TASKS.items():
            training = _training(method, chosen)
            triples = self.triples[name]
            if method == "rl":
                fitted = fit_rl(self.model, self.tokenizer, triples, self.cost_models[name], training)
            else:
                references = compute_reference_logprobs(self.model, triples, batch_size=64)
                fitted = fit_policy(self.model, triples, references, training)
            contexts = draw_online_documents(task, self.settings.rounds, SEED, self.log[name])
            policy = LocalPolicy(method, fitted.model, self.tokenizer)
            played = play_policy(policy, method, task, USER, contexts, SEED, self.cost, self.settings.sampling())
            row[name] = {
                measure: fmean(getattr(one, measure) for one in played)
                for measure in ("cost", "distance", "malformed", "facts", "length")
            }
            row[name]["rounds"] = [one.to_json() for one in played]
        row["cost"] = fmean(row[name]["cost"] for name in SCRIPTED_TASKS)
        return row


def _training(method: str, chosen: dict[str, float]) -> TrainConfig:
    plain = {name: value for name, value in chosen.items() if name != "rl_epochs"}
    training = RECIPE[method].replace(seed=SEED, **plain)
    return training.replace(rl=training.rl.replace(epochs=chosen.get("rl_epochs", 1.0)))


def search(method: str, rounds: int, edits: int, trials: int | None, out: Path) -> None:
    """Choose one method's settings and write them, with every trial and the best one's rounds, into the folder."""
    file = out / f"{method}.json"
    if file.exists():
        return
    bench = Bench(rounds, edits)
    found: dict[str, Any] = {"cost_model": bench.choose_cost_rate() if method == "rl" else [], "trials": []}
    names = list(dict.fromkeys(name for name, _ in SEARCH[method]))
    chosen = {name: START[name] for name in names if name in START}
    best: dict[str, Any] | None = None
    for name, values in SEARCH[method]:
        for value in values[:trials]:
            row = bench.trial(method, {**chosen, name: value})
            if best is None or row["cost"] < best["cost"]:
                best = row
            kept = {key: value for key, value in row.items() if key not in SCRIPTED_TASKS}
            kept |= {task: {m: v for m, v in row[task].items() if m != "rounds"} for task in SCRIPTED_TASKS}
            found["trials"].append(kept)
            print(kept, file=sys.stderr, flush=True)
        assert best is not None
        chosen = {name: best[name] for name in names if name in best}
    assert best is not None
    found |= {"chosen": chosen, "rounds": [one for task in SCRIPTED_TASKS for one in best[task]["rounds"]]}
    with atomic_write(file) as stream:
        stream.write(json.dumps(found) + "\n")


def choose_rules(rounds: dict[str, list[Round]], edits: int) -> dict[str, dict[str, Any]]:
    """The cost of every rule of the late ensemble, by what it explores with, and the best.

    Args:
        rounds: of each method, of all tasks.
        edits: rows of the log that the methods learned from.
    """
    cost = EditCost(cap=ExperimentConfig().c_max)
    played: list[dict[str, list[Round]]] = []
    for task in TASKS.values():
        own = {method: [one for one in all_of if one.task == task.name] for method, all_of in rounds.items()}
        until = len(next(iter(own.values()))) // 2
        user = ChangingUser("changing", USER, CHANGED, until)
        contexts = draw_online_documents(task, 2 * until, SEED, _validation_log(task, edits))
        changing = {
            method: simulate_edits(method, method, task, user, contexts, [one.response for one in alone], SEED, cost)
            for method, alone in own.items()
        }
        played += [own, changing]

    def paid(rule: Rule) -> float:
        return fmean(
            one.cost
            for arms in played
            for seed in range(RULE_SEEDS)
            for one in play(LateEnsemble(list(arms), rule, seed), {None: arms}, len(next(iter(arms.values()))))
        )

    found: dict[str, dict[str, float]] = {
        "ucb": {f"alpha {alpha:g}": paid(Ucb(alpha=alpha)) for alpha in ALPHAS},
        "discounted-ucb": {
            f"alpha {alpha:g}, discount {discount:g}": paid(DiscountedUcb(alpha=alpha, discount=discount))
            for alpha in ALPHAS
            for discount in DISCOUNTS
        },
        "thompson": {f"alpha {alpha:g}": paid(Thompson(alpha=alpha)) for alpha in ALPHAS},
    }
    return {rule: {"chosen": min(costs, key=costs.__getitem__), "costs": costs} for rule, costs in found.items()}


def _validation_log(task: ScriptedTask, edits: int) -> list[EditRecord]:
    """Records of the log's contexts, so that the online phase passes over them as it did before."""
    documents = task.draw_offline(edits, SEED)
    return [EditRecord(id=str(i), context=one.context, response="") for i, one in enumerate(documents)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder that keeps what was found")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--edits", type=int, default=300, help="rows of every log")
    parser.add_argument("--trials", type=int, help="values tried of every setting; all unless given")
    parser.add_argument("--methods", nargs="+", default=list(SEARCH))
    parser.add_argument("--jobs", type=int, default=2, help="methods searched side by side, each in one thread")
    parser.add_argument("--quick", action="store_true", help="one trial for each setting of SFT and DPO, small logs")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    args = parser.parse_args(argv)
    if args.quick:
        parser.set_defaults(rounds=4, edits=8, trials=1, methods=["sft", "dpo"], jobs=1)
        args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    what = args.rounds, args.edits, args.trials, args.out
    if args.jobs == 1:
        for method in args.methods:
            search(method, *what)
    else:
        with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            for done in [pool.submit(search, method, *what) for method in args.methods]:
                done.result()
    found = {method: json.loads((args.out / f"{method}.json").read_text()) for method in args.methods}
    arms = [method for method in RECIPE if method in found]
    rules = choose_rules({method: [Round(**one) for one in found[method]["rounds"]] for method in arms}, args.edits)
    if args.json:
        kept = {method: {k: v for k, v in one.items() if k != "rounds"} for method, one in found.items()}
        print(json.dumps(kept | {"rules": rules}, indent=2))
        return
    table = Table("method", "settings", *SCRIPTED_TASKS, "mean", box=None)
    for method, one in found.items():
        for row in one["trials"]:
            settings = ", ".join(f"{name} {row[name]:g}" for name in one["chosen"])
            costs = [f"{row[task]['cost']:.3f} ({row[task]['malformed']:.0%} malformed)" for task in SCRIPTED_TASKS]
            style = "bold" if all(row[name] == value for name, value in one["chosen"].items()) else ""
            table.add_row(method, settings, *costs, f"{row['cost']:.3f}", style=style)
    console = Console(width=140)
    console.print(table)
    for rule, tried in rules.items():
        console.print(f"{rule}: {tried['chosen']}", {name: round(cost, 4) for name, cost in tried["costs"].items()})


if __name__ == "__main__":
    main()
