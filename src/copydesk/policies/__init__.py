"""Policies: what answers a context, and can say which version of what it is."""

from copydesk.policies.best_of_n import BestOfN
from copydesk.policies.cache import CachedPolicy, answers
from copydesk.policies.local import LocalPolicy
from copydesk.policies.open import open_policy
from copydesk.policies.policy import Policy, Sampling
from copydesk.policies.remote import Answer, RemotePolicy

__all__ = [
    "Answer",
    "BestOfN",
    "CachedPolicy",
    "LocalPolicy",
    "Policy",
    "RemotePolicy",
    "Sampling",
    "answers",
    "open_policy",
]
