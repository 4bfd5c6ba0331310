"""Print the rounds of a run as Markdown, for people to read what an LLM user does.

    python experiments/llm_user/transcript.py experiments-out/llm_user

`--quick` makes a small run with a scripted user first and prints its rounds.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def show(folder: Path) -> None:
    """Print every round of a run, and what the users were asked."""
    for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        print(f"**Round {one['t']}**, {one['kind']}\n")
        print(f"{quoted(one['response'])}\n")
        if one["edit"] == one["response"]:
            print("accepted unchanged, cost 0\n")
        else:
            print(f"became, at cost {one['cost']:.2f}:\n\n{quoted(one['edit'])}\n")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
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

        small = ExperimentConfig(columns=("email/strong",), methods=("base",), seeds=(0,), rounds=3, edits=2)
        with tempfile.TemporaryDirectory() as scratch:
            run_experiment(small, Path(scratch) / "run")
            show(Path(scratch) / "run")
    else:
        parser.error("name the folder of a run, or give --quick")


if __name__ == "__main__":
    main()
