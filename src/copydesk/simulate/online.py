"""The online phase of Protocol 1 alone, for policies that exist already."""

from collections.abc import Sequence

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.policies import Policy
from copydesk.simulate.outcome import RunResult
from copydesk.simulate.play_config import OnlineConfig
from copydesk.simulate.protocol import Round, draw_online_documents, play_late, play_policy
from copydesk.simulate.tasks import get_task
from copydesk.simulate.timer import StepTimer
from copydesk.simulate.users import get_user


def play_policies(policies: Sequence[Policy], settings: OnlineConfig, log: Sequence[EditRecord] = ()) -> RunResult:
    """Play T rounds with each policy, and with the late ensemble of all of them where there are several.

    Args:
        policies: the arms.
        settings: the online phase.
        log: what the policies learned from; none of its contexts is played.
    """
    clock = StepTimer()
    task, user = get_task(settings.task), get_user(settings.user)
    cost = EditCost(cap=settings.c_max, tokenizer=settings.model)
    contexts = draw_online_documents(task, settings.rounds, settings.seed, log)
    played: dict[str, list[Round]] = {}
    for policy in policies:
        with clock(f"play.{policy.name}", f"{settings.rounds} rounds of {policy.name}"):
            played[policy.name] = play_policy(
                policy, policy.name, task, user, contexts, settings.seed, cost, settings.sampling()
            )
    rounds = [one for alone in played.values() for one in alone]
    if len(played) > 1:
        rounds += play_late(LateEnsemble(list(played), Ucb(alpha=settings.alpha), settings.seed), played)
    return RunResult(rounds, clock.compute_durations())
