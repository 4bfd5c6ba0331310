"""Policies: what answers a context, and can say which version of what it is."""

from copydesk.policies.local import LocalPolicy
from copydesk.policies.policy import Policy, Sampling

__all__ = ["LocalPolicy", "Policy", "Sampling"]
