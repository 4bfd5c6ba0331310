"""Policies: what answers a context, and can say which version of what it is."""

from copydesk.policies.base import Policy, Sampling
from copydesk.policies.cached import CachedPolicy, collect_responses
from copydesk.policies.local import BestOfNPolicy, LocalPolicy
from copydesk.policies.open import open_policy
from copydesk.policies.openai_api import OpenAIPolicy, PolicyResponse

__all__ = [
    "BestOfNPolicy",
    "CachedPolicy",
    "LocalPolicy",
    "OpenAIPolicy",
    "Policy",
    "PolicyResponse",
    "Sampling",
    "collect_responses",
    "open_policy",
]
