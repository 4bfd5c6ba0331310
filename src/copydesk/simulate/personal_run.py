"""The loop for several people: one log, one shared policy, an adapter for each, and the rounds of all."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import write_jsonl
from copydesk.data.record import EditRecord
from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.policies import LocalPolicy
from copydesk.simulate.outcome import RunResult
from copydesk.simulate.play_config import PersonalConfig
from copydesk.simulate.protocol import (
    Round,
    build_log,
    draw_online_documents,
    generate_responses,
    play_per_user_ensemble,
    simulate_edits,
)
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import SCRIPTED_TASKS
from copydesk.simulate.teach import PolicyTrainer, load_reference_policy
from copydesk.simulate.timer import StepTimer
from copydesk.simulate.users.scripted import PersonalUser


def run_personal(settings: PersonalConfig, folder: Path) -> RunResult:
    """Play Protocol 1 with several people: Base, the shared policy, each one's own, and a late ensemble for each.

    All people meet the same documents, and a policy writes the same of them for all: a difference between two people is
    one of their tastes. Writes `log.jsonl` and `policies/` into the folder as it goes; `write_results` writes the rest.

    Raises:
        InputError: the model cannot be loaded, or nothing can be learned from a person's edits.
    """
    clock = StepTimer()
    with clock("load", "loading the model"):
        task = SCRIPTED_TASKS[settings.task]
        reference = load_reference_policy(settings.model)
        cost = EditCost(cap=settings.c_max, tokenizer=settings.model)
    with clock("log", f"{settings.edits} responses of the reference policy, edited by {len(settings.users)} people"):
        documents = task.draw_offline(settings.edits, settings.seed)
        drawn = settings.sampling(settings.log_temperature)
        responses = generate_responses(reference.policy, documents, settings.seed, drawn, SeedStream.LOG_RESPONSES)
        logs: dict[str, list[EditRecord]] = {}
        bounds = pairwise(accumulate((person.edits for person in settings.users), initial=0))
        for person, (start, end) in zip(settings.users, bounds, strict=True):
            rows = documents[start:end], responses[start:end]
            logs[person.name] = build_log(reference.policy.name, task, person.user, *rows, settings.seed)
        everybody = [record for log in logs.values() for record in log]
        write_jsonl(folder / "log.jsonl", everybody)
    contexts = draw_online_documents(task, settings.rounds, settings.seed, everybody)

    def train(name: str, log: Sequence[EditRecord]) -> LocalPolicy:
        target = folder / "policies" / name
        target.mkdir(parents=True)
        training = settings.training.replace(seed=settings.seed)
        with clock(f"train.{name}", f"the policy {name}, from {len(log)} edits"):
            trainer = PolicyTrainer(reference, log, cost, training.max_length, StepTimer())
            return trainer.train(name, training, target, [])

    def generate(policy: LocalPolicy) -> list[str]:
        with clock(f"play.{policy.name}", f"{settings.rounds} rounds of {policy.name}"):
            return generate_responses(policy, contexts, settings.seed, settings.sampling())

    def edit(person: PersonalUser, policy: str, method: str, texts: Sequence[str]) -> list[Round]:
        return simulate_edits(policy, method, task, person.user, contexts, texts, settings.seed, cost)

    base_texts, shared_texts = generate(reference.policy), generate(train("shared", everybody))
    rounds: list[Round] = []
    arms: dict[str, dict[str, list[Round]]] = {}
    for person in settings.users:
        own = f"own-{person.name}"
        own_texts = generate(train(own, logs[person.name]))
        rounds += edit(person, reference.policy.name, "base", base_texts)
        arms[person.name] = {
            "shared": edit(person, "shared", "shared", shared_texts),
            "own": edit(person, own, "own", own_texts),
        }
        rounds += [one for played in arms[person.name].values() for one in played]
    ensemble = LateEnsemble(["shared", "own"], Ucb(alpha=settings.alpha), settings.seed, prior=settings.prior)
    return RunResult(rounds + play_per_user_ensemble(ensemble, arms), clock.compute_durations())
