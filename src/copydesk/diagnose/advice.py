"""Recommends a training method for a log: a rule of thumb from worst-case bounds.

The bounds (proofs in docs/theory.md; arXiv 2601.19055), with D = log(|Π|/δ):

    SFT   H(π̂, π*) ≤ sqrt(D/n) + √2 χ                  χ: distance to π* that remains after a single edit
    DPO   SubOpt   ≤ sqrt(2 C D/n_edited) / (s σ'(V))   for any user strength
    RL    SubOpt   ≤ sqrt(C (28/3) c_max² D/n)

Worst-case bounds are far too large as predictions. Only their shape is used: how each error grows with the measured
quantities. All are scaled by `TYPICAL_SHARE_OF_BOUND` and clipped to [0, 1], and read as the share of the avoidable
cost that remains after training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

DELTA = 0.05
"""δ: the bounds hold in at least 19 of 20 logs, the usual level."""

TYPICAL_SHARE_OF_BOUND = 0.1
"""Assumed ratio of an error to its bound. In docs/harder.md SFT leaves 2 to 3% of the cost of a user who seldom
errs (p = 0.95) from 300 edits, where sqrt(D/n) is 1.4 to 1.6 and χ is close to 0; DPO leaves a third to a half, where
its bound is 10 to 30. A tenth is cautious for SFT, and those figures support no finer value. It was set on the logs of
that table, so agreement with that table is no evidence."""

DPO_SIGMOID_SLOPE = 0.25
"""σ'(V) in DPO's bound, at V = 0 where it is largest, so the bound is smallest. s is 1, since edits are in balance with
π*_β itself (docs/theory.md, lemma 3)."""

CLOSE_FACTOR = 1.5
"""Two predictions within this factor count as equal: their estimates are no more precise than that."""

MIN_COVERED_SHARE = 0.2
"""Consistency is measured on common rewrites; below a fifth of all changes it says little about the user."""

COVERED_FLOOR = 0.01
"""D is scaled up for the changes that are not common rewrites, by a factor of at most 1/0.01."""

DEFAULT_LEFT = 0.5
"""χ where it could not be measured: the middle of its range. It does not affect the method, which is then early."""

MIN_REEDITS = 20
"""With at least this many texts edited twice, χ comes from the cost of second edits, which measures it directly."""

FLAT_SIGMOID_SLOPE = 0.05
"""A fifth of the largest σ'. Below it a pair has almost no gradient; β keeps V where σ' is larger."""

BETA_RANGE, BETA_UNKNOWN = (0.03, 1.0), 0.1
"""β outside this range was never the best of a search (docs/harder.md); 0.1 is `copydesk train`'s own."""

LAM_RANGE = (0.01, 1.0)
"""Range of λ, used on a log scale. At 0.01 the supervised term still prevents malformed texts; at 1 it dominates."""

NEAR_SHARE = 0.2
"""From this share of near-identical pairs on, DPO alone may lower the likelihood of both texts (see `cautions`)."""

MIN_LEFT = 0.01
"""Smallest χ: a smaller one could not be measured."""

_REEDITS_NOTE, _CONSISTENCY_NOTE = "r = cost of second edits / cost of first ones", "1 − a"
_NO_EVIDENCE_NOTE = f"{DEFAULT_LEFT:g} where it could not be measured"


@dataclass(frozen=True)
class AdviceInputs:
    """Measurements that the advice depends on.

    Attributes:
        rows: n, rows whose edit is known.
        edited: rows that were changed; at least 1.
        mean_cost: mean edit cost of the n rows.
        high_cost: 99% quantile of their cost, used as c_max.
        consistency: a, the mean application rate of common rewrites; `None` where no rewrite is common.
        covered: share of changes that are common rewrites.
        reedit_rows: texts that were edited twice.
        reedit_left: r, cost of second edits / cost of first edits; `None` where unknown.
        distinct: number of common rewrites.
        vocabulary: number of different words.
        ess: effective sample size as a share of rows; `None` without a model.
        margin_scale: median of |log π_ref(y') − log π_ref(y)|; `None` without a model.
        near_identical: share of edited rows whose edit changes almost nothing.
    """

    rows: int
    edited: int
    mean_cost: float
    high_cost: float
    consistency: float | None = None
    covered: float = 0.0
    reedit_rows: int = 0
    reedit_left: float | None = None
    distinct: int = 0
    vocabulary: int = 0
    ess: float | None = None
    margin_scale: float | None = None
    near_identical: float = 0.0


@dataclass(frozen=True)
class Formula:
    """A figure with its formula and the numbers inserted into it."""

    name: str
    formula: str
    numbers: str
    value: float


@dataclass(frozen=True)
class Advice:
    """A recommended method with its settings and reasons.

    Attributes:
        method: `sft`, `dpo`, `rl` or `early`.
        lam: λ of the early ensemble, for `--lambda-sup`.
        beta: β, for `--beta`.
        more_edits: how many more edited rows would help; 0 where more would not.
        predicted: predicted share of the avoidable cost that remains with each method.
        reasons: one sentence or two each, the most important first.
        formulas: the formula of every figure.
    """

    method: str
    lam: float
    beta: float
    more_edits: int
    predicted: dict[str, float]
    reasons: tuple[str, ...]
    formulas: tuple[Formula, ...]


def advise(facts: AdviceInputs) -> Advice:
    """Recommend a method for a log with at least one edited row; a pure function of its measurements."""
    size = _description_size(facts)
    left = _left_share(facts)
    c = 1 / facts.ess if facts.ess is not None else 1.0
    sft, dpo, rl = (
        _sft_formula(facts, size.value, left.value),
        _dpo_formula(facts, size.value, c),
        _rl_formula(facts, size.value, c),
    )
    better = min(sft.value, dpo.value)
    predicted = {"sft": sft.value, "dpo": dpo.value, "rl": rl.value, "early": better}
    known = left.formula != _NO_EVIDENCE_NOTE
    method, chosen = _choose_method(predicted, facts, known=known)
    lam, beta = _lam_formula(sft.value, dpo.value), _beta_formula(facts)
    more, advice_on_more = _more_edits_formula(method, facts, size.value, left.value, c, predicted, known=known)
    return Advice(
        method=method,
        lam=lam.value,
        beta=beta.value,
        more_edits=int(more.value),
        predicted=predicted,
        reasons=(chosen, *_build_reasons(facts, left, c), advice_on_more),
        formulas=(size, left, sft, dpo, rl, lam, beta, more),
    )


def _description_size(facts: AdviceInputs) -> Formula:
    """Description length of the preference: one word for each common rewrite, scaled up for the other changes."""
    vocabulary, distinct = max(2, facts.vocabulary), max(1, facts.distinct)
    covered = max(facts.covered, COVERED_FLOOR)
    return Formula(
        "D, the size of the preference to learn",
        "(common rewrites) · ln(vocabulary) / (their share of all changes) + ln(1/δ)",
        f"{distinct} · ln {vocabulary} / {covered:.3g} + ln(1/{DELTA})",
        distinct * math.log(vocabulary) / covered + math.log(1 / DELTA),
    )


def _left_share(facts: AdviceInputs) -> Formula:
    name = "χ, the share left to fix after one edit"
    if facts.reedit_left is not None and facts.reedit_rows >= MIN_REEDITS:
        numbers = f"{facts.reedit_left:.2f}, from {facts.reedit_rows} texts edited twice"
        return Formula(name, _REEDITS_NOTE, numbers, _clip_share(facts.reedit_left))
    if facts.consistency is not None and facts.covered >= MIN_COVERED_SHARE:
        return Formula(name, _CONSISTENCY_NOTE, f"1 − {facts.consistency:.2f}", _clip_share(1 - facts.consistency))
    return Formula(name, _NO_EVIDENCE_NOTE, "not measured", DEFAULT_LEFT)


def _sft_formula(facts: AdviceInputs, size: float, left: float) -> Formula:
    return Formula(
        "SFT leaves",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt(D/n) + χ",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt({size:.0f}/{facts.rows}) + {left:.2f}",
        _clip_share(TYPICAL_SHARE_OF_BOUND * math.sqrt(size / facts.rows) + left),
    )


def _dpo_formula(facts: AdviceInputs, size: float, c: float) -> Formula:
    return Formula(
        "DPO leaves",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt(2 C D/n_edited) / {DPO_SIGMOID_SLOPE:g}",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt(2 · {c:.3g} · {size:.0f}/{facts.edited}) / {DPO_SIGMOID_SLOPE:g}",
        _clip_share(_dpo_error(facts.edited, size, c)),
    )


def _dpo_error(edited: float, size: float, c: float) -> float:
    return TYPICAL_SHARE_OF_BOUND * math.sqrt(2 * c * size / edited) / DPO_SIGMOID_SLOPE


def _rl_formula(facts: AdviceInputs, size: float, c: float) -> Formula:
    return Formula(
        "RL leaves",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt(C · (28/3) · (c_max/mean cost)² · D/n)",
        f"{TYPICAL_SHARE_OF_BOUND:g} · sqrt({c:.3g} · 28/3 · ({facts.high_cost:.2f}/{facts.mean_cost:.2f})² "
        f"· {size:.0f}/{facts.rows})",
        _clip_share(_rl_error(facts.rows, facts, size, c)),
    )


def _rl_error(rows: float, facts: AdviceInputs, size: float, c: float) -> float:
    spread = facts.high_cost / facts.mean_cost if facts.mean_cost > 0 else 1.0
    return TYPICAL_SHARE_OF_BOUND * spread * math.sqrt(c * 28 / 3 * size / rows)


def _choose_method(predicted: dict[str, float], facts: AdviceInputs, *, known: bool) -> tuple[str, str]:
    sft, dpo, rl = (predicted[method] for method in ("sft", "dpo", "rl"))
    if not known:
        return "early", (
            "Early: this log does not show how good the edits are to imitate. One policy trained on both losses is "
            "close to the better of SFT and DPO without having to know which that is."
        )
    if rl * CLOSE_FACTOR < min(sft, dpo):
        return "rl", (
            f"RL: it is predicted to leave {rl:.0%} of the avoidable cost, much less than SFT ({sft:.0%}) or DPO "
            f"({dpo:.0%}); it also learns from the costs of accepted rows."
        )
    low, high = sorted((sft, dpo))
    if high <= CLOSE_FACTOR * low:
        return "early", (
            f"Early: SFT is predicted to leave {sft:.0%} of the avoidable cost and DPO {dpo:.0%}. These predictions "
            f"are within their precision of each other (a factor of {CLOSE_FACTOR:g}); one policy trained on both "
            "losses is close to the better of the two."
        )
    if sft < dpo:
        return "sft", (
            f"SFT: it is predicted to leave {sft:.0%} of the avoidable cost, DPO {dpo:.0%}. Imitating what people "
            "wrote is more reliable here; DPO would need more edits or better coverage."
        )
    if facts.near_identical >= NEAR_SHARE:
        return "early", (
            f"Early: DPO is predicted to leave less of the avoidable cost ({dpo:.0%}) than SFT ({sft:.0%}), but "
            f"{facts.near_identical:.0%} of the pairs are nearly identical, and on such pairs DPO alone can make y' "
            "less likely too. A small supervised term prevents that."
        )
    return "dpo", (
        f"DPO: it is predicted to leave {dpo:.0%} of the avoidable cost, SFT {sft:.0%}. One edit leaves much to fix, "
        "so imitating it is not enough; it still shows which of two texts is better."
    )


def _build_reasons(facts: AdviceInputs, left: Formula, c: float) -> list[str]:
    if left.formula == _REEDITS_NOTE:
        quality = f"Quality: {left.numbers}: a second edit costs {left.value:.0%} of the first."
    elif left.formula == _CONSISTENCY_NOTE:
        quality = (
            f"Quality: a common rewrite is made in {1 - left.value:.0%} of the places where it could be made. Somebody "
            "who always edits in the same way would come close to 100%."
        )
    else:
        quality = (
            f"Quality: not measured. Common rewrites are {facts.covered:.0%} of all changes, too few to measure how "
            "regularly people edit, and too few texts were edited twice; χ is assumed to be a half."
        )
    if facts.ess is None:
        return [quality, "Coverage: not measured; C = 1 is assumed, the best case. Give --model to measure it."]
    return [
        quality,
        f"Coverage: weighted by how likely the reference model is to write what people wrote, the edited rows have an "
        f"effective sample size of {facts.ess:.0%} of their number (C = {c:.3g}).",
    ]


def _lam_formula(sft: float, dpo: float) -> Formula:
    low, high = LAM_RANGE
    share = dpo / (dpo + sft)
    return Formula(
        "λ, the weight of supervision",
        f"{low:g}^(SFT/(SFT + DPO)) · {high:g}^(DPO/(SFT + DPO))",
        f"{low:g}^{1 - share:.2f} · {high:g}^{share:.2f}",
        low ** (1 - share) * high**share,
    )


def _beta_formula(facts: AdviceInputs) -> Formula:
    name = "β, the pull towards the reference"
    if not facts.margin_scale:
        return Formula(name, "the default without --model", "not measured", BETA_UNKNOWN)
    steepest = (1 + math.sqrt(1 - 4 * FLAT_SIGMOID_SLOPE)) / 2  # σ(V) where σ'(V) = σ(V)(1 − σ(V)) = FLAT
    value = math.log(steepest / (1 - steepest))
    low, high = BETA_RANGE
    return Formula(
        name,
        f"V*/median |log π_ref(y') − log π_ref(y)| with σ'(V*) = {FLAT_SIGMOID_SLOPE:g}, within {low:g} and {high:g}",
        f"{value:.2f}/{facts.margin_scale:.3g}",
        min(max(value / facts.margin_scale, low), high),
    )


def _more_edits_formula(
    method: str, facts: AdviceInputs, size: float, left: float, c: float, predicted: dict[str, float], *, known: bool
) -> tuple[Formula, str]:
    """How many more edits would help the method, or the better of the two that the early ensemble combines."""
    name = "more edits that would help"
    if method == "early":
        method = "sft" if predicted["sft"] <= predicted["dpo"] else "dpo"
    share = facts.edited / facts.rows  # a row in `share` is edited
    if method == "sft":
        floor = max(left, MIN_LEFT)
        more = max(0.0, TYPICAL_SHARE_OF_BOUND**2 * size / floor**2 - facts.rows) * share
        formula = Formula(
            name,
            f"({TYPICAL_SHARE_OF_BOUND:g}² D/χ² − n) · n_edited/n, at least 0",
            f"({TYPICAL_SHARE_OF_BOUND:g}² · {size:.0f}/{floor:.2f}² − {facts.rows}) · {share:.2f}",
            math.ceil(more),
        )
        if not known:
            return formula, (
                "More edits: the number that would help depends on χ, which was not measured; for the assumed half it "
                f"is {formula.value:,.0f}. Second edits of {MIN_REEDITS} texts would measure χ."
            )
        if not formula.value:
            return formula, (
                "More edits of this kind would hardly help SFT: its remaining cost is mostly what one edit of these "
                "users leaves. More thorough edits, or a second edit of the same texts, would help."
            )
        return formula, (
            f"More edits: about {formula.value:,.0f} more edited rows, until the error from having few edits is no "
            f"larger than what the edits themselves leave (χ = {floor:.0%})."
        )
    error: Callable[[float], float] = (
        (lambda times: _dpo_error(times * facts.edited, size, c))
        if method == "dpo"
        else (lambda times: _rl_error(times * facts.rows, facts, size, c))
    )
    times = max(4.0, (2 * error(1)) ** 2)  # an error above 1, which is clipped, has to fall below 1 first
    formula = Formula(
        name,
        "(max(4, (2 · error)²) − 1) · n_edited",
        f"(max(4, (2 · {error(1):.2f})²) − 1) · {facts.edited}",
        math.ceil((times - 1) * facts.edited),
    )
    half = min(1.0, error(1)) / 2
    return formula, (
        f"More edits: about {formula.value:,.0f} more edited rows would reduce the share that {method.upper()} leaves "
        f"to {half:.0%}."
    )


def _clip_share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
