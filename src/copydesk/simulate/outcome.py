"""What an online phase is made of, what it gives, and the files it writes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copydesk.errors import InputError
from copydesk.policies import Sampling
from copydesk.report import summarize_rounds, write_report
from copydesk.simulate.protocol import Round
from copydesk.simulate.tasks import get_task
from copydesk.simulate.users import get_user
from copydesk.utils.atomic import atomic_write


@dataclass(frozen=True)
class PlayConfig:
    """What the online phase is made of.

    Attributes:
        task: the name of a task.
        user: the name of a scripted user.
        rounds: T, the rounds of every method.
        seed: of all that is random.
        model: its tokenizer counts the cost's sub-tokens.
        temperature: of the responses, the same for every method.
        alpha: α of the late ensemble's UCB rule.
        c_max: the largest cost of a round. A response of a few words would else cost many times 1.
        max_new_tokens: where a response that does not end is cut off.
    """

    task: str = "email"
    user: str = "strong"
    rounds: int = 200
    seed: int = 0
    model: str = "embedded"
    temperature: float = 0.7
    alpha: float = 0.3
    c_max: float = 3.0
    max_new_tokens: int = 160

    def __post_init__(self) -> None:
        get_task(self.task)
        get_user(self.user)
        for name, least in (("rounds", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name}: {getattr(self, name)} must be at least {least}")

    def sampling(self, temperature: float | None = None) -> Sampling:
        """How responses are drawn, at the online phase's temperature or another."""
        return Sampling(self.temperature if temperature is None else temperature, self.max_new_tokens)

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class RunResult:
    """What a run gives: its rounds, and how long each step took, in seconds."""

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
