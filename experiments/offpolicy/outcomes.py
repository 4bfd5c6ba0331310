"""Estimates of a log whose truth is known, judged by that truth, and the figures over many logs."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import Any

import numpy as np

from copydesk.offpolicy.estimators import PointEstimate, compute_interval, estimate_logged_mean
from copydesk.offpolicy.overlap import Overlap


@dataclass(frozen=True)
class Outcome:
    """One estimator's result on one log; only `refused` is set where it refused."""

    refused: bool
    error: float = 0.0
    covers: bool = False
    width: float = 0.0
    bootstrap: bool | None = None


def judge(
    weights: np.ndarray,
    costs: np.ndarray,
    fits: Mapping[str, PointEstimate],
    truth: float,
    naive: np.ndarray,
    covered: Mapping[str, bool] | None = None,
    expected: float | None = None,
) -> dict[str, Outcome]:
    """What every estimator says of a log, the naive one included."""
    overlap = Overlap.from_weights(weights, expected=expected)
    plain = estimate_logged_mean(naive)
    found = {name: Outcome(True) for name in fits} | {"naive": Outcome(True)}
    if overlap.why_insufficient is not None:
        return found
    for name, fit in fits.items():
        interval = compute_interval(fit, overlap.effective, least=0.0)
        covers = interval.low <= truth <= interval.high
        found[name] = Outcome(
            False, fit.value - truth, covers, interval.high - interval.low, None if covered is None else covered[name]
        )
    interval = compute_interval(plain, len(naive), least=0.0)
    covers = interval.low <= truth <= interval.high
    found["naive"] = Outcome(False, plain.value - truth, covers, interval.high - interval.low)
    return found


def bootstrap(
    terms: Mapping[str, tuple[np.ndarray, np.ndarray]], truth: float, rng: np.random.Generator, resamples: int
) -> dict[str, bool]:
    """Whether the studentised bootstrap interval of each ratio Σ a / Σ b holds the truth."""
    n = len(next(iter(terms.values()))[0])
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    found = {}
    for name, (a, b) in terms.items():
        value = a.sum() / b.sum()
        error = sqrt(((a - value * b) ** 2).sum()) / b.sum()
        again, below = counts @ a, counts @ b
        values = again / below
        squares = counts @ (a * a) - 2 * values * (counts @ (a * b)) + values**2 * (counts @ (b * b))
        errors = np.sqrt(np.maximum(squares, 1e-30)) / below
        low, high = np.quantile((values - value) / errors, [0.025, 0.975])
        found[name] = bool(value - high * error <= truth <= value - low * error)
    return found


def summary(outcomes: Sequence[Outcome]) -> dict[str, float | int | None]:
    """Figures over logs; `None` where no log had an answer."""
    answered = [one for one in outcomes if not one.refused]
    found: dict[str, float | int | None] = {"logs": len(outcomes), "refused": 1 - len(answered) / len(outcomes)}
    names = ("cover", "cover_error", "bias", "rmse", "width", "bootstrap")
    if not answered:
        return found | dict.fromkeys(names)
    cover = fmean(one.covers for one in answered)
    checked = [one.bootstrap for one in answered if one.bootstrap is not None]
    return found | {
        "cover": cover,
        "cover_error": sqrt(cover * (1 - cover) / len(answered)),
        "bias": fmean(one.error for one in answered),
        "rmse": sqrt(fmean(one.error**2 for one in answered)),
        "width": fmean(one.width for one in answered),
        "bootstrap": fmean(checked) if checked else None,
    }


def summed(kind: str, logs: Sequence[dict[str, Outcome]], truth: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The figures of a kind of log, by estimator."""
    estimators = {name: summary([log[name] for log in logs]) for name in logs[0]}
    return {"kind": kind, "truth": dict(truth) if truth else None, "estimators": estimators}


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
