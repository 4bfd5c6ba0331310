"""Print the rounds of a run as Markdown, for people to read what an LLM user does."""

import json
import sys
from pathlib import Path

from copydesk.simulate.tasks import get_task


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def main() -> None:
    folder = Path(sys.argv[1])
    for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        print(f"**Round {one['t']}**, {one['kind']}: {get_task(one['task']).describe_taste(one['kind'])}\n")
        print(f"{quoted(one['response'])}\n")
        if one["edit"] == one["response"]:
            print("left as it was, cost 0\n")
        else:
            print(f"became, at cost {one['cost']:.2f}:\n\n{quoted(one['edit'])}\n")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    print(json.dumps(results["settings"]["usage"]))


if __name__ == "__main__":
    main()
