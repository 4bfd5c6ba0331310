"""Choose how the embedded model is trained in simulations: the learning rate of each method.

    python benchmarks/choose_recipe.py

Every method gets the same budget: the same epochs and as many learning rates. They are compared on a validation user
(p = 0.6, between weak and strong) and a seed that no table uses, over both tasks, by mean edit cost. The alpha of the
late ensemble is chosen on the same rounds. What it prints is what `copydesk.simulate.recipe` holds.
"""

import argparse
import json
import sys
from dataclasses import replace
from statistics import fmean

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.learn.encode import encode_log
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.models import load_model, quiet_libraries
from copydesk.learn.settings import TrainSettings
from copydesk.log.cost import EditCost
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import make_log, online_documents, play, play_late
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.run import RunSettings
from copydesk.simulate.tasks import TASKS
from copydesk.simulate.users import ScriptedUser

USER = ScriptedUser("validation", 0.6)
SEED = 1000
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
ALPHAS = (0.1, 0.2, 0.3, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=list(RECIPE))
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    args = parser.parse_args()
    quiet_libraries()
    defaults = RunSettings()
    model, tokenizer, _ = load_model("embedded")
    drawn = Sampling(defaults.log_temperature, defaults.max_new_tokens)
    sampling = Sampling(defaults.temperature, defaults.max_new_tokens)
    cost = EditCost(cap=defaults.c_max)
    rows, played = [], {}
    for task in TASKS.values():
        base = LocalPolicy("base", model, tokenizer)
        log = make_log(base, task, USER, defaults.edits, SEED, drawn)
        contexts = online_documents(task, args.rounds, SEED, log)
        triples = encode_log(log, tokenizer, max_length=512).triples
        references = reference_logprobs(model, triples, batch_size=64)
        for method in args.methods:
            for rate in args.rates:
                training: TrainSettings = replace(RECIPE[method], learning_rate=rate, seed=SEED)
                fitted = fit(model, triples, references, training)
                rounds = play(
                    LocalPolicy(method, fitted.model, tokenizer), method, task, USER, contexts, SEED, cost, sampling
                )
                played[task.name, method, rate] = rounds
                row = {
                    "task": task.name,
                    "method": method,
                    "rate": rate,
                    "cost": fmean(one.cost for one in rounds),
                    "distance": fmean(one.distance for one in rounds),
                    "malformed": fmean(one.malformed for one in rounds),
                    "facts": fmean(one.facts for one in rounds),
                    "length": fmean(one.length for one in rounds),
                }
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    chosen = {
        method: min(
            args.rates,
            key=lambda rate: fmean(row["cost"] for row in rows if (row["method"], row["rate"]) == (method, rate)),
        )
        for method in args.methods
    }
    alphas = {
        alpha: fmean(
            one.cost
            for task in TASKS
            for one in play_late(
                LateEnsemble(args.methods, Ucb(alpha)), {m: played[task, m, chosen[m]] for m in args.methods}
            )
        )
        for alpha in ALPHAS
    }
    found = {"rows": rows, "rates": chosen, "alphas": alphas, "alpha": min(alphas, key=alphas.__getitem__)}
    print(json.dumps(found, indent=2) if args.json else json.dumps({k: v for k, v in found.items() if k != "rows"}))


if __name__ == "__main__":
    main()
