"""The late ensemble: a bandit that finds out, online, which of several policies people have to edit least."""

from copydesk.ensemble.late import LateEnsemble, Pull
from copydesk.ensemble.rules import DiscountedUcb, Fixed, Rule, Thompson, Ucb
from copydesk.ensemble.state import ArmState

__all__ = ["ArmState", "DiscountedUcb", "Fixed", "LateEnsemble", "Pull", "Rule", "Thompson", "Ucb"]
