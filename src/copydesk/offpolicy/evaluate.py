"""Estimates what a policy would have cost on the traffic of a store, or refuses where the log says too little."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from copydesk.ensemble.rules import RULES
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
from copydesk.policy_spec import PolicySpec
from copydesk.utils.config import Config, Flag

if TYPE_CHECKING:
    from copydesk.policies.local import LocalPolicy

_SHARE_PATTERN = re.compile(r"([^=,]+)=(\d+\.?\d*|\.\d+)")
_MAX_RETOKENIZED = 0.01  # share of the rows; below it, the error of their weights is negligible
_ADD_ARM_HINT = "serve it to a share of the traffic: add it as an arm"
_RANDOM_RULES = " or ".join(name for name, rule in RULES.items() if rule.is_random)
_RANDOMIZE_HINT = (
    f"let the gateway choose at random, with --rule {_RANDOM_RULES}, or give the policy's folder, whose weights come "
    "from the text"
)


class EvaluationConfig(Config):
    """Settings of an off-policy evaluation."""

    cost_model: Annotated[
        Path | None,
        Flag(default_text="a regression on the contexts"),
        Field(description="Folder of a cost model for the doubly robust estimate."),
    ] = None
    samples: Annotated[
        int, Field(ge=1, description="Answers that the policy generates for each context; needs --cost-model.")
    ] = 4
    seed: Annotated[int, Field(ge=0, description="Seed of these answers and of the regression's folds.")] = 0
    batch_size: Annotated[int, Field(ge=1, description="Number of answers in one forward pass.")] = 8


@dataclass(frozen=True)
class ArmCost:
    """Cost of a logged policy: answers with an edit, answers without one yet, and the mean cost (from two rows on)."""

    policy: str
    rows: int
    pending: int
    cost: Estimate | None


@dataclass(frozen=True)
class Evaluation:
    """The estimated cost of a policy.

    Attributes:
        policy: the policy as requested.
        weights: source of the weights: the `choice` among arms, or the probability of the `text`.
        metric: name of the cost metric.
        rows: number of answers used.
        pending: answers without an edit yet, which have no cost.
        left_out: number of other answers that could not be used, by reason.
        overlap: overlap of the policy with the log.
        estimates: its cost by `ips`, `snips` and `dr`; `None` where one is not available.
        differences: its cost minus that of the logged policies on the same rows, by the same names.
        logged: cost of the logged policies on those rows.
        arms: cost of each logged policy on all its rows.
        remarks: caveats, in sentences.
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
        """The evaluation as JSON values."""
        return asdict(self) | {"overlap": self.overlap.to_json(), "left_out": dict(self.left_out)}


def evaluate(traffic: Traffic, policy: str, config: EvaluationConfig | None = None) -> Evaluation:
    """Estimate what a policy would have cost on logged traffic.

    Args:
        traffic: the log.
        policy: the name of a policy that answered in the log; a fixed mixture of such, `sft=0.5,dpo=0.5`; or a model or
            a policy's folder, as for `open_policy`.
        config: settings; `EvaluationConfig()` by default. Without a cost model, the doubly robust estimate uses a
            regression on the words of the context that is fitted to the log.

    Raises:
        InputError: the log is empty, the policy cannot be opened, or the overlap is too small.
    """
    config = config or EvaluationConfig()
    if not traffic.rows:
        raise InputError(
            f"--store: it holds no edits of such answers yet ({sum(traffic.pending.values())} are pending); collect "
            "edits with `copydesk serve`"
        )
    shares = _parse_shares(policy, {row.policy for row in traffic.rows} | traffic.pending.keys())
    opened: LocalPolicy | None = None
    if shares is not None:
        importance = compute_arm_weights(traffic.rows, shares)
        fix = (
            _RANDOMIZE_HINT
            if importance.unreachable
            else _ADD_ARM_HINT
            if len(shares) > 1
            else "give it a larger share of the traffic"
        )
    else:
        opened = _open_local_policy(policy, policy)
        importance = compute_text_weights(
            traffic.rows, opened, lambda name: _open_arm(name, traffic.specs), batch_size=config.batch_size
        )
        fix = _ADD_ARM_HINT
    overlap = Overlap.from_weights(importance.weights, importance.unreachable, importance.expected)
    check_overlap(overlap, policy, _describe_left_out(importance.left_out) + fix)
    remarks = _collect_remarks(traffic, importance, overlap)
    if opened is not None and overlap.effective < UNEVEN_SHARE * overlap.rows:
        remarks.append(
            f"{overlap.effective / overlap.rows:.0%} of the rows are effective: answers that the policy would write "
            "and the log lacks are not counted, so the intervals are too narrow."
        )
    baseline = None
    if config.cost_model is None:
        baseline = fit_baseline(importance.rows, importance.weights, config.seed)
    else:
        generator = opened or _open_generator(policy, shares, traffic.specs)
        baseline = _try_model_baseline(importance.rows, generator, config.cost_model, config, traffic.metric, remarks)
    costs = np.array([row.cost for row in importance.rows])
    fits = {
        "ips": estimate_ips(importance.weights, costs),
        "snips": estimate_snips(importance.weights, costs),
        "dr": None
        if baseline is None
        else estimate_doubly_robust(importance.weights, costs, baseline.predicted, baseline.expected),
    }
    logged = estimate_logged_mean(costs)
    return Evaluation(
        policy=policy,
        weights="text" if shares is None else "choice",
        metric=traffic.metric,
        rows=len(costs),
        pending=sum(traffic.pending.values()),
        left_out=importance.left_out,
        overlap=overlap,
        estimates={name: _compute_fit_interval(fit, overlap, least=0.0) for name, fit in fits.items()},
        differences={name: _compute_fit_interval(fit and fit.minus(logged), overlap) for name, fit in fits.items()},
        logged=compute_interval(logged, len(costs), least=0.0),
        arms=_compute_arm_costs(traffic),
        remarks=remarks,
    )


def _compute_fit_interval(fit: PointEstimate | None, overlap: Overlap, least: float = -np.inf) -> Estimate | None:
    return None if fit is None else compute_interval(fit, overlap.effective, least=least)


def _parse_shares(policy: str, logged: set[str]) -> dict[str, float] | None:
    """The arms of a policy or mixture, with shares that add up to 1; `None` if it is not made of arms of this log."""
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
    """Open a policy in this process, which can compute the probability of a text."""
    parsed = PolicySpec.parse(spec)
    try:
        parsed.check_command("evaluate")
    except InputError as exc:
        raise InputError(
            f"{exc}. It is no model in this process, so the probability of a logged text is not known; give a model "
            f"or a policy's folder, or {_ADD_ARM_HINT}"
        ) from None
    try:
        from copydesk.policies.local import LocalPolicy
        from copydesk.policies.open import open_policy
    except ModuleNotFoundError as exc:
        raise InputError(
            f"--policy {spec}: no such policy answered in this log, and evaluating it from the texts needs {exc.name}; "
            "install it with: pip install 'copydesk[train]'"
        ) from None
    opened = open_policy(name, spec)
    assert isinstance(opened, LocalPolicy)
    return opened


def _open_arm(name: str, specs: Mapping[str, str]) -> "LocalPolicy":
    try:
        if name not in specs:
            raise InputError("its spec is not in the log")
        return _open_local_policy(name, specs[name])
    except InputError as exc:
        raise InputError(
            f"{name}, which answered in this log, cannot be opened to score its texts ({exc}); {_ADD_ARM_HINT}"
        ) from None


def _open_generator(policy: str, shares: Mapping[str, float] | None, specs: Mapping[str, str]) -> "LocalPolicy | None":
    """Open an arm to generate answers; `None` for a mixture, or a policy that cannot be opened in this process."""
    if shares is None or len(shares) > 1:
        return None
    try:
        return _open_local_policy(policy, specs.get(policy, ""))
    except InputError:
        return None


def _try_model_baseline(
    rows: Sequence[LoggedAnswer],
    generator: "LocalPolicy | None",
    folder: Path,
    config: EvaluationConfig,
    metric: str,
    remarks: list[str],
) -> Baseline | None:
    """The cost model's baseline; `None` with a remark where it is not available."""
    if generator is None:
        remarks.append("dr is not available: the policy cannot generate answers here for the cost model to score.")
        return None
    if any((row.parameters.get("top_p") or 1.0) < 1 for row in rows):
        remarks.append("dr is not available: some requests set top_p below 1, which is not supported here.")
        return None
    baseline, predicted_metric = predict_baseline(rows, generator, folder, config.samples, config.seed)
    if predicted_metric != metric:
        remarks.append(
            f"the cost model predicts {predicted_metric} and the costs are {metric}: dr is still unbiased, but its "
            "interval is wider than necessary."
        )
    return baseline


def _collect_remarks(traffic: Traffic, importance: ImportanceWeights, overlap: Overlap) -> list[str]:
    remarks = []
    pending = sum(traffic.pending.values())
    if pending:
        remarks.append(
            f"{pending} answers have no edit yet and are left out; this biases the figures if people who edit differ "
            "from those who do not, or edit some policies' answers sooner."
        )
    if overlap.unreachable:
        remarks.append(f"in {overlap.unreachable} rows another policy was certain to answer; their weight is 0.")
    if importance.retokenized > _MAX_RETOKENIZED * overlap.rows:
        remarks.append(
            f"{importance.retokenized} answers tokenize to other tokens than were generated; their weights are "
            "approximate."
        )
    return remarks


def _describe_left_out(left_out: Mapping[str, int]) -> str:
    """The most frequent reason for leaving rows out, in a few words; empty where none were."""
    if not left_out:
        return ""
    why, count = max(left_out.items(), key=lambda item: item[1])
    return f"{count} further rows were left out ({why}); "


def _compute_arm_costs(traffic: Traffic) -> list[ArmCost]:
    """The cost of each logged policy, sorted by name."""
    answered = Counter(row.policy for row in traffic.rows)
    found = []
    for name in sorted(answered.keys() | traffic.pending.keys()):
        costs = [row.cost for row in traffic.rows if row.policy == name]
        cost = compute_interval(estimate_logged_mean(costs), len(costs), least=0.0) if len(costs) > 1 else None
        found.append(ArmCost(name, len(costs), traffic.pending.get(name, 0), cost))
    return found
