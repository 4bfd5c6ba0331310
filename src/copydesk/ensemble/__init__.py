"""The late ensemble: a bandit that finds out, online, which of several policies people have to edit least."""

from copydesk.ensemble.arm_stats import ArmState
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.late import LateEnsemble, Pull
from copydesk.ensemble.ledger import Ledger
from copydesk.ensemble.rules import RULES, ArmChooser, DiscountedUcb, FixedShares, Rule, Thompson, Ucb
from copydesk.ensemble.verify import Verification, verify_log

__all__ = [
    "RULES",
    "ArmChooser",
    "ArmState",
    "DiscountedUcb",
    "EnsembleConfig",
    "FixedShares",
    "LateEnsemble",
    "Ledger",
    "Pull",
    "Rule",
    "Thompson",
    "Ucb",
    "Verification",
    "verify_log",
]
