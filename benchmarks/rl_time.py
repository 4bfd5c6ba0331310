"""How long `--method rl` takes on the embedded model, and what of it is TRL's loop.

    python benchmarks/rl_time.py

400 edits of a scripted user, the cost model and one pass of policy optimisation over the log's contexts, through
`train` as the command line calls it, but timed stage by stage. `--json` prints one document with the same figures;
`--quick` is a tenth of the log.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from copydesk.cli._shared import log_to_stderr
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Sampling
from copydesk.simulate.protocol import simulate_log
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import STRONG
from copydesk.training.config import CostModelConfig, TrainConfig
from copydesk.training.rl import run
from copydesk.training.rl.trainer import RlTrainer
from copydesk.training.train import train

STAGES = (
    (run, "fit_cost_model", "cost model"),
    (run, "fit_rl", "policy optimisation"),
    (RlTrainer, "_generate_single_turn", "of which responses are generated"),
    (RlTrainer, "_reward", "of which the cost model predicts"),
    (RlTrainer, "_get_per_token_logps_and_entropies", "of which log-probabilities, forward"),
    (RlTrainer, "training_step", "of which steps, all together"),
)
seconds: dict[str, float] = defaultdict(float)


@contextmanager
def timed(owner: Any, name: str, stage: str) -> Iterator[None]:
    """Add up, under a stage, how long calls of a function take in this block."""
    function: Callable[..., Any] = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - started

    with patch.object(owner, name, measured):
        yield


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="a tenth of the log")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(edits=40)
    args = parser.parse_args(argv)
    seconds.clear()
    quiet_libraries()
    log_to_stderr("copydesk.simulate")
    model, tokenizer, _ = load_model("embedded")
    log = simulate_log(LocalPolicy("base", model, tokenizer), EMAIL, STRONG, args.edits, 0, Sampling(1.0, 160))
    settings = TrainConfig(
        method="rl",
        full=True,
        batch_size=64,
        learning_rate=1e-3,
        max_length=512,
        cost=CostModelConfig(epochs=3, learning_rate=1e-2, rows_per_step=8),
    )
    with ExitStack() as stack:
        for owner, name, stage in STAGES:
            stack.enter_context(timed(owner, name, stage))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(patch.dict(os.environ, COPYDESK_CACHE=str(Path(folder) / "cache")))
        started = time.perf_counter()
        train(log, "embedded", settings, Path(folder) / "rl")
        seconds["in all"] = time.perf_counter() - started
    found = {"edits": args.edits, "seconds": {stage: round(taken, 2) for stage, taken in seconds.items()}}
    if args.json:
        print(json.dumps(found, indent=2))
        return
    table = Table(title=f"--method rl on {args.edits} edits", box=None)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, taken in found["seconds"].items():
        table.add_row(stage, f"{taken:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
