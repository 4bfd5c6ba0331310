"""What Prometheus is told."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_COST_BUCKETS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3)


class GatewayMetrics:
    """The gateway's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry, "namespace": "copydesk"}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **made)
        self.seconds = Histogram(
            "request_seconds", "Time to answer in full.", ["route"], buckets=_LATENCY_BUCKETS, **made
        )
        self.policy_seconds = Histogram(
            "policy_seconds", "Time a policy took to answer in full.", ["policy"], buckets=_LATENCY_BUCKETS, **made
        )
        self.failures = Counter("policy_failures", "Requests a policy failed to answer.", ["policy"], **made)
        self.tokens = Counter("tokens", "Tokens, as policies count them.", ["policy", "kind"], **made)
        self.costs = Histogram(
            "edit_cost", "Costs of edits, revisions included.", ["policy"], buckets=_COST_BUCKETS, **made
        )
        self.pulls = Gauge("arm_pulls", "Pulls of an arm, those pending included.", ["arm"], **made)
        self.pending = Gauge("arm_pending", "Pulls of an arm whose edit is awaited.", ["arm"], **made)
        self.mean_cost = Gauge("arm_mean_cost", "Mean cost of an arm's edits.", ["arm"], **made)
        self.available = Gauge("arm_available", "Whether an arm can be chosen now.", ["arm"], **made)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
