"""Does policy optimisation exploit the cost model, and does pessimism help? Predicted and true cost along training.

    python experiments/overoptimisation/overoptimisation.py --out overoptimisation

A scripted user edits responses of the embedded model, a cost model is fitted to that log, and a policy is optimised
against it far longer than it should be: against f̂ alone, against the maximum over the confidence set, and against
f̂ + κ x spread. On the way the policy answers documents that are not in the log, and the same user edits what it
writes: the true cost. Every seed redraws the log, the cost model and the training; all kinds of pessimism share a
seed's cost model and random numbers. Prints a table and draws overoptimisation.svg. `--json` prints one document with
the same figures; `--quick` is one seed and a few steps, within two minutes on two cores.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback

from copydesk.data.cost import EditCost
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import draw_online_documents, simulate_log
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.seeds import SeedStream, make_generator, make_seed_key
from copydesk.simulate.tasks import SCRIPTED_TASKS
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.scripted import ScriptedTask, score_response
from copydesk.simulate.users import ScriptedUser
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.cost_model.io import compute_prediction_metrics
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import encode_log
from copydesk.training.rl.run import fit_rl
from copydesk.training.rl.trainer import predict_costs

C_MAX, LONGEST = 3.0, 160
KINDS = ("none", "max", "std")
LABELS = {"none": "no pessimism: f̂", "max": "maximum over the confidence set", "std": "f̂ + κ x spread"}


class Watch(TrainerCallback):
    """Measures every few steps what the policy's responses to fresh documents cost, and are predicted to cost."""

    def __init__(
        self, task: ScriptedTask, user: ScriptedUser, documents: Sequence[Document], seed: int, tokenizer: Any,
        cost_model: CostModel, every: int,
    ) -> None:  # fmt: skip
        self.task, self.user, self.documents, self.seed = task, user, documents, seed
        self.tokenizer, self.cost_model, self.every = tokenizer, cost_model, every
        self.cost = EditCost(cap=C_MAX)
        self.rows: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Look at the reference policy."""
        self._look(model, 0)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Look when it is time to."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._look(model, state.global_step)

    def _look(self, model: Any, step: int) -> None:
        was_training = model.training
        model.eval()
        rng_state = torch.get_rng_state()  # looking must not change what is looked at
        policy = LocalPolicy("policy", model, self.tokenizer)
        prompts = policy.encode([document.context for document in self.documents])
        seeds = [make_seed_key(self.seed, SeedStream.ONLINE_RESPONSES, t) for t in range(len(prompts))]
        drafts = policy.generate_tokens(prompts, seeds, Sampling(1.0, LONGEST))
        predicted = predict_costs(self.cost_model, prompts, drafts, policy.end_of_turn)
        responses = [policy.decode(draft) for draft in drafts]
        edits = [
            self.user.edit_response(
                self.task, document, response, make_generator(self.seed, SeedStream.ONLINE_EDITS, t)
            )
            for t, (document, response) in enumerate(zip(self.documents, responses, strict=True))
        ]
        true = self.cost.cost_batch(list(zip(responses, edits, strict=True)))
        malformed = [score_response(self.task, d, r).malformed for d, r in zip(self.documents, responses, strict=True)]
        self.rows.append(
            {
                "step": step,
                "fit": float(predicted.fit.mean()),
                "pessimistic": float(predicted.pessimistic.mean()),
                "true": fmean(true),
                "malformed": fmean(malformed),
            }
        )
        torch.set_rng_state(rng_state)
        model.train(was_training)


def one_seed(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The cost model of a seed, and a curve for each kind of pessimism."""
    task = replace(SCRIPTED_TASKS[args.task], unseen_values=0.0)
    user = ScriptedUser(f"p={args.p}", args.p, facets=False)
    model, tokenizer, _ = load_model("embedded")
    cost = EditCost(cap=C_MAX)
    log = simulate_log(LocalPolicy("base", model, tokenizer), task, user, args.edits, seed, Sampling(1.0, LONGEST))
    costs = cost.cost_batch([(record.response, str(record.edit)) for record in log])
    known = {record.id: c for record, c in zip(log, costs, strict=True)}
    triples = encode_log(log, tokenizer, max_length=512, costs=known).triples
    documents = draw_online_documents(task, args.documents, seed, log)
    settings = RECIPE["rl"].replace(seed=seed, max_steps=args.steps, learning_rate=args.lr, beta=args.beta)
    cost_model = fit_cost_model(model, triples, settings)
    found: dict[str, Any] = {"seed": seed, "curves": {}}
    for kind in args.kinds:
        cost_model.settings = cost_model.settings.replace(pessimism=kind, kappa=args.kappa)
        watch = Watch(task, user, documents, seed, tokenizer, cost_model, args.every)
        fit_rl(model, tokenizer, triples, cost_model, settings, callbacks=[watch])
        found["curves"][kind] = watch.rows
        print(f"seed {seed}, {kind}: {watch.rows[-1]}", file=sys.stderr, flush=True)
    predicted = cost_model.predict([(triple.context, triple.response) for triple in triples])
    found["cost_model"] = compute_prediction_metrics(predicted[:, 0].tolist(), costs, fmean(costs))
    found["within"] = cost_model.within.tolist()
    return found


def summary(seeds: Sequence[dict[str, Any]], kind: str) -> dict[str, dict[str, float]]:
    """Over seeds: the true cost at the start, at its best and at the end, and how far the prediction is below it."""
    curves = [one["curves"][kind] for one in seeds]
    figures = {
        "start": [curve[0]["true"] for curve in curves],
        "best": [min(row["true"] for row in curve) for curve in curves],
        "end": [curve[-1]["true"] for curve in curves],
        "predicted": [curve[-1]["pessimistic"] for curve in curves],
        "gap": [curve[-1]["true"] - curve[-1]["pessimistic"] for curve in curves],
        "malformed": [curve[-1]["malformed"] for curve in curves],
    }
    return {
        name: {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else 0.0}
        for name, values in figures.items()
    }


def draw(seeds: Sequence[dict[str, Any]], kinds: Sequence[str], path: Path) -> None:
    """A panel for each kind of pessimism: what the policy is trained on and what it truly costs, a band over seeds."""
    figure = Figure(figsize=(3.6 * len(kinds), 3.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        curves = [one["curves"][kind] for one in seeds]
        steps = [row["step"] for row in curves[0]]
        for name, colour, label in (("pessimistic", "#2c6fb3", "predicted"), ("true", "#cf4a1d", "true")):
            means = [fmean(curve[place][name] for curve in curves) for place in range(len(steps))]
            axes.plot(steps, means, color=colour, label=label)
            if len(curves) > 1:
                spread = [stdev([curve[place][name] for curve in curves]) for place in range(len(steps))]
                low = [mean - one for mean, one in zip(means, spread, strict=True)]
                high = [mean + one for mean, one in zip(means, spread, strict=True)]
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=LABELS[kind], xlabel="step", ylim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("edit cost")
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep rows.json and overoptimisation.svg in this folder")
    parser.add_argument("--task", choices=list(SCRIPTED_TASKS), default="email")
    parser.add_argument("--p", type=float, default=0.6, help="strength of the user")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kappa", type=float, default=1.0)
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--documents", type=int, default=100, help="fresh ones, to measure on")
    parser.add_argument("--steps", type=int, default=24, help="the recipe takes 19")
    parser.add_argument("--every", type=int, default=4, help="steps between two measurements")
    parser.add_argument("--lr", type=float, default=3e-3, help="more than the recipe's")
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--quick", action="store_true", help="one seed, eight steps, a third of the data")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(seeds=[0], edits=100, documents=40, steps=8, every=4)
    args = parser.parse_args(argv)
    quiet_libraries()
    started = time.monotonic()
    seeds = [one_seed(seed, args) for seed in args.seeds]
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "json")}
    found = {
        "settings": settings,
        "seeds": seeds,
        "summary": {kind: summary(seeds, kind) for kind in args.kinds},
        "seconds": round(time.monotonic() - started, 1),
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "rows.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        draw(seeds, args.kinds, args.out / "overoptimisation.svg")
    if args.json:
        print(json.dumps(found, indent=2))
        return
    names = ("start", "best", "end", "predicted", "gap", "malformed")
    table = Table(title=f"{args.task}, p = {args.p}, {len(seeds)} seeds, {args.steps} steps", box=None)
    for name in ("pessimism", *names):
        table.add_column(name, justify="left" if name == "pessimism" else "right")
    for kind in args.kinds:
        cells = found["summary"][kind]
        table.add_row(LABELS[kind], *(f"{cells[name]['mean']:.3f} ± {cells[name]['std']:.3f}" for name in names))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
