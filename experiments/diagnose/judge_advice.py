"""Does the recommendation of `copydesk diagnose` pick the method that then wins?

    python experiments/diagnose/judge_advice.py experiments-out/table experiments-out/strength experiments-out/n

Two families of simulated logs, of users of known strength.

The embedded family: the logs of finished runs of `copydesk bench paper` (`experiments/table` and `experiments/sweeps`).
Every log is diagnosed with the model that wrote it, and what each method then cost online is in the run's results. The
constants of the advice were set beside logs of an earlier run of `experiments/table`.

The lab: logs of the tabular lab (`copydesk theory`), over six users and six coverages, with 100 and with 1,000
edits. The rule of the advice is given what it would otherwise estimate from texts: how much an edit leaves, the size
of the class, the exact reference policy. So it is the rule that is judged, not the measuring. What each method loses is
its SubOpt in nats, the mean over 20 logs.

A row of the table is a way to choose: the advice, or always the same. `hit`: the share of logs for which it is the
best of SFT, DPO, RL and the early ensemble, with Wilson's 95% interval. `near`: for which it is the best or within
0.03 of it (in edit cost, or in nats). `lost`: how much more than the best it costs, on average, ± the standard error
over logs.

Some minutes on two cores. `--json` prints one document with the same figures; `--quick` is a part of the lab alone.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from copydesk.diagnose import DiagnoseConfig, diagnose_log
from copydesk.diagnose.advice import AdviceInputs, advise
from copydesk.diagnose.diagnose import collect_advice_inputs
from copydesk.diagnose.quality import compute_effective_share
from copydesk.errors import InputError
from copydesk.report.columns import parse_scenario
from copydesk.theory.experiments import GRID_ATTENTIONS, GRID_DIVERGENCES
from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import LabLog, compute_subopt, draw_lab_log, select_members

METHODS = ("sft", "dpo", "rl", "early")
NEAR = 0.03
REPEATS = 20
SAMPLE = 100


@dataclass(frozen=True)
class Judged:
    """A log, what was recommended for it, and what each method then cost."""

    log: str
    advice: str
    predicted: dict[str, float]
    facts: dict[str, Any]
    costs: dict[str, float]


def embedded_logs(folders: Sequence[Path]) -> list[tuple[str, Path, dict[str, float]]]:
    """Of finished runs: each log's name, its file, and what every method cost the user of the log."""
    found: dict[str, tuple[str, Path, dict[str, float]]] = {}
    for folder in folders:
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{folder}: no finished run of `copydesk bench paper`; make one with experiments/table/run.sh"
            ) from None
        for name in results["columns"]:
            column = parse_scenario(name)
            cells = results["cells"][name]
            if column.is_shifted or any(method not in cells for method in METHODS):
                continue
            for k, seed in enumerate(results["settings"]["seeds"]):
                log = f"{column.task}-{column.log_user}-n{column.edits or results['settings']['edits']}-{seed}"
                costs = {method: cells[method]["per_seed"][k] for method in METHODS}
                found.setdefault(log, (log, folder / "logs" / f"{log}.jsonl", costs))
    return list(found.values())


def judge_embedded(logs: Sequence[tuple[str, Path, dict[str, float]]]) -> list[Judged]:
    """Diagnose logs of runs with the embedded model, which wrote them."""
    judged = []
    for name, path, costs in track(logs, "logs", console=Console(stderr=True), transient=True):
        found = diagnose_log(path, "embedded", config=DiagnoseConfig(sample=SAMPLE))
        assert found.advice is not None
        facts = collect_advice_inputs(found.counts, found.costs, found.quality, found.coverage)
        judged.append(Judged(name, found.advice.method, found.advice.predicted, asdict(facts), costs))
    return judged


def judge_lab(
    attentions: Sequence[float], apart: Sequence[float], lengths: Sequence[int], repeats: int
) -> list[Judged]:
    """Diagnose one log of every setting and length."""
    judged = []
    settings = [(n, LabSetting(p, distance)) for n in lengths for p in attentions for distance in apart]
    for n, setting in track(settings, "lab", console=Console(stderr=True), transient=True):
        logs = [draw_lab_log(setting.world, n, np.random.default_rng([n, repeat])) for repeat in range(repeats)]
        beta = setting.world.problem.beta
        gains = [compute_subopt(setting, select_members(setting, log)) for log in logs]
        costs = {method: fmean(gain[method] for gain in gains) / beta for method in METHODS}
        facts = lab_facts(setting, logs[0])
        advice = advise(facts)
        name = f"lab-p{setting.attention:g}-{setting.divergence:g}nats-n{n}"
        judged.append(Judged(name, advice.method, advice.predicted, asdict(facts), costs))
    return judged


def lab_facts(setting: LabSetting, log: LabLog) -> AdviceInputs:
    """What the advice is made of, exact where a text would only give an estimate.

    One rewrite out of as many words as the class has policies makes D = log(|Π|/δ).
    """
    edited = log.counts.astype(np.float64)
    kept = np.arange(edited.shape[1])
    edited[:, kept, kept] = 0.0
    changed = edited > 0
    logs = np.log(setting.world.problem.reference)
    margins = np.broadcast_to(logs[:, None, :] - logs[:, :, None], edited.shape)[changed]
    margins = np.repeat(margins, edited[changed].astype(np.int64))
    costs = np.repeat(np.broadcast_to(log.distance, edited.shape).ravel(), log.counts.ravel())
    return AdviceInputs(
        rows=log.n,
        edited=int(edited.sum()),
        mean_cost=float(costs.mean()),
        high_cost=float(np.quantile(costs, 0.99)),
        consistency=1 - setting.distance_left,
        covered=1.0,
        distinct=1,
        vocabulary=setting.members.size,
        ess=compute_effective_share(np.minimum(margins, 0.0)),
        margin_scale=float(np.median(np.abs(margins))),
    )


def summed(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Hits, near hits and what was lost, for the advice and for always choosing the same."""
    ways = {"advice": [one.advice for one in judged]} | {f"always {m}": [m] * len(judged) for m in METHODS}
    return {way: _judge(chosen, [one.costs for one in judged]) for way, chosen in ways.items()}


def _judge(chosen: Sequence[str], costs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    lost = [own[method] - min(own.values()) for method, own in zip(chosen, costs, strict=True)]
    n, hits = len(lost), sum(value == 0 for value in lost)
    centre, z = hits / n, 1.96
    middle = (centre + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(centre * (1 - centre) / n + z * z / (4 * n * n))
    return {
        "logs": n,
        "hit": centre,
        "hit_low": middle - half,
        "hit_high": middle + half,
        "near": sum(value <= NEAR for value in lost) / n,
        "lost": fmean(lost),
        "lost_error": stdev(lost) / sqrt(n) if n > 1 else 0.0,
    }


def show(title: str, judged: Sequence[Judged]) -> None:
    table = Table("way to choose", "logs", "hit", "95%", "near", "lost", title=title)
    for way, own in summed(judged).items():
        table.add_row(
            way,
            str(own["logs"]),
            f"{own['hit']:.0%}",
            f"{own['hit_low']:.0%} to {own['hit_high']:.0%}",
            f"{own['near']:.0%}",
            f"{own['lost']:.3f} ± {own['lost_error']:.3f}",
        )
    Console().print(table)
    for one in judged:
        best = min(one.costs, key=one.costs.__getitem__)
        costs = ", ".join(f"{name} {value:.3f}" for name, value in one.costs.items())
        print(f"{one.log}: {one.advice} recommended, {best} best ({costs})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--quick", action="store_true", help="four settings of the lab")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    families: dict[str, list[Judged]] = {}
    try:
        logs = embedded_logs(options.runs)
        if options.quick:
            families["lab"] = judge_lab((0.4, 1.0), (2.0, 6.0), (100,), 5)
        else:
            families["lab"] = judge_lab(GRID_ATTENTIONS, GRID_DIVERGENCES, (100, 1_000), REPEATS)
        if logs:
            families["embedded"] = judge_embedded(logs)
    except InputError as exc:
        sys.exit(f"diagnose: {exc}")
    if options.json:
        document = {
            name: {"ways": summed(judged), "logs": [asdict(one) for one in judged]} for name, judged in families.items()
        }
        print(json.dumps(document, indent=2))
        return
    for name, judged in families.items():
        show(name, judged)


if __name__ == "__main__":
    main()
