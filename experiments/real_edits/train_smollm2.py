"""Train a real small LLM on real edits, with every method, and check the adapter in plain PEFT.

    copydesk models pull smollm2
    python experiments/real_edits/train_smollm2.py --data ../shared/data

For each log and method a few dozen optimizer steps on the first rows of the log; held-out figures before and after; the
adapter is then loaded with nothing but PEFT, and its likeliest answers to four contexts compared with the base model's.
Half an hour to an hour on two cores. Without `--data`, the log is one of a scripted user who edits the embedded model's
emails. `--quick` is a few steps of SFT on one log, with the embedded model. `--json` prints one document with the same
figures.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from copydesk.cli._shared import log_to_stderr
from copydesk.data.jsonl import read_jsonl
from copydesk.data.record import EditRecord
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import simulate_log
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import STRONG
from copydesk.training.config import TrainConfig
from copydesk.training.train import train

LOGS = ("lamp", "defacto")
METHODS = ("sft", "dpo", "early")
RATES = {"sft": 2e-4, "dpo": 1e-4, "early": 2e-4}


def some_rows(path: Path, count: int, longest: int) -> list[EditRecord]:
    """The first edited rows of a log whose texts are not too long for a CPU."""
    rows = (r for r in read_jsonl(path) if r.edited and len(str(r.context) + r.response + (r.edit or "")) < longest)
    return list(islice(rows, count))


def answer(model: torch.nn.Module, tokenizer: Any, context: str, tokens: int = 40) -> str:
    """The likeliest answer, by nothing but Transformers."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": context}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        ids = model.generate(**prompt, do_sample=False, max_new_tokens=tokens)
    return str(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


def simulated_rows(count: int) -> list[EditRecord]:
    """Edited rows of a scripted user, where there is no log of real ones."""
    model, tokenizer, _ = load_model("embedded")
    log = simulate_log(LocalPolicy("base", model, tokenizer), EMAIL, STRONG, 2 * count, 0, Sampling(1.0, 160))
    return [record for record in log if record.edited][:count]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="smollm2, a .gguf file, a folder or a hub id")
    parser.add_argument("--data", type=Path, help="the folder of lamp.jsonl and defacto.jsonl; else a simulated log")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=LOGS)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--longest", type=int, default=2200, help="characters of context, response and edit together")
    parser.add_argument("--asked", type=int, default=4, help="contexts whose answers are compared")
    parser.add_argument("--quick", action="store_true", help="a few steps of SFT on one log, with the embedded model")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(
            model="embedded", methods=METHODS[:1], logs=LOGS[1:], rows=8, steps=4, longest=1000, asked=1
        )
    args = parser.parse_args(argv)
    if args.data is None:
        print("no --data: the log is a simulated one", file=sys.stderr)
        args.logs = ["simulated"]
    quiet_libraries()
    log_to_stderr("copydesk")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        # An ordinary folder, which PEFT can name as the base of an adapter and load again by itself.
        folder = Path(scratch) / "base"
        model, tokenizer, _ = load_model(args.model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for log in args.logs:
            rows = (
                some_rows(args.data / f"{log}.jsonl", args.rows, args.longest)
                if args.data
                else simulated_rows(args.rows)
            )
            for method in args.methods:
                settings = TrainConfig(
                    method=method, max_steps=args.steps, batch_size=1, accumulate=1, held_out=0.2,
                    learning_rate=RATES[method], max_length=768,
                )  # fmt: skip
                report = train(rows, str(folder), settings, Path(scratch) / f"{log}-{method}")
                plain = AutoPeftModelForCausalLM.from_pretrained(report.folder).eval()
                base = AutoModelForCausalLM.from_pretrained(folder).eval()
                tok = AutoTokenizer.from_pretrained(report.folder)
                answers = [
                    {"base": answer(base, tok, str(row.context)), "adapter": answer(plain, tok, str(row.context))}
                    for row in rows[-args.asked :]
                ]
                policy = report.policy
                found.append(
                    {
                        "log": log,
                        "method": method,
                        "rows": policy.data.rows,
                        "held_out": policy.data.held_out,
                        "steps": args.steps,
                        "seconds": report.seconds,
                        "before": policy.before,
                        "after": policy.after,
                        "answers": answers,
                    }
                )
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps({"rows": found}, indent=2))
        return
    table = Table(title="Held-out rows, before → after", title_justify="left", box=None)
    for title in (
        "log",
        "method",
        "objective",
        "log π(y')",
        "log π(y)",
        "margin",
        "prefers y'",
        "answers changed",
        "s",
    ):
        table.add_column(title)
    for row in found:
        before, after = row["before"], row["after"]
        arrows = [
            f"{before[k]:.3g} → {after[k]:.3g}" for k in ("loss", "logp/edit", "logp/response", "margin", "accuracy")
        ]
        changed = sum(one["base"] != one["adapter"] for one in row["answers"])
        table.add_row(row["log"], row["method"], *arrows, f"{changed} of {args.asked}", f"{row['seconds']:.0f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
