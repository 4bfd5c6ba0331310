"""Choose training settings by every selection rule, and compare the choices with the true costs.

    python experiments/selection/choose_settings.py experiments-out/selection

Reads what `train_grid.py` left in a folder: `TASK-USER-SEED/` with log.jsonl and held_out.jsonl, and in it
`METHOD-NUMBER/` for each setting with settings.json, policy/, held_out_texts.json and rounds.jsonl. A setting is a
candidate once it is finished for every user of its task and seed; others are skipped. Its held-out metrics are kept
beside it in metrics.json and not computed again (`--again` does).

The settings are chosen on the first seed, per task and method, from the metrics alone, averaged over the users' logs.
It prints, as Markdown, for every seed: what each rule's choice costs in the online phase, beside the candidate that was
best with that seed, and how each metric correlates with that cost over all settings of all methods. The later seeds
check the choice. Last come the settings as `copydesk.simulate.recipe` holds them. `--json` has every candidate's
metrics as well. `--quick` chooses from a small made-up folder.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from copydesk import embedded
from copydesk.data.jsonl import load_log, write_jsonl
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.models.load import load_model, quiet_libraries
from copydesk.simulate.held_out import HeldOutMetrics
from copydesk.simulate.held_out_losses import measure_policy
from copydesk.simulate.run_folder import write_json
from copydesk.simulate.selection import SELECTION_RULES, Candidate, compute_correlation

BASE = "base"
HINDSIGHT = "best in hindsight"
METRICS = ("log_loss", "changed_log_loss", "unfixed", "unknown_bigrams", "strange", "repetition")
SUM = "unfixed + 2 unknown_bigrams"
"""The sum that the prototype ranked settings by."""
MAX_LENGTH = 512


@dataclass(frozen=True)
class Trial:
    """One setting trained on one log: its held-out metrics, and how it did online.

    Attributes:
        cost: the mean edit cost of its rounds.
        malformed: the share of malformed responses in its rounds.
    """

    task: str
    user: str
    seed: int
    method: str
    name: str
    settings: Mapping[str, Any]
    metrics: HeldOutMetrics
    cost: float
    malformed: float


@dataclass(frozen=True)
class Tried(Candidate):
    """A candidate whose cost is known; rules do not look at it."""

    method: str
    trials: Mapping[str, Trial]

    @property
    def cost(self) -> float:
        """The mean cost over the users' logs."""
        return fmean(trial.cost for trial in self.trials.values())


Grid = Mapping[tuple[str, int], Sequence[Tried]]
"""The candidates of each task and seed, of all methods, in a fixed order."""


def iter_trials(out: Path, *, again: bool) -> Iterator[Trial]:
    """Every finished trial in a folder, in order; its metrics are computed where they are not there yet."""
    for run in sorted(path.parent for path in out.glob("*/held_out.jsonl")):
        parts = re.fullmatch(r"([a-z]+)-(.+)-(\d+)", run.name)
        if parts is None:
            raise InputError(f"{run}: name the folder of a log TASK-USER-SEED")
        task, user, seed = parts[1], parts[2], int(parts[3])
        log, held_out = load_log(run / "log.jsonl"), load_log(run / "held_out.jsonl")
        for folder in sorted(path.parent for path in run.glob("[!.]*/settings.json")):
            if not all((folder / name).exists() for name in ("held_out_texts.json", "rounds.jsonl")):
                continue
            about = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
            lines = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
            rounds = [json.loads(line) for line in lines]
            yield Trial(
                task=task,
                user=user,
                seed=seed,
                method=about["method"],
                name=folder.name,
                settings=about["settings"],
                metrics=_read_metrics(folder, log, held_out, again=again),
                cost=fmean(one["cost"] for one in rounds),
                malformed=fmean(one["malformed"] for one in rounds),
            )


def _read_metrics(
    folder: Path, log: Sequence[EditRecord], held_out: Sequence[EditRecord], *, again: bool
) -> HeldOutMetrics:
    file = folder / "metrics.json"
    if file.exists() and not again:
        known = json.loads(file.read_text(encoding="utf-8"))
        if known.keys() == {field.name for field in fields(HeldOutMetrics)}:
            return HeldOutMetrics(**known)
    texts = json.loads((folder / "held_out_texts.json").read_text(encoding="utf-8"))
    policy = folder / "policy"
    # The reference policy has no folder of its own.
    model, tokenizer, _ = load_model(str(policy) if policy.exists() else embedded.NAME)
    metrics = measure_policy(model, tokenizer, texts, held_out, log, max_length=MAX_LENGTH)
    write_json(file, metrics.to_json())
    print(f"measured {folder}", file=sys.stderr, flush=True)
    return metrics


def build_grid(trials: Sequence[Trial]) -> dict[tuple[str, int], list[Tried]]:
    """The candidates of each task and seed: the settings that are finished for every user."""
    grid: dict[tuple[str, int], list[Tried]] = {}
    ordered = sorted(trials, key=lambda one: (one.task, one.seed))
    for key, group in groupby(ordered, key=lambda one: (one.task, one.seed)):
        found = list(group)
        users = sorted({one.user for one in found})
        grid[key] = []
        for method, name in sorted({(one.method, one.name) for one in found}):
            by_user = {one.user: one for one in found if one.name == name}
            if sorted(by_user) != users:
                print(f"skipped {key[0]}, seed {key[1]}, {name}: not finished for every user", file=sys.stderr)
                continue
            metrics = {user: one.metrics for user, one in by_user.items()}
            settings = next(iter(by_user.values())).settings
            grid[key].append(Tried(name, settings, metrics, method, {user: by_user[user] for user in users}))
    return grid


def choose_all(grid: Grid, seed: int) -> dict[str, dict[str, dict[str, str]]]:
    """The name of the chosen setting by rule, task and method."""
    chosen: dict[str, dict[str, dict[str, str]]] = {}
    for name, rule in SELECTION_RULES.items():
        for task, method, own in _iter_methods(grid, seed):
            if method != BASE:
                chosen.setdefault(name, {}).setdefault(task, {})[method] = rule.choose(own).name
    return chosen


def _iter_methods(grid: Grid, seed: int) -> Iterator[tuple[str, str, list[Tried]]]:
    """Every task and method of a seed, with its candidates."""
    for (task, at), candidates in sorted(grid.items()):
        for method in sorted({one.method for one in candidates if at == seed}):
            yield task, method, [one for one in candidates if one.method == method]


def compare_choices(grid: Grid, seed: int, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the chosen settings cost with a seed, and what the best ones cost that were tried with it.

    The reference policy, which has no settings, comes first.
    """
    rows = []
    for rule in (BASE, *chosen, HINDSIGHT):
        for task, method, own in _iter_methods(grid, seed):
            if (method == BASE) != (rule == BASE):
                continue
            best = min(own, key=lambda one: one.cost).name
            name = best if rule in (BASE, HINDSIGHT) else chosen[rule].get(task, {}).get(method)
            rows += [{"rule": rule} | describe(one, task) for one in own if one.name == name]
    return rows


def describe(candidate: Tried, task: str) -> dict[str, Any]:
    """A candidate as JSON."""
    logs = {
        user: {"cost": one.cost, "malformed": one.malformed, **one.metrics.to_json()}
        for user, one in candidate.trials.items()
    }
    return {
        "task": task,
        "method": candidate.method,
        "setting": candidate.name,
        "settings": dict(candidate.settings),
        "mean": candidate.cost,
        "malformed_excess": candidate.malformed_excess,
        "logs": logs,
    }


def correlate_metrics(grid: Grid, seed: int) -> list[dict[str, Any]]:
    """The correlation of every metric with the true cost, by task: over the mean of the logs, and on each log."""
    rows = []
    for (task, at), candidates in sorted(grid.items()):
        own = [one for one in candidates if one.method != BASE]
        if at != seed or not own:
            continue
        for log in ("mean", *own[0].trials):
            costs = [one.cost if log == "mean" else one.trials[log].cost for one in own]
            for metric in (*METRICS, SUM):
                found = compute_correlation([_read_metric(one, metric, log) for one in own], costs)
                row = {"task": task, "log": log, "metric": metric, "settings": len(own)}
                rows.append(row | {"spearman": found.spearman, "pearson": found.pearson})
    return rows


def _read_metric(candidate: Candidate, metric: str, log: str) -> float:
    if metric == SUM:
        return _read_metric(candidate, "unfixed", log) + 2 * _read_metric(candidate, "unknown_bigrams", log)
    if log == "mean":
        return candidate.compute_mean(metric)
    value: float = getattr(candidate.metrics[log], metric)
    return value


def build_recipes(grid: Grid, seed: int, chosen: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The settings by rule, task and method."""
    recipes: dict[str, dict[str, dict[str, Any]]] = {}
    for row in compare_choices(grid, seed, chosen):
        if row["rule"] in chosen:
            methods = recipes.setdefault(row["rule"], {}).setdefault(row["task"], {})
            methods[row["method"]] = row["settings"]
    return recipes


def format_recipes(recipes: Mapping[str, Any]) -> str:
    """The settings as Python, for `copydesk.simulate.recipe`."""
    lines = ["{"]
    for rule, tasks in recipes.items():
        lines.append(f'    "{rule}": {{')
        for task, methods in tasks.items():
            lines.append(f'        "{task}": {{')
            for method, settings in methods.items():
                words = ", ".join(f"{name}={value!r}" for name, value in {"method": method, **settings}.items())
                words = words.replace("'", '"')
                lines.append(f'            "{method}": _BASE_RECIPE.replace({words}),')
            lines.append("        },")
        lines.append("    },")
    return "\n".join([*lines, "}"])


def print_choices(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of costs, with the share of malformed responses in brackets."""
    users = sorted({user for row in rows for user in row["logs"]})
    print_table(
        ["rule", "task", "method", "settings", *(f"log of {user}" for user in users), "mean"],
        [
            [
                "–" if row["rule"] == BASE else row["rule"],
                row["task"],
                row["method"],
                ", ".join(f"{name} {value}" for name, value in row["settings"].items()) or "–",
                *(f"{one['cost']:.3f} ({one['malformed']:.0%})" for one in (row["logs"][user] for user in users)),
                f"{row['mean']:.3f}",
            ]
            for row in rows
        ],
    )


def print_correlations(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the rank correlation and the ordinary one, with a column for each task and log."""
    columns = list(dict.fromkeys((row["task"], row["log"]) for row in rows))
    by_place = {(row["metric"], row["task"], row["log"]): row for row in rows}
    head = [f"{task}, {'mean of the logs' if log == 'mean' else f'log of {log}'}" for task, log in columns]
    print_table(
        ["metric", *head],
        [
            [metric, *(_format_correlation(by_place[metric, task, log]) for task, log in columns)]
            for metric in (*METRICS, SUM)
        ],
    )


def _format_correlation(row: Mapping[str, Any]) -> str:
    return " / ".join("–" if row[kind] is None else f"{row[kind]:.2f}" for kind in ("spearman", "pearson"))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def write_small_grid(out: Path) -> None:
    """A small folder as `train_grid.py` leaves one, made up: every policy is the embedded model."""
    for user, greeting in (("strong", "Hi"), ("weak", "Dear")):
        for seed in (0, 1):
            run = out / f"email-{user}-{seed}"
            names = ["Ann", "Bo", "Cy", "Di"]
            rows = [
                EditRecord(
                    id=name,
                    context=f"Write to {name}.",
                    response=f"Dear {name}, good day. Regards",
                    edit=f"{greeting} {name}, good day.",
                )
                for name in names
            ]
            run.mkdir(parents=True)
            write_jsonl(run / "log.jsonl", rows[:2])
            write_jsonl(run / "held_out.jsonl", rows[2:])
            for number, rate in enumerate((0.001, 0.003)):
                folder = run / f"sft-{number}"
                folder.mkdir()
                (folder / "policy").symlink_to(embedded.path(), target_is_directory=True)
                write_json(folder / "settings.json", {"method": "sft", "settings": {"learning_rate": rate}})
                texts = [str(row.edit if number else row.response) for row in rows[2:]]
                write_json(folder / "held_out_texts.json", texts)
                played = json.dumps({"cost": 0.1 if number else 0.4, "malformed": False})
                (folder / "rounds.jsonl").write_text(f"{played}\n", encoding="utf-8")


def show(out: Path, *, again: bool, as_json: bool) -> None:
    """Choose, compare and print."""
    grid = build_grid(list(iter_trials(out, again=again)))
    seeds = sorted({seed for _, seed in grid})
    if not seeds:
        raise InputError(f"{out}: no setting is finished; run train_grid.py first")
    chosen = choose_all(grid, seeds[0])
    by_seed = {
        seed: {
            "chosen": compare_choices(grid, seed, chosen),
            "correlations": correlate_metrics(grid, seed),
            "candidates": [describe(one, task) for task, _, own in _iter_methods(grid, seed) for one in own],
        }
        for seed in seeds
    }
    recipes = build_recipes(grid, seeds[0], chosen)
    if as_json:
        print(json.dumps({"seeds": by_seed, "recipe": recipes}, indent=2))
        return
    for seed, found in by_seed.items():
        print(f"## Seed {seed}, {'on which settings are chosen' if seed == seeds[0] else 'a check of the choice'}\n")
        print("Mean cost online (share malformed) of the chosen settings:\n")
        print_choices(found["chosen"])
        print("Correlation with the mean cost online over all settings, of ranks / of values:\n")
        print_correlations(found["correlations"])
    print(f"## Settings\n\n```python\n{format_recipes(recipes)}\n```")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="the folder that train_grid.py wrote")
    parser.add_argument("--again", action="store_true", help="compute the metrics again")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="choose from a small folder that is made up")
    args = parser.parse_args(argv)
    quiet_libraries()
    torch.set_num_threads(1)
    try:
        if args.quick:
            with tempfile.TemporaryDirectory() as scratch:
                write_small_grid(Path(scratch))
                show(Path(scratch), again=args.again, as_json=args.json)
        elif args.out is not None:
            show(args.out, again=args.again, as_json=args.json)
        else:
            parser.error("name the folder that train_grid.py wrote, or give --quick")
    except InputError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
