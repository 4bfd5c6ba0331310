"""Simulated tasks and users, and the experiments that play Protocol 1 with them."""

from typing import TYPE_CHECKING

__all__ = [
    "ExperimentConfig",
    "Round",
    "build_log",
    "play_policy",
    "run_experiment",
    "simulate_log",
]

if TYPE_CHECKING:
    from copydesk.simulate.config import ExperimentConfig
    from copydesk.simulate.protocol import Round, build_log, play_policy, simulate_log
    from copydesk.simulate.run import run_experiment
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.simulate.config": ["ExperimentConfig"],
            "copydesk.simulate.protocol": ["Round", "build_log", "play_policy", "simulate_log"],
            "copydesk.simulate.run": ["run_experiment"],
        },
    )
