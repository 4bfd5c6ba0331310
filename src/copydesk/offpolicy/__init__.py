"""Off-policy evaluation: estimates of what a policy would have cost, from logged traffic.

The function that does it is `copydesk.evaluate`, because `copydesk.offpolicy.evaluate` is its module.
"""

from typing import TYPE_CHECKING

__all__ = [
    "ArmCost",
    "Estimate",
    "Evaluation",
    "LoggedAnswer",
    "Overlap",
    "Traffic",
    "estimate_doubly_robust",
    "estimate_ips",
    "estimate_logged_mean",
    "estimate_snips",
    "read_traffic",
]

if TYPE_CHECKING:
    from copydesk.offpolicy.estimators import (
        Estimate,
        estimate_doubly_robust,
        estimate_ips,
        estimate_logged_mean,
        estimate_snips,
    )
    from copydesk.offpolicy.evaluate import ArmCost, Evaluation
    from copydesk.offpolicy.overlap import Overlap
    from copydesk.offpolicy.traffic import LoggedAnswer, Traffic, read_traffic
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.offpolicy.estimators": [
                "Estimate",
                "estimate_doubly_robust",
                "estimate_ips",
                "estimate_logged_mean",
                "estimate_snips",
            ],
            "copydesk.offpolicy.evaluate": ["ArmCost", "Evaluation"],
            "copydesk.offpolicy.overlap": ["Overlap"],
            "copydesk.offpolicy.traffic": ["LoggedAnswer", "Traffic", "read_traffic"],
        },
    )
