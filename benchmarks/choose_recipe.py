"""Choose how the embedded model is trained in simulations: the learning rate of each method.

    python benchmarks/choose_recipe.py

Every method gets the same budget: as many learning rates. They are compared on a validation user (p = 0.6, between weak
and strong) and a seed that no table uses, over both tasks, by mean edit cost. The learning rate of the cost model is
chosen before, by R² on a second log of that user, and so is the alpha of the late ensemble afterwards, on the same
rounds. What it prints is what `copydesk.simulate.recipe` holds.
"""

import argparse
import json
import sys
from dataclasses import replace
from statistics import fmean

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.learn.cost.fit import fit_cost_model
from copydesk.learn.cost.folder import measured
from copydesk.learn.encode import Triple, encode_log
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.models import load_model, quiet_libraries
from copydesk.learn.rl.fit import fit_rl
from copydesk.log.cost import EditCost
from copydesk.log.record import EditRecord
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import make_log, online_documents, play, play_late
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.run import RunSettings
from copydesk.simulate.tasks import SCRIPTED
from copydesk.simulate.users import ScriptedUser

USER = ScriptedUser("validation", 0.6)
SEED = 1000
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
COST_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
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
    rows, played, fits, cost_rows = [], {}, {}, []

    def as_triples(log: list[EditRecord]) -> list[Triple]:
        costs = cost.batch([(record.response, str(record.edit)) for record in log])
        known = {record.id: c for record, c in zip(log, costs, strict=True)}
        return encode_log(log, tokenizer, max_length=512, costs=known).triples

    for task in SCRIPTED.values():
        base = LocalPolicy("base", model, tokenizer)
        log = make_log(base, task, USER, defaults.edits, SEED, drawn)
        contexts = online_documents(task, args.rounds, SEED, log)
        triples = as_triples(log)
        if "rl" in args.methods:
            unseen = as_triples(make_log(base, task, USER, defaults.edits, SEED + 1, drawn))
            for rate in COST_RATES:
                recipe = RECIPE["rl"]
                training = replace(recipe, seed=SEED, cost=replace(recipe.cost, learning_rate=rate))
                fits[task.name, rate] = fit_cost_model(model, triples, training)
                row = {"task": task.name, "rate": rate, **measured(fits[task.name, rate], unseen)["fit"]}
                cost_rows.append(row)
                print(row, file=sys.stderr, flush=True)
        references = reference_logprobs(model, triples, batch_size=64)
        for method in args.methods:
            for rate in args.rates:
                training = replace(RECIPE[method], learning_rate=rate, seed=SEED)
                if method == "rl":
                    cost_model = fits[task.name, RECIPE["rl"].cost.learning_rate]
                    fitted = fit_rl(model, tokenizer, triples, cost_model, training)
                else:
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
    cost_rate = (
        max(COST_RATES, key=lambda rate: sum(row["r2"] for row in cost_rows if row["rate"] == rate))
        if cost_rows
        else None
    )
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
            for task in SCRIPTED
            for one in play_late(
                LateEnsemble(args.methods, Ucb(alpha)), {m: played[task, m, chosen[m]] for m in args.methods}
            )
        )
        for alpha in ALPHAS
    }
    found = {
        "rows": rows,
        "cost_model": cost_rows,
        "cost_rate": cost_rate,
        "rates": chosen,
        "alphas": alphas,
        "alpha": min(alphas, key=alphas.__getitem__),
    }
    print(
        json.dumps(found, indent=2)
        if args.json
        else json.dumps({k: v for k, v in found.items() if k not in ("rows", "cost_model")})
    )


if __name__ == "__main__":
    main()
