"""Policies: local models, models at servers, best-of-n, and prompted learners, behind one interface."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from copydesk.policies.base import Policy, PolicyResponse, Sampling
    from copydesk.policies.cached import CachedPolicy, collect_responses
    from copydesk.policies.local import BestOfNPolicy, LocalPolicy
    from copydesk.policies.open import open_policy
    from copydesk.policies.openai_api import OpenAIPolicy
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.policies.base": ["Policy", "PolicyResponse", "Sampling"],
            "copydesk.policies.cached": ["CachedPolicy", "collect_responses"],
            "copydesk.policies.local": ["BestOfNPolicy", "LocalPolicy"],
            "copydesk.policies.open": ["open_policy"],
            "copydesk.policies.openai_api": ["OpenAIPolicy"],
        },
    )
