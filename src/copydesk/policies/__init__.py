"""Policies: what answers a context, and can say which version of what it is."""

from copydesk.policies.best_of_n import BestOfN
from copydesk.policies.local import LocalPolicy
from copydesk.policies.open import open_policy
from copydesk.policies.policy import Policy, Sampling

__all__ = ["BestOfN", "LocalPolicy", "Policy", "Sampling", "open_policy"]
