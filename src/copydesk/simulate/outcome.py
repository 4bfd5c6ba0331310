"""The result of an online phase, and the files that hold it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copydesk.report import summarize_rounds, write_report
from copydesk.simulate.play_config import PlayConfig
from copydesk.simulate.protocol import Round
from copydesk.utils.atomic import atomic_write


@dataclass(frozen=True)
class RunResult:
    """The rounds of a run, and how many seconds each step took."""

    rounds: list[Round]
    seconds: dict[str, float]


def write_results(folder: Path, outcomes: Sequence[tuple[PlayConfig, RunResult]]) -> dict[str, Any]:
    """Write `rounds.jsonl`, `results.json` and `report.html` of one or several runs; returns what results.json holds.

    All figures are computed from the rounds. The settings are those of the first run, with every task, user and seed.
    """
    rounds = [played.to_json() for _, outcome in outcomes for played in outcome.rounds]
    ran = [settings for settings, _ in outcomes]
    settings = ran[0].to_json() | {
        name: _collapse_equal([getattr(one, name) for one in ran]) for name in ("task", "user", "seed")
    }
    seconds: dict[str, float] = {}
    for _, outcome in outcomes:
        for step, taken in outcome.seconds.items():
            seconds[step] = round(seconds.get(step, 0.0) + taken, 2)
    results = summarize_rounds(rounds, settings, seconds)
    with atomic_write(folder / "rounds.jsonl") as file:
        file.writelines(json.dumps(played, ensure_ascii=False) + "\n" for played in rounds)
    with atomic_write(folder / "results.json") as file:
        file.write(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_report(folder / "report.html", rounds, results)
    return results


def _collapse_equal(values: Sequence[Any]) -> Any:
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct
