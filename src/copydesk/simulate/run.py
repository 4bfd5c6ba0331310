"""The whole loop for one task and one user: log edits, learn every policy, play the rounds."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.errors import InputError
from copydesk.learn.encode import encode_log
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.models import load_model
from copydesk.learn.policy_file import data_sha256
from copydesk.learn.settings import Method, TrainSettings
from copydesk.learn.train import describe, save_policy
from copydesk.log.cost import EditCost
from copydesk.log.files import atomic_write
from copydesk.log.jsonl import write_jsonl
from copydesk.policies import LocalPolicy, Sampling
from copydesk.report import summarize, write_report
from copydesk.simulate.protocol import Round, make_log, online_documents, play, play_late
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import get_task
from copydesk.simulate.users import get_user

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """What one run of the loop is made of.

    Attributes:
        task: the name of a task.
        user: the name of a scripted user.
        edits: n, the rows of the log.
        rounds: T, the online rounds of every method.
        seed: of documents, responses, edits and training.
        model: the reference policy, as `load_model` takes it; its tokenizer counts the cost's sub-tokens.
        log_temperature: of the responses in the log; 1 samples from π_ref itself.
        temperature: of the responses in the online phase, the same for every method.
        alpha: α of the late ensemble's UCB rule.
        c_max: the largest cost of a round. A response of a few words would else cost many times 1.
        max_new_tokens: where a response that does not end is cut off.
        recipe: how each method is trained; the policies of the late ensemble, in the order they are tried.
    """

    task: str = "email"
    user: str = "strong"
    edits: int = 300
    rounds: int = 200
    seed: int = 0
    model: str = "embedded"
    log_temperature: float = 1.0
    temperature: float = 0.7
    alpha: float = 0.1
    c_max: float = 3.0
    max_new_tokens: int = 160
    recipe: Mapping[Method, TrainSettings] = field(default_factory=lambda: RECIPE)

    def __post_init__(self) -> None:
        get_task(self.task)
        get_user(self.user)
        for name, least in (("edits", 2), ("rounds", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name}: {getattr(self, name)} must be at least {least}")

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        return asdict(self) | {"recipe": {method: training.to_json() for method, training in self.recipe.items()}}


@dataclass(frozen=True)
class Outcome:
    """What a run gives: its rounds, and how long each step took, in seconds."""

    rounds: list[Round]
    seconds: dict[str, float]


def run(settings: RunSettings, folder: Path) -> Outcome:
    """Play Protocol 1 with Base, every method of the recipe and the late ensemble over them.

    Writes `log.jsonl` and `policies/` into the folder as it goes; `write_results` writes the rest.

    Raises:
        InputError: the model cannot be loaded, or the user of the log edited nothing.
    """
    clock = Clock()
    with clock("load", "loading the model"):
        task, user = get_task(settings.task), get_user(settings.user)
        model, tokenizer, info = load_model(settings.model)
        if not isinstance(model, PreTrainedModel):
            raise InputError(f"--model {settings.model}: an adapter; merge it into its model first")
        cost = EditCost(cap=settings.c_max, tokenizer=settings.model)
        base = LocalPolicy("base", model, tokenizer)
    with clock("log", f"{settings.edits} responses of the reference policy, edited by the {user.name} user"):
        drawn = Sampling(settings.log_temperature, settings.max_new_tokens)
        log = make_log(base, task, user, settings.edits, settings.seed, drawn)
        write_jsonl(folder / "log.jsonl", log)
    contexts = online_documents(task, settings.rounds, settings.seed, log)
    sampling = Sampling(settings.temperature, settings.max_new_tokens)

    def alone(policy: LocalPolicy) -> list[Round]:
        with clock(f"play.{policy.name}", f"{settings.rounds} rounds of {policy.name}"):
            return play(policy, policy.name, task, user, contexts, settings.seed, cost, sampling)

    rounds = alone(base)
    with clock("reference", "reference log-probabilities"):
        encoded = encode_log(log, tokenizer, max_length=512)
        references = reference_logprobs(model, encoded.triples, batch_size=64)
    played: dict[str, Sequence[Round]] = {}
    for method, recipe in settings.recipe.items():
        training = replace(recipe, seed=settings.seed)
        with clock(f"train.{method}", f"training {method} on {len(encoded.triples)} edits"):
            fitted = fit(model, encoded.triples, references, training)
            record = describe(method, info, data_sha256(log), encoded, training, fitted.history)
            target = folder / "policies" / method
            target.mkdir(parents=True)
            save_policy(fitted.model, tokenizer, record, target)
        played[method] = alone(LocalPolicy(method, fitted.model, tokenizer))
        rounds += played[method]
    ensemble = LateEnsemble(list(played), Ucb(settings.alpha), settings.seed)
    return Outcome(rounds + play_late(ensemble, played), clock.total())


def write_results(folder: Path, outcomes: Sequence[tuple[RunSettings, Outcome]]) -> dict[str, Any]:
    """Write `rounds.jsonl`, `results.json` and `report.html` of one or several runs; returns what results.json holds.

    All figures are computed from the rounds. The settings are those of the first run, with every task, user and seed.
    """
    rounds = [played.to_json() for _, outcome in outcomes for played in outcome.rounds]
    ran = [settings for settings, _ in outcomes]
    settings = ran[0].to_json() | {
        name: _one_or_all([getattr(one, name) for one in ran]) for name in ("task", "user", "seed")
    }
    seconds: dict[str, float] = {}
    for _, outcome in outcomes:
        for step, taken in outcome.seconds.items():
            seconds[step] = round(seconds.get(step, 0.0) + taken, 2)
    results = summarize(rounds, settings, seconds)
    with atomic_write(folder / "rounds.jsonl") as file:
        file.writelines(json.dumps(played, ensure_ascii=False) + "\n" for played in rounds)
    with atomic_write(folder / "results.json") as file:
        file.write(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_report(folder / "report.html", rounds, results)
    return results


def _one_or_all(values: Sequence[Any]) -> Any:
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


class Clock:
    """Says what is being done, and keeps how long each step took."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str, words: str) -> Iterator[None]:
        """Time a step; `words` tell a person what it is."""
        logger.info("%s ...", words)
        started = self._now()
        yield
        self._seconds[step] = round(self._now() - started, 2)

    def total(self) -> dict[str, float]:
        """The seconds of every step, and `total`."""
        return self._seconds | {"total": round(self._now() - self._started, 2)}
