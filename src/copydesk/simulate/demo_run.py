"""The whole loop for one task and one user: log edits, learn every policy, play the rounds."""

from collections.abc import Sequence
from pathlib import Path

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import write_jsonl
from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.policies import Policy
from copydesk.simulate.outcome import RunResult
from copydesk.simulate.play_config import DemoConfig
from copydesk.simulate.protocol import Round, draw_online_documents, play_late, play_policy, simulate_log
from copydesk.simulate.tasks import get_task
from copydesk.simulate.teach import PolicyTrainer, load_reference_policy
from copydesk.simulate.timer import StepTimer
from copydesk.simulate.users import get_user


def run_demo(settings: DemoConfig, folder: Path) -> RunResult:
    """Play Protocol 1 with Base, every method of the recipe and the late ensemble over them.

    Writes `log.jsonl` and `policies/` into the folder as it goes; `write_results` writes the rest. The cost model of
    `rl` is in that policy's folder, measured on the rounds of Base.

    Raises:
        InputError: the model cannot be loaded, or the user of the log edited nothing.
    """
    clock = StepTimer()
    with clock("load", "loading the model"):
        task, user = get_task(settings.task), get_user(settings.user)
        reference = load_reference_policy(settings.model)
        cost = EditCost(cap=settings.c_max, tokenizer=settings.model)
    with clock("log", f"{settings.edits} responses of the reference policy, edited by the {user.name} user"):
        sampling = settings.sampling(settings.log_temperature)
        log = simulate_log(reference.policy, task, user, settings.edits, settings.seed, sampling)
        write_jsonl(folder / "log.jsonl", log)
    contexts = draw_online_documents(task, settings.rounds, settings.seed, log)

    def play(policy: Policy) -> list[Round]:
        with clock(f"play.{policy.name}", f"{settings.rounds} rounds of {policy.name}"):
            return play_policy(policy, policy.name, task, user, contexts, settings.seed, cost, settings.sampling())

    base_rounds = play(reference.policy)
    trainer = PolicyTrainer(reference, log, cost, max_length=512, clock=clock)
    played: dict[str, Sequence[Round]] = {}
    for method, recipe in settings.recipe.items():
        target = folder / "policies" / method
        target.mkdir(parents=True)
        played[method] = play(trainer.train(method, recipe.replace(seed=settings.seed), target, base_rounds))
    rounds = [*base_rounds, *(one for own in played.values() for one in own)]
    ensemble = LateEnsemble(list(played), Ucb(alpha=settings.alpha), settings.seed)
    return RunResult(rounds + play_late(ensemble, played), clock.compute_durations())
