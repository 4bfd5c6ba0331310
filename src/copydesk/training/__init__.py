"""Training policies from a log of edits: SFT, DPO, the early ensemble and offline RL.

The names of this package load torch when they are first used. `train` itself is `copydesk.train`, because
`copydesk.training.train` is its module.
"""

from typing import TYPE_CHECKING

__all__ = [
    "CostModelConfig",
    "EditTrainer",
    "ForgetResult",
    "PolicyFile",
    "RlConfig",
    "RowMetrics",
    "TrainConfig",
    "TrainReport",
    "compute_early_ensemble_loss",
    "compute_offline_cost_loss",
    "compute_preference_loss",
    "compute_supervised_loss",
    "find_changed_tokens",
    "forget_person",
    "read_policy_file",
    "train_all",
]

if TYPE_CHECKING:
    from copydesk.training.alignment import find_changed_tokens
    from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
    from copydesk.training.forget import ForgetResult, forget_person
    from copydesk.training.objectives import (
        RowMetrics,
        compute_early_ensemble_loss,
        compute_offline_cost_loss,
        compute_preference_loss,
        compute_supervised_loss,
    )
    from copydesk.training.policy_file import PolicyFile, read_policy_file
    from copydesk.training.train import TrainReport, train_all
    from copydesk.training.trainer import EditTrainer
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.training.alignment": ["find_changed_tokens"],
            "copydesk.training.config": ["CostModelConfig", "RlConfig", "TrainConfig"],
            "copydesk.training.forget": ["ForgetResult", "forget_person"],
            "copydesk.training.objectives": [
                "RowMetrics",
                "compute_early_ensemble_loss",
                "compute_offline_cost_loss",
                "compute_preference_loss",
                "compute_supervised_loss",
            ],
            "copydesk.training.policy_file": ["PolicyFile", "read_policy_file"],
            "copydesk.training.train": ["TrainReport", "train_all"],
            "copydesk.training.trainer": ["EditTrainer"],
        },
    )
