"""Off-policy evaluation: what a policy would have cost on the traffic of a store."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from copydesk.errors import InputError
from copydesk.offpolicy.baseline import Baseline, fit_baseline, predict_baseline
from copydesk.offpolicy.estimators import (
    Estimate,
    PointEstimate,
    compute_interval,
    estimate_doubly_robust,
    estimate_ips,
    estimate_logged_mean,
    estimate_snips,
)
from copydesk.offpolicy.overlap import UNEVEN_SHARE, Overlap, check_overlap
from copydesk.offpolicy.traffic import LoggedAnswer, Traffic
from copydesk.offpolicy.weights import ImportanceWeights, compute_arm_weights, compute_text_weights

if TYPE_CHECKING:
    from copydesk.policies.local import LocalPolicy

_SHARE_PATTERN = re.compile(r"([^=,]+)=(\d+\.?\d*|\.\d+)")
_MAX_RETOKENIZED = 0.01  # of the rows; below it, what their weights are off by is lost among the rest
_ADD_ARM_HINT = "serve it to a share of the traffic: add it as an arm"
_RANDOMIZE_HINT = (
    "let the gateway choose at random, with --rule thompson or fixed, or give the policy's folder, whose weights come "
    "from the text"
)


@dataclass(frozen=True)
class ArmCost:
    """What a logged policy cost: answers whose edit has come, those whose has not, and their mean (from two rows)."""

    policy: str
    rows: int
    pending: int
    cost: Estimate | None


@dataclass(frozen=True)
class Evaluation:
    """What a policy would have cost.

    Attributes:
        policy: as it was asked for.
        weights: where the weights come from: the `choice` among arms, or the `text`.
        metric: how the costs were computed.
        rows: answers that were used.
        pending: answers without an edit yet, which have no cost.
        left_out: further answers that could not be used, by why.
        overlap: how much the log says of the policy.
        estimates: its cost by `ips`, `snips` and `dr`; `None` where one is not available.
        differences: its cost less what the logged policies cost on the same rows, by the same names.
        logged: what the logged policies cost on those rows.
        arms: what each logged policy cost on all its rows.
        remarks: what a person should know, in sentences.
    """

    policy: str
    weights: Literal["choice", "text"]
    metric: str
    rows: int
    pending: int
    left_out: Mapping[str, int]
    overlap: Overlap
    estimates: Mapping[str, Estimate | None]
    differences: Mapping[str, Estimate | None]
    logged: Estimate
    arms: Sequence[ArmCost]
    remarks: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"overlap": self.overlap.to_json(), "left_out": dict(self.left_out)}


def evaluate(
    traffic: Traffic,
    policy: str,
    *,
    cost_model: Path | str | None = None,
    samples: int = 4,
    seed: int = 0,
    batch_size: int = 8,
) -> Evaluation:
    """Estimate what a policy would have cost on logged traffic, or refuse to.

    Args:
        traffic: the log.
        policy: the name of one that answered in it; a fixed mixture of such, `sft=0.5,dpo=0.5`; or a model or a
            policy's folder, as `open_policy` takes it.
        cost_model: the folder of a cost model, for the doubly robust estimate; without one a regression on the words of
            the context is fitted to the log.
        samples: answers the policy writes to each context, for the cost model.
        seed: decides them, and how the rows are split for the regression.
        batch_size: answers in one forward pass.

    Raises:
        InputError: there is nothing in the log, the policy cannot be opened, or the overlap is too small.
    """
    if samples < 1:
        raise InputError(f"--samples {samples}: must be at least 1")
    if not traffic.rows:
        raise InputError(
            f"--store: it holds no edits of such answers yet ({sum(traffic.pending.values())} are pending); collect "
            "some with `copydesk serve`"
        )
    shares = _parse_shares(policy, {row.policy for row in traffic.rows} | traffic.pending.keys())
    asked: LocalPolicy | None = None
    if shares is not None:
        weighed = compute_arm_weights(traffic.rows, shares)
        cure = (
            _RANDOMIZE_HINT
            if weighed.unreachable
            else _ADD_ARM_HINT
            if len(shares) > 1
            else "give it a larger share of the traffic"
        )
    else:
        asked = _open_local_policy(policy, policy)
        weighed = compute_text_weights(
            traffic.rows, asked, lambda name: _open_arm(name, traffic.specs), batch_size=batch_size
        )
        cure = _ADD_ARM_HINT
    overlap = Overlap.from_weights(weighed.weights, weighed.unreachable, weighed.expected)
    check_overlap(overlap, policy, _describe_left_out(weighed.left_out) + cure)
    remarks = _collect_remarks(traffic, weighed, overlap)
    if asked is not None and overlap.effective < UNEVEN_SHARE * overlap.rows:
        remarks.append(
            f"{overlap.effective / overlap.rows:.0%} of the rows are effective: what the policy would write and the "
            "log happens to lack counts nowhere, so the intervals are narrower than they should be."
        )
    baseline = None
    if cost_model is None:
        baseline = fit_baseline(weighed.rows, weighed.weights, seed)
    else:
        writer = asked or _open_writer(policy, shares, traffic.specs)
        baseline = _try_model_baseline(weighed.rows, writer, cost_model, samples, seed, traffic.metric, remarks)
    costs = np.array([row.cost for row in weighed.rows])
    fits = {
        "ips": estimate_ips(weighed.weights, costs),
        "snips": estimate_snips(weighed.weights, costs),
        "dr": None
        if baseline is None
        else estimate_doubly_robust(weighed.weights, costs, baseline.predicted, baseline.expected),
    }
    logged = estimate_logged_mean(costs)
    return Evaluation(
        policy=policy,
        weights="text" if shares is None else "choice",
        metric=traffic.metric,
        rows=len(costs),
        pending=sum(traffic.pending.values()),
        left_out=weighed.left_out,
        overlap=overlap,
        estimates={name: _interval_if_covered(fit, overlap, least=0.0) for name, fit in fits.items()},
        differences={name: _interval_if_covered(fit and fit.minus(logged), overlap) for name, fit in fits.items()},
        logged=compute_interval(logged, len(costs), least=0.0),
        arms=_compute_arm_costs(traffic),
        remarks=remarks,
    )


def _interval_if_covered(fit: PointEstimate | None, overlap: Overlap, least: float = -np.inf) -> Estimate | None:
    return None if fit is None else compute_interval(fit, overlap.effective, least=least)


def _parse_shares(policy: str, logged: set[str]) -> dict[str, float] | None:
    """The arms a policy is made of, with shares that add up to 1; `None` if it is no arm of this log."""
    if policy in logged:
        return {policy: 1.0}
    found = [_SHARE_PATTERN.fullmatch(part.strip()) for part in policy.split(",")]
    shares = {match[1].strip(): float(match[2]) for match in found if match is not None}
    if len(shares) != len(found) or Path(policy).exists():
        return None
    if missing := sorted(shares.keys() - logged):
        raise InputError(
            f"--policy {policy}: no policy {missing[0]!r} answered in this log; those that did are "
            f"{', '.join(sorted(logged))}"
        )
    total = sum(shares.values())
    if total <= 0:
        raise InputError(f"--policy {policy}: the shares add up to 0; give one of them a share above 0")
    return {name: share / total for name, share in shares.items() if share > 0}


def _open_local_policy(name: str, spec: str) -> "LocalPolicy":
    """A policy in this process whose probabilities can be told."""
    try:
        from copydesk.policies.local import LocalPolicy
        from copydesk.policies.open import open_policy
    except ModuleNotFoundError as exc:
        raise InputError(
            f"--policy {spec}: no such policy answered in this log, and to weigh it by its text needs {exc.name}; "
            "install it with: pip install 'copydesk[train]'"
        ) from None
    opened = open_policy(name, spec)
    if not isinstance(opened, LocalPolicy):
        raise InputError(
            f"{spec}: it is no model in this process, so the probability of a logged text is not known; give a model "
            f"or a policy's folder, or {_ADD_ARM_HINT}"
        )
    return opened


def _open_arm(name: str, specs: Mapping[str, str]) -> "LocalPolicy":
    try:
        if name not in specs:
            raise InputError("the log does not say what it is")
        return _open_local_policy(name, specs[name])
    except InputError as exc:
        raise InputError(
            f"{name}, which answered in this log, cannot be opened to weigh its texts ({exc}); {_ADD_ARM_HINT}"
        ) from None


def _open_writer(policy: str, shares: Mapping[str, float] | None, specs: Mapping[str, str]) -> "LocalPolicy | None":
    """Who can be asked for answers of an arm; nobody for a mixture, or one that is not here."""
    if shares is None or len(shares) > 1:
        return None
    try:
        return _open_local_policy(policy, specs.get(policy, ""))
    except InputError:
        return None


def _try_model_baseline(
    rows: Sequence[LoggedAnswer],
    writer: "LocalPolicy | None",
    folder: Path | str,
    samples: int,
    seed: int,
    metric: str,
    remarks: list[str],
) -> Baseline | None:
    """The cost model's baseline, or none with a remark that says why."""
    if writer is None:
        remarks.append("dr is not available: the policy cannot be asked for answers, so no cost model can judge them.")
        return None
    if any((row.parameters.get("top_p") or 1.0) < 1 for row in rows):
        remarks.append("dr is not available: some requests set top_p below 1, which the policy is not asked with here.")
        return None
    baseline, learnt = predict_baseline(rows, writer, folder, samples, seed)
    if learnt != metric:
        remarks.append(
            f"the cost model learnt {learnt} and the costs are {metric}: dr is right and wider than need be."
        )
    return baseline


def _collect_remarks(traffic: Traffic, weighed: ImportanceWeights, overlap: Overlap) -> list[str]:
    remarks = []
    pending = sum(traffic.pending.values())
    if pending:
        remarks.append(
            f"{pending} answers have no edit yet and are left out; that biases the figures if people who edit differ "
            "from those who do not, or edit some policies' answers sooner."
        )
    if overlap.unreachable:
        remarks.append(f"in {overlap.unreachable} rows another policy was certain to answer; they weigh nothing.")
    if weighed.retokenized > _MAX_RETOKENIZED * overlap.rows:
        remarks.append(
            f"{weighed.retokenized} answers make other tokens when they are read than were written; their weights are "
            "approximate."
        )
    return remarks


def _describe_left_out(left_out: Mapping[str, int]) -> str:
    """What was left out most, in a few words; empty where nothing was."""
    if not left_out:
        return ""
    why, count = max(left_out.items(), key=lambda item: item[1])
    return f"{count} further rows were left out ({why}); "


def _compute_arm_costs(traffic: Traffic) -> list[ArmCost]:
    """What each logged policy cost, by name."""
    answered = Counter(row.policy for row in traffic.rows)
    found = []
    for name in sorted(answered.keys() | traffic.pending.keys()):
        costs = [row.cost for row in traffic.rows if row.policy == name]
        cost = compute_interval(estimate_logged_mean(costs), len(costs), least=0.0) if len(costs) > 1 else None
        found.append(ArmCost(name, len(costs), traffic.pending.get(name, 0), cost))
    return found
