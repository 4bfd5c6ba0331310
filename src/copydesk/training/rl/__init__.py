"""Offline reinforcement learning: policy optimization against a pessimistic cost model, with TRL's RLOO trainer."""

from typing import TYPE_CHECKING

__all__ = [
    "RlResult",
    "RlTrainer",
    "train_rl",
]

if TYPE_CHECKING:
    from copydesk.training.rl.run import RlResult, train_rl
    from copydesk.training.rl.trainer import RlTrainer
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.training.rl.run": ["RlResult", "train_rl"],
            "copydesk.training.rl.trainer": ["RlTrainer"],
        },
    )
