"""Print the rounds of a run with an LLM user as Markdown: the user's preferences, each response and its edit.

    python experiments/llm_user/transcript.py experiments-out/llm_user

`--quick` makes a small run with a scripted user first and prints its rounds.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from copydesk.simulate.tasks import get_task


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def show(folder: Path) -> None:
    """Print every round of a run, and the counts of the requests to its users."""
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    # The log's documents are passed over online, so this many are enough to find every round's document again.
    task, count = get_task(rounds[0]["task"]), len(rounds) + results["settings"]["edits"]
    documents = {one.context: one for one in task.draw_online(count, rounds[0]["seed"], frozenset())}
    for one in rounds:
        preferences = task.list_preferences(documents[one["context"]])
        print(f"**Round {one['t']}**, {one['kind']}: {', '.join(preferences)}\n")
        print(f"{quoted(one['response'])}\n")
        if one["edit"] == one["response"]:
            print("accepted unchanged, cost 0\n")
        else:
            print(f"became, at cost {one['cost']:.2f}:\n\n{quoted(one['edit'])}\n")
    print(json.dumps(results["settings"].get("usage", {})))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a finished run")
    parser.add_argument("--quick", action="store_true", help="make a small run and print its rounds")
    args = parser.parse_args(argv)
    if args.run is not None:
        show(args.run)
    elif args.quick:
        from copydesk.simulate.config import ExperimentConfig
        from copydesk.simulate.run import run_experiment

        small = ExperimentConfig(
            columns=("email/strong",), methods=("base",), seeds=(0,), rounds=3, edits=2, held_out_edits=0
        )
        with tempfile.TemporaryDirectory() as scratch:
            run_experiment(small, Path(scratch) / "run")
            show(Path(scratch) / "run")
    else:
        parser.error("name the folder of a run, or give --quick")


if __name__ == "__main__":
    main()
