"""Train every method with every setting of a grid, on logs of the strong and the weak user.

    python experiments/selection/train_grid.py --out experiments-out/selection --tasks email --seeds 100

The grid has eight settings for each method. For each task, user and seed it makes a log of 1,000 edits and 200 further
edits that nothing is trained on, and leaves

    TASK-USER-SEED/log.jsonl, held_out.jsonl
    TASK-USER-SEED/METHOD-NUMBER/settings.json, policy/, held_out_texts.json, rounds.jsonl

where the texts are the policy's own for the held-out contexts and the rounds are 200 with the strong user. All text is
written greedily. What is there is not made again. `choose_settings.py` reads the folder. `--quick` is a tiny grid.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log, write_jsonl
from copydesk.data.record import EditRecord
from copydesk.data.repetition import trim_repeats
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Policy, Sampling
from copydesk.simulate.protocol import Round, build_log, draw_online_documents, generate_responses, simulate_edits
from copydesk.simulate.run_folder import write_json, write_rounds
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.users import STRONG, get_user
from copydesk.training.config import TrainConfig
from copydesk.training.encode import EncodedLog, encode_log
from copydesk.training.fit import compute_reference_logprobs, fit_policy
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.policy_file import compute_data_sha256
from copydesk.training.train import build_policy_file, save_policy
from copydesk.utils.atomic import atomic_folder

GRID: Mapping[str, Mapping[str, Sequence[float]]] = {
    "sft": {"learning_rate": (3e-4, 1e-3, 3e-3, 5e-3), "epochs": (1, 2)},
    "dpo": {"learning_rate": (5e-5, 2e-4), "epochs": (1, 2), "beta": (0.1, 0.5)},
    "early": {"learning_rate": (3e-4, 1e-3), "epochs": (1,), "beta": (0.1, 0.5), "lambda_sup": (0.1, 1.0)},
}
"""The values of each setting, by method: eight settings each."""
QUICK_GRID = {"sft": {"learning_rate": (1e-3, 3e-3), "epochs": (1,)}, "dpo": {"learning_rate": (1e-4,), "epochs": (1,)}}
USERS = ("strong", "weak")
GREEDY = Sampling(0.0, 160, 128)
BASE = TrainConfig(full=True, batch_size=16, accumulate=1, max_length=512, held_out=0.0)


def list_settings(grid: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[str, int, dict[str, float]]]:
    """Every method, number and setting of a grid."""
    return [
        (method, number, dict(zip(values, chosen, strict=True)))
        for method, values in grid.items()
        for number, chosen in enumerate(product(*values.values()))
    ]


class GridRun:
    """One log of the grid, and every policy that is trained on it."""

    def __init__(self, task: Task, user: str, seed: int, out: Path, sizes: argparse.Namespace) -> None:
        self.task, self.user, self.seed = task, user, seed
        self.folder = out / f"{task.name}-{user}-{seed}"
        self.edits, self.held_out, self.rounds = sizes.edits, sizes.held_out, sizes.rounds
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model, self.tokenizer, self.info = load_model("embedded")
        self.cost = EditCost(unit="word", cap=3.0)

    def write_log(self) -> tuple[list[EditRecord], list[EditRecord]]:
        """The log and the held-out edits, made if they are not there."""
        files = self.folder / "log.jsonl", self.folder / "held_out.jsonl"
        if not files[1].exists():
            documents = self.task.draw_offline(self.edits + self.held_out, self.seed)
            base = LocalPolicy("base", self.model, self.tokenizer)
            responses = generate_responses(base, documents, self.seed, GREEDY, SeedStream.LOG_RESPONSES)
            texts = [trim_repeats(one) for one in responses]
            rows = build_log("base", self.task, get_user(self.user), documents, texts, self.seed)
            write_jsonl(files[0], rows[: self.edits])
            write_jsonl(files[1], rows[self.edits :])
        return load_log(files[0]), load_log(files[1])

    def play(self, policy: Policy, contexts: Sequence[Document]) -> list[Round]:
        """The rounds of a policy with the strong user."""
        responses = [trim_repeats(one) for one in generate_responses(policy, contexts, self.seed, GREEDY)]
        return simulate_edits(
            policy.name, policy.name, self.task, STRONG, contexts, responses, self.seed, self.cost
        )  # fmt: skip

    def train_all(self, grid: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Train, answer and play with every setting whose folder is not there yet."""
        log, held_out = self.write_log()
        online = draw_online_documents(self.task, self.rounds, self.seed, [*log, *held_out])
        encoded = encode_log(log, self.tokenizer, max_length=512)
        references = compute_reference_logprobs(self.model, encoded.triples, batch_size=64)
        settings = [("base", 0, {}), *list_settings(grid)]
        for method, number, values in settings:
            target = self.folder / f"{method}-{number}"
            if target.exists():
                continue
            with atomic_folder(target, marker="settings.json") as staged:
                policy: Policy = LocalPolicy("base", self.model, self.tokenizer)
                if method != "base":
                    policy = self._train(method, values, log, encoded, references, staged / "policy")
                contexts = [str(record.context) for record in held_out]
                seeds = [(self.seed, 0, row) for row in range(len(contexts))]
                write_json(staged / "held_out_texts.json", policy.respond(contexts, seeds, GREEDY))
                rounds = self.play(policy, online)
                write_rounds(staged / "rounds.jsonl", rounds)
                write_json(staged / "settings.json", {"method": method, "settings": values})
            cost = sum(one.cost for one in rounds) / len(rounds)
            print(f"{self.folder.name} {method}-{number} {json.dumps(values)}: cost {cost:.3f}", flush=True)

    def _train(
        self,
        method: str,
        values: Mapping[str, Any],
        log: Sequence[EditRecord],
        encoded: EncodedLog,
        references: TripleLogProbs,
        folder: Path,
    ) -> Policy:
        training = BASE.replace(method=method, seed=self.seed, **values)
        fitted = fit_policy(self.model, encoded.triples, references, training)
        folder.mkdir()
        sha256 = compute_data_sha256(log)
        record = build_policy_file(method, self.info, sha256, encoded, training, fitted.history)
        save_policy(fitted.model, self.tokenizer, record, folder)
        return LocalPolicy(method, fitted.model, self.tokenizer)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("experiments-out/selection"), help="the folder to write to")
    parser.add_argument("--tasks", nargs="+", default=list(SCRIPTED_TASKS), choices=list(SCRIPTED_TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[100], help="seeds that no table uses")
    parser.add_argument("--edits", type=int, default=1000, help="the edits of a log")
    parser.add_argument("--held-out", type=int, default=200, help="the edits held out")
    parser.add_argument("--rounds", type=int, default=200, help="the rounds with the strong user")
    parser.add_argument("--quick", action="store_true", help="a tiny grid and small logs")
    args = parser.parse_args(argv)
    if args.quick:
        args.tasks, args.edits, args.held_out, args.rounds = ["email"], 32, 8, 8
    quiet_libraries()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or torch.get_num_threads())
    for seed in args.seeds:
        for task in args.tasks:
            for user in USERS:
                GridRun(get_task(task), user, seed, args.out, args).train_all(QUICK_GRID if args.quick else GRID)


if __name__ == "__main__":
    main()
