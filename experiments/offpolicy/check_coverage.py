"""Do the 95% intervals of off-policy evaluation hold the truth? Simulated logs of which the truth is known.

    OMP_NUM_THREADS=1 python experiments/offpolicy/check_coverage.py

Every log is evaluated as `copydesk evaluate` does it, with its refusals. A row of the table is a kind of log and an
estimator. `refused` is the share of logs without an answer; the other figures are over the logs with one: `cover`,
the share of intervals that hold the truth, ± its standard error; `bias` and `rmse` of the estimates; `width`, the
mean width of the intervals; and, in the tabular family, `cover, bootstrap`, what studentised bootstrap intervals
cover. `naive` is what one would look up without off-policy evaluation, on the same logs: the mean cost of the
policy's own rows where it is an arm, else of all rows.

The tabular family: 8 contexts, 20 answers and 3 logged policies, all redrawn for every log of 500 rows. The
ensemble plays the arm that was cheapest for this context so far, or, with probability 0.3, any. A cost is 0 if the
answer is accepted, else from a beta distribution. `arm`: the policy is one of the three. `new, d`: it is none of
them, and its logits differ from those the arms share by a normal deviate of size d (the arms' do by 0.7). `dr` has
the regression of `copydesk evaluate`; `dr, cost model` a model that is off by a factor of 0.7 and noise. The truth is
exact.

The lognormal family: log w is normal, with a standard deviation of 0.4 in half of the rows (300 or 1,000), which a
near policy wrote, and s in the others. What weighs most costs least, as it would for a policy that is better than the
log's. `without the rule`: on what the spread of log w must let expect. (The tabular family has none: among 20 answers
log w is not normal, and no answer is too rare to be seen.) The truth is exact.

The embedded family: the embedded model and one that was trained on 300 edits of a scripted user answer synthetic
emails at temperature 0.7, and the user edits. A policy is `base + a (trained - base)`, weight by weight: the arms are
a = 0 and a = 0.2, and the second is chosen with a probability of 0.2 to 0.8 that depends on the kind of email. `arm`:
it is the policy, weighed by the choice. `new, a`: weighed by the texts. `dr, cost model` has a cost model that was
fitted to those 300 edits, and one answer of the policy to each context. A pool of rounds is made once; the logs of
300 rows are parts of it, disjoint within a partition of the pool and overlapping between partitions, so they share
its random numbers. The truth is the mean cost of the policy's own answers to other documents, and has a standard
error. `pool` is what self-normalised IPS says of the whole pool at once: where it is off by more than its error, so are
all logs of it.

About 20 minutes on one core, of which the embedded family takes 15; `--family` runs one alone, so two cores do it in
15. `--json` prints one document with the same figures; `--quick` is fewer logs, within two minutes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from outcomes import Outcome, bootstrap, judge, say, summed
from rich.console import Console
from rich.table import Table

from copydesk.offpolicy.baseline import fit_baseline
from copydesk.offpolicy.estimators import (
    estimate_doubly_robust,
    estimate_ips,
    estimate_snips,
)
from copydesk.offpolicy.overlap import Overlap, compute_expected_sample_size
from copydesk.offpolicy.traffic import LoggedAnswer

FAMILIES = ["tabular", "lognormal", "embedded"]
CONTEXTS, ANSWERS, ARMS = 8, 20, 3
EXPLORE = 0.3
ARM_SHIFT = 0.7


@dataclass(frozen=True)
class World:
    """Contexts (their probabilities), policies (contexts x answers) and mean costs, of which all is known."""

    rho: np.ndarray
    arms: np.ndarray
    policy: np.ndarray
    means: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, shift: float | None) -> "World":
        """Fresh ones; the policy is the last arm, or one that is `shift` away from what the arms share."""
        shared = rng.normal(size=(CONTEXTS, ANSWERS))
        arms = softmax(shared + ARM_SHIFT * rng.normal(size=(ARMS, CONTEXTS, ANSWERS)))
        policy = arms[-1] if shift is None else softmax(shared + shift * rng.normal(size=(CONTEXTS, ANSWERS)))
        kinds, answers = rng.random((CONTEXTS, 1)), rng.random((CONTEXTS, ANSWERS))
        means = np.clip(0.15 + 0.5 * kinds + 0.35 * (answers - 0.5), 0.03, 0.97)
        return cls(softmax(0.5 * rng.normal(size=CONTEXTS)), arms, policy, means)

    @property
    def costs(self) -> np.ndarray:
        """The expected cost of every answer: 0 if accepted, else the mean of its beta distribution."""
        return (1 - accepted(self.means)) * self.means

    @property
    def truth(self) -> float:
        """The policy's expected cost."""
        return float((self.rho[:, None] * self.policy * self.costs).sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def accepted(means: Any) -> Any:
    return 0.3 * (1 - means)


@dataclass(frozen=True)
class Log:
    """n rounds: context, arm, its propensity, answer, cost."""

    x: np.ndarray
    a: np.ndarray
    p: np.ndarray
    y: np.ndarray
    c: np.ndarray


def play(world: World, rng: np.random.Generator, rounds: int) -> Log:
    """A log of an ensemble that learns, context by context, which arm is cheapest there."""
    x = rng.choice(CONTEXTS, rounds, p=world.rho)
    arms, answers = np.zeros(rounds, dtype=int), np.zeros(rounds, dtype=int)
    propensities, costs = np.zeros(rounds), np.zeros(rounds)
    sums, counts = np.zeros((CONTEXTS, ARMS)), np.zeros((CONTEXTS, ARMS))
    for t in range(rounds):
        best = np.where(counts[x[t]] > 0, sums[x[t]] / np.maximum(counts[x[t]], 1), -1.0).argmin()
        chances = np.full(ARMS, EXPLORE / ARMS)
        chances[best] += 1 - EXPLORE
        arm = rng.choice(ARMS, p=chances)
        answer = rng.choice(ANSWERS, p=world.arms[arm, x[t]])
        middle = world.means[x[t], answer]
        cost = 0.0 if rng.random() < accepted(middle) else rng.beta(3 * middle, 3 * (1 - middle))
        arms[t], answers[t], propensities[t], costs[t] = arm, answer, chances[arm], cost
        sums[x[t], arm] += cost
        counts[x[t], arm] += 1
    return Log(x, arms, propensities, answers, costs)


def as_row(context: str, cost: float) -> LoggedAnswer:
    """A row of which only the context and the cost matter."""
    return LoggedAnswer("", context, "", {}, "stop", None, "", 1.0, frozenset(), cost)


def tabular(shift: float | None, seed: int, rounds: int, resamples: int) -> dict[str, Outcome]:
    """One tabular log: what every estimator says of it."""
    rng = np.random.default_rng([seed, 0 if shift is None else round(100 * shift)])
    world = World.draw(rng, shift)
    log = play(world, rng, rounds)
    if shift is None:
        weights, naive = (log.a == ARMS - 1) / log.p, log.c[log.a == ARMS - 1]
    else:
        weights, naive = world.policy[log.x, log.y] / world.arms[log.a, log.x, log.y], log.c
    model = 0.7 * world.costs + 0.1 * rng.normal(size=world.costs.shape)
    predicted, expected = model[log.x, log.y], (world.policy * model).sum(axis=1)[log.x]
    rows = [as_row(f"kind{x}", float(c)) for x, c in zip(log.x, log.c, strict=True)]
    e = fit_baseline(rows, weights, seed).expected
    fits = {
        "ips": estimate_ips(weights, log.c),
        "snips": estimate_snips(weights, log.c),
        "dr": estimate_doubly_robust(weights, log.c, e, e),
        "dr, cost model": estimate_doubly_robust(weights, log.c, predicted, expected),
    }
    ones = np.ones(rounds)
    terms = {
        "ips": (weights * log.c, ones),
        "snips": (weights * log.c, weights),
        "dr": (e + weights * (log.c - e), ones),
        "dr, cost model": (expected + weights * (log.c - predicted), ones),
    }
    covered = (
        bootstrap(terms, world.truth, rng, resamples)
        if Overlap.from_weights(weights).why_insufficient is None
        else None
    )
    return judge(weights, log.c, fits, world.truth, naive, covered)


def lognormal(size: float, seed: int, rounds: int, rule: bool) -> dict[str, Outcome]:
    """One log with lognormal weights: what IPS and SNIPS say of it."""
    rng = np.random.default_rng([seed, round(100 * size), rounds])
    z = rng.normal(size=rounds)
    sizes = np.where(rng.random(rounds) < 0.5, size, 0.4)
    log_weights = sizes * z - sizes**2 / 2
    weights = np.exp(log_weights)
    costs = 0.45 - 0.12 * z + 0.2 * rng.normal(size=rounds)
    # Under the policy z is normal around `sizes`, and no longer around 0.
    truth = 0.45 - 0.12 * (size + 0.4) / 2
    fits = {"ips": estimate_ips(weights, costs), "snips": estimate_snips(weights, costs)}
    expected = compute_expected_sample_size(log_weights, [str(one) for one in sizes]) if rule else None
    return judge(weights, costs, fits, truth, costs, expected=expected)


def show(title: str, kinds: Sequence[dict[str, Any]]) -> None:
    """A table for people."""
    table = Table(title=title, title_justify="left", box=None)
    for name in ("kind", "truth", "estimator", "refused", "cover", "cover, bootstrap", "bias", "rmse", "width"):
        table.add_column(name, justify="left" if name in ("kind", "estimator") else "right")
    for one in kinds:
        for place, (name, figures) in enumerate(one["estimators"].items()):
            truth = one["truth"]
            shown = f"{truth['value']:.4f} ± {truth['error']:.4f}" if truth and not place else ""
            if truth and place == 1:
                shown = f"pool {one['pool']['value']:.4f} ± {one['pool']['error']:.4f}"
            cells = [one["kind"] if not place else "", shown, name, f"{figures['refused']:.1%}"]
            if figures["cover"] is None:
                table.add_row(*cells, *[""] * 5)
                continue
            cells.append(f"{figures['cover']:.1%} ± {figures['cover_error']:.1%}")
            cells.append("" if figures["bootstrap"] is None else f"{figures['bootstrap']:.1%}")
            table.add_row(*cells, f"{figures['bias']:+.4f}", f"{figures['rmse']:.4f}", f"{figures['width']:.4f}")
    Console(width=140).print(table)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--shifts", nargs="+", type=float, default=[0.3, 0.8, 1.3, 1.8, 2.5], help="of new policies")
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.8, 1.2, 1.5, 1.8], help="of lognormal weights")
    parser.add_argument("--logs", type=int, default=1000, help="of each kind, but the embedded")
    parser.add_argument("--rounds", type=int, default=500, help="in a tabular log")
    parser.add_argument("--resamples", type=int, default=300, help="of the bootstrap")
    parser.add_argument("--embedded-logs", type=int, default=204)
    parser.add_argument("--embedded-rounds", type=int, default=300, help="rows of each of these logs")
    parser.add_argument("--embedded-edits", type=int, default=300, help="edits that the embedded family learns from")
    parser.add_argument("--pool", type=int, default=3600, help="rounds that the embedded family's logs are parts of")
    parser.add_argument("--others", type=int, default=1800, help="documents that the truth is measured on")
    parser.add_argument("--seed", type=int, default=0, help="of the embedded family; tabular logs have 0, 1, 2, ...")
    parser.add_argument("--quick", action="store_true", help="fewer logs, a smaller pool, and no cost model")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(shifts=[0.8, 1.8], logs=100, resamples=200, pool=600, others=150, embedded_logs=10)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    tables: dict[str, list[dict[str, Any]]] = {}
    if "tabular" in args.family:
        tables["tabular"] = []
        for shift in [None, *args.shifts]:
            logs = [tabular(shift, seed, args.rounds, args.resamples) for seed in range(args.logs)]
            tables["tabular"].append(summed("arm" if shift is None else f"new, {shift:g}", logs))
            say(f"tabular {shift}")
    if "lognormal" in args.family:
        tables["lognormal"] = []
        for rounds, rule, size in product((300, 1000), (False, True), args.sizes):
            logs = [lognormal(size, seed, rounds, rule) for seed in range(args.logs)]
            kind = f"{rounds} rows, s = {size:g}" + ("" if rule else ", without the rule")
            tables["lognormal"].append(summed(kind, logs))
    if "embedded" in args.family:
        from embedded_logs import embedded  # loads torch

        sizes = args.embedded_edits, args.pool, args.others, args.embedded_rounds, args.embedded_logs
        tables["embedded"] = embedded(args.seed, *sizes, not args.quick)
    if args.json:
        print(json.dumps({"settings": vars(args), **tables}, indent=2))
        return
    titles = {
        "tabular": f"Tabular: {args.logs} logs of {args.rounds} rows",
        "lognormal": f"Lognormal weights: {args.logs} logs",
        "embedded": f"Embedded: {args.embedded_logs} logs of {args.embedded_rounds} rows from a pool of {args.pool}",
    }
    for family, kinds in tables.items():
        show(titles[family], kinds)


if __name__ == "__main__":
    main()
