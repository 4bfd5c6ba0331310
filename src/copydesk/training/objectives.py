"""Training objectives: losses of a batch of edits as pure functions of log-probabilities.

For a batch of B triples (x, y, y') every log-probability is a float32 tensor of shape [B], in nats, and is the *sum*
over the tokens of the answer, the end of the turn included. Each function returns the loss to minimise, a scalar, and
metrics of every row.

A loss is a weighted mean over rows. `weights`, of shape [B] and at least 0, is 1 for every row unless given; a row of
weight 0 is padding and adds nothing, whatever it holds. What the mean is divided by is the weight of this batch unless
given: a trainer that splits one step over several batches gives the weight of the whole step to each of them, and the
losses then add up to the step's, so that a row counts the same whichever batch it falls into.

The objective of a method, `compute_sft_loss` and the others, takes a `BatchLogProbs` and the settings of the run;
`copydesk.method_registry` names it.

Source: Misra, Pacchiano, Chi, Gao, *Principled Fine-tuning of LLMs from User-Edits: A Medley of Preference,
Supervision, and Reward*, NeurIPS 2025, https://arxiv.org/abs/2601.19055.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from copydesk.training.config import PreferenceForm, TrainConfig
from copydesk.training.encode import Triple

RowMetrics = dict[str, Tensor]
"""Figures by name (`copydesk.training.trainer` says what they are), one per row: shape [B], without gradient, NaN for a
row that a figure does not apply to: the margin of an unedited row, everything of a row of weight 0."""


class BatchLogProbs(NamedTuple):
    """What an objective is computed from: log-probabilities, costs and weights of B rows, each of shape [B].

    Attributes:
        edit: log π(y'|x).
        response: log π(y|x); meaningful where the method needs it and y' ≠ y.
        ref_edit: log π_ref(y'|x).
        ref_response: log π_ref(y|x).
        edited: true where y' ≠ y.
        weights: w, the rows' weights; 0 is padding.
        costs: c; 0 where no cost is known.
        rows: the weight that means over all rows are over; `None`: that of this batch.
        pairs: the weight that means over edited rows are over; `None`: that of this batch.
        baseline_value: V of `compute_offline_cost_loss`.
    """

    edit: Tensor
    response: Tensor
    ref_edit: Tensor
    ref_response: Tensor
    edited: Tensor
    weights: Tensor
    costs: Tensor
    rows: float | Tensor | None = None
    pairs: float | Tensor | None = None
    baseline_value: float = 0.0


def compute_sft_loss(batch: BatchLogProbs, config: TrainConfig) -> tuple[Tensor, RowMetrics]:
    """The objective of `sft`: `compute_supervised_loss`."""
    return compute_supervised_loss(batch.edit, batch.ref_edit, weights=batch.weights, rows=batch.rows)


def compute_dpo_loss(batch: BatchLogProbs, config: TrainConfig) -> tuple[Tensor, RowMetrics]:
    """The objective of `dpo`: `compute_preference_loss`."""
    options = config.preference_options() | {"weights": batch.weights, "rows": batch.pairs}
    return compute_preference_loss(*batch[:5], **options)


def compute_early_loss(batch: BatchLogProbs, config: TrainConfig) -> tuple[Tensor, RowMetrics]:
    """The objective of `early`: `compute_early_ensemble_loss`, with the cost term if the settings ask for it."""
    options = config.preference_options() | {"lambda_sup": config.lambda_sup, "weights": batch.weights}
    if config.uses_costs:
        options |= {
            "lambda_cost": config.lambda_cost, "costs": batch.costs, "baseline_value": batch.baseline_value,
        }  # fmt: skip
    return compute_early_ensemble_loss(*batch[:5], **options, rows=batch.rows, pairs=batch.pairs)


def compute_supervised_loss(
    edit: Tensor, ref_edit: Tensor, *, weights: Tensor | None = None, rows: float | Tensor | None = None
) -> tuple[Tensor, RowMetrics]:
    """Supervised fine-tuning on the edits: make y' likely.

        loss = - Σ_i w_i log π(y'_i|x_i) / rows

    Args:
        edit: log π(y'|x), shape [B].
        ref_edit: log π_ref(y'|x), shape [B]; only measured against, not part of the loss.
        weights: w, shape [B].
        rows: the weight the mean is over; by default that of this batch.

    Source: ℓ_SUP of https://arxiv.org/abs/2601.19055.
    """
    weights = torch.ones_like(ref_edit) if weights is None else weights
    counted = weights > 0
    losses = torch.where(counted, -edit, 0.0)
    about_rows = {"loss/supervised": losses, "logp/edit": edit, "logp_gain/edit": edit - ref_edit}
    return _weighted_mean(losses, weights, rows), _mask_metrics(counted, about_rows)


def compute_preference_loss(
    edit: Tensor,
    response: Tensor,
    ref_edit: Tensor,
    ref_response: Tensor,
    edited: Tensor,
    *,
    beta: float,
    form: PreferenceForm = "sigmoid",
    label_noise: float = 0.0,
    dpop_penalty: float = 50.0,
    weights: Tensor | None = None,
    rows: float | Tensor | None = None,
) -> tuple[Tensor, RowMetrics]:
    """Direct preference optimisation: prefer y' to y.

        h_i  = log π(y'_i|x_i)/π_ref(y'_i|x_i) - log π(y_i|x_i)/π_ref(y_i|x_i)
        loss = Σ_i w_i form(h_i) / rows        over the rows with y' ≠ y

    where `form` is one of `compute_sigmoid_loss`, `compute_ipo_loss`, `compute_robust_loss` and `compute_dpop_loss`. A
    row with y' = y carries no preference; it is left out of the mean. A batch without any edited row has loss 0, with a
    gradient (of zero), so that it can be trained on like every other.

    Args:
        edit: log π(y'|x), shape [B].
        response: log π(y|x), shape [B]; not read where `edited` is false.
        ref_edit: log π_ref(y'|x), shape [B].
        ref_response: log π_ref(y|x), shape [B].
        edited: true where y' ≠ y, shape [B].
        beta: β, the strength of the pull towards π_ref.
        form: what a difference h costs.
        label_noise: ε of `robust`; no other form reads it.
        dpop_penalty: λ of `dpop`; no other form reads it.
        weights: w, shape [B].
        rows: the weight the mean is over; by default that of the edited rows of this batch. A trainer that splits one
            step over several batches gives (weight of the step) x (share of the weight on edited rows in the log).

    Source: ℓ_PREF of https://arxiv.org/abs/2601.19055.
    """
    weights = torch.ones_like(ref_edit) if weights is None else weights
    counted = weights > 0
    pairs = edited & counted
    gain_edit, gain_response = edit - ref_edit, response - ref_response
    # Rows that are no pair are set to 0 before the loss: a NaN times a weight of 0 would still be a NaN.
    h = torch.where(pairs, gain_edit - gain_response, 0.0)
    match form:
        case "sigmoid":
            losses = compute_sigmoid_loss(h, beta)
        case "ipo":
            losses = compute_ipo_loss(h, beta)
        case "robust":
            losses = compute_robust_loss(h, beta, label_noise)
        case "dpop":
            losses = compute_dpop_loss(h, torch.where(pairs, -gain_edit, 0.0), beta, dpop_penalty)
    about_rows = {
        "logp/edit": edit,
        "logp_gain/edit": gain_edit,
        "no_preference": 1 - edited.float(),
        "kl": -torch.where(edited, gain_response, gain_edit),  # where nothing was edited, y is y'
    }
    about_pairs = {
        "loss/preference": losses,
        "margin": beta * h,
        "accuracy": (h > 0).float(),
        "logp/response": response,
        "logp_gain/response": gain_response,
        "logp_gain/preferred": gain_edit,
    }
    return _weighted_mean(losses, weights * pairs, rows), _mask_metrics(counted, about_rows) | _mask_metrics(
        pairs, about_pairs
    )


def compute_early_ensemble_loss(
    edit: Tensor,
    response: Tensor,
    ref_edit: Tensor,
    ref_response: Tensor,
    edited: Tensor,
    *,
    beta: float,
    lambda_sup: float,
    form: PreferenceForm = "sigmoid",
    label_noise: float = 0.0,
    dpop_penalty: float = 50.0,
    weights: Tensor | None = None,
    rows: float | Tensor | None = None,
    pairs: float | Tensor | None = None,
    lambda_cost: float = 0.0,
    costs: Tensor | None = None,
    baseline_value: float = 0.0,
) -> tuple[Tensor, RowMetrics]:
    """The early ensemble: one policy learns from the preference, the supervision and, if asked, the cost at once.

        loss = preference loss + λ x supervised loss + λ_cost x offline cost loss

    The supervised term and the cost term are means over all rows, also those with y' = y; the preference term is one
    over the edited ones. With λ_cost = 0 the cost term is not computed and the loss is the paper's, to the bit.
    The arguments are those of `compute_preference_loss`, and:

    Args:
        lambda_sup: the weight λ.
        rows: the weight that the means over all rows are over.
        pairs: the weight that the preference mean is over.
        lambda_cost: the weight λ_cost.
        costs: c, shape [B]; needed where `lambda_cost` is above 0.
        baseline_value: V of `compute_offline_cost_loss`.

    Source: ℓ_PREF(π) + λ ℓ_SUP(π) of https://arxiv.org/abs/2601.19055. The cost term is `compute_offline_cost_loss`'s.
    """
    preference_loss, about_pairs = compute_preference_loss(
        edit,
        response,
        ref_edit,
        ref_response,
        edited,
        beta=beta,
        form=form,
        label_noise=label_noise,
        dpop_penalty=dpop_penalty,
        weights=weights,
        rows=pairs,
    )
    supervised_loss, about_edits = compute_supervised_loss(edit, ref_edit, weights=weights, rows=rows)
    loss, metrics = preference_loss + lambda_sup * supervised_loss, about_edits | about_pairs
    if lambda_cost > 0:
        if costs is None:
            raise ValueError("lambda_cost is above 0, so every row needs its cost")
        cost_loss, about_costs = compute_offline_cost_loss(
            response, ref_response, costs, beta=beta, baseline_value=baseline_value, weights=weights, rows=rows
        )
        loss, metrics = loss + lambda_cost * cost_loss, metrics | about_costs
    return loss, metrics


def compute_offline_cost_loss(
    response: Tensor,
    ref_response: Tensor,
    costs: Tensor,
    *,
    beta: float,
    baseline_value: float,
    weights: Tensor | None = None,
    rows: float | Tensor | None = None,
) -> tuple[Tensor, RowMetrics]:
    """Policy optimisation from the logged costs alone, without a cost model and without sampling.

        loss = Σ_i w_i (c_i + β log π(y_i|x_i)/π_ref(y_i|x_i) - V)² / (2 β rows)

    The policy sought is

        π*_β(y|x) = π_ref(y|x) exp((V(x) - c(x, y)) / β)    with    V(x) = -β log E_{y~π_ref} exp(-c(x, y)/β).

    Take logarithms: c(x, y) + β log π*_β(y|x)/π_ref(y|x) - V(x) is 0 for every y, and no other policy has that. So its
    square is what to minimise, and a log of y from π_ref with their costs is enough to do so. At π = π_ref the
    gradient is Σ_i w_i (c_i - V) ∇ log π(y_i|x_i) / rows, and E_{y~π_ref} ∇ log π = 0, so in expectation that is ∇J_β
    itself: the factor 1/(2 β) puts the term on the scale of J_β, and with a λ_cost of 1 its first step is that of
    policy optimisation. The further π has moved, the weaker it pulls, and it stops at π*_β; no importance weight
    π/π_ref comes in that could blow up.

    A log has one response to a context, too few for V(x): one V, `soft_min_value` of all costs, stands for all
    contexts. That is exact where costs have the same distribution in every context. Where they have not, responses
    that are expensive or cheap for their context are distinguished less well.

    Args:
        response: log π(y|x), shape [B]; of a row with y' = y, log π(y'|x).
        ref_response: log π_ref(y|x), shape [B].
        costs: c, shape [B].
        beta: β.
        baseline_value: V.
        weights: w, shape [B].
        rows: the weight the mean is over; by default that of this batch.

    Source: our derivation from the π*_β of https://arxiv.org/abs/2601.19055. The squared residual is that of Richemond
    et al., *Offline Regularised Reinforcement Learning for Large Language Models Alignment*,
    https://arxiv.org/abs/2405.19107, who learn V(x) as a network.
    """
    weights = torch.ones_like(ref_response) if weights is None else weights
    counted = weights > 0
    residual = torch.where(counted, costs + beta * (response - ref_response) - baseline_value, 0.0)
    losses = residual**2 / (2 * beta)
    return _weighted_mean(losses, weights, rows), _mask_metrics(counted, {"loss/cost": losses})


def soft_min_value(triples: Sequence[Triple], beta: float) -> float:
    """V = -β log mean_i exp(-c_i/β), the mean weighted: from the least cost, for β near 0, to the mean for large β.

    Args:
        triples: rows that have costs.
        beta: β.
    """
    weights = torch.tensor([triple.weight for triple in triples], dtype=torch.float64)
    costs = torch.tensor([triple.cost for triple in triples], dtype=torch.float64)
    shares = (weights / weights.sum()).log()
    return float(-beta * torch.logsumexp(shares - costs / beta, dim=0))


def compute_sigmoid_loss(h: Tensor, beta: float) -> Tensor:
    """DPO's own loss: the Bradley-Terry model with a score difference of β h between y' and y.

        - log σ(β h)

    Args:
        h: how much more π has gained over π_ref on y' than on y, in nats, any shape.
        beta: β.

    Returns:
        The loss of every row, in the shape of `h`.

    Source: Rafailov et al., *Direct Preference Optimization*, https://arxiv.org/abs/2305.18290, equation 7.
    """
    return -F.logsigmoid(beta * h)


def compute_ipo_loss(h: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation: a target for the difference, so that it does not grow without bound.

        (h - 1 / (2 β))²

    The paper's τ is our β. TRL divides each log-ratio by its answer's tokens before it takes the difference, so its
    loss is not this one for answers of more than one token; ours sums, as the paper writes it and as every other
    objective here does. The target is thus for the whole answer: 5 nats with β = 0.1. For long answers with large
    edits take a smaller β.

    Args and returns are those of `compute_sigmoid_loss`.

    Source: Azar et al., *A General Theoretical Paradigm to Understand Learning from Human Preferences*,
    https://arxiv.org/abs/2310.12036, equation 17.
    """
    return (h - 1 / (2 * beta)) ** 2


def compute_robust_loss(h: Tensor, beta: float, label_noise: float) -> Tensor:
    """DPO for rows with flipped preferences: in expectation the loss of DPO on the rows without noise.

        (- (1 - ε) log σ(β h) + ε log σ(-β h)) / (1 - 2 ε)

    With ε > 0 it can be negative, and it keeps falling, by β ε / (1 - 2 ε) a nat, however large h already is.

    Args:
        h: as for `compute_sigmoid_loss`.
        beta: β.
        label_noise: ε, how likely a row's y' is the worse answer; at least 0 and less than a half.

    Returns:
        The loss of every row, in the shape of `h`.

    Source: Chowdhury, Kini, Natarajan, *Provably Robust DPO: Aligning Language Models with Noisy Feedback*,
    https://arxiv.org/abs/2403.00409.
    """
    as_given, flipped = compute_sigmoid_loss(h, beta), compute_sigmoid_loss(-h, beta)
    return ((1 - label_noise) * as_given - label_noise * flipped) / (1 - 2 * label_noise)


def compute_dpop_loss(h: Tensor, drop: Tensor, beta: float, penalty: float) -> Tensor:
    """DPO-Positive, for pairs that differ by a small edit: DPO with a penalty on y' becoming less likely.

        - log σ(β (h - λ max(0, log π_ref(y'|x) - log π(y'|x))))

    At the start, where π = π_ref, a row is at the kink of max(0, ·): the gradient at y' is 1 + λ times as large on one
    side of it as on the other. At the kink itself it is that of `compute_sigmoid_loss`.

    Args:
        h: as for `compute_sigmoid_loss`.
        drop: log π_ref(y'|x) - log π(y'|x), in nats, in the shape of `h`.
        beta: β.
        penalty: λ.

    Returns:
        The loss of every row, in the shape of `h`.

    Source: Pal et al., *Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive*,
    https://arxiv.org/abs/2402.13228, equation 3.
    """
    return compute_sigmoid_loss(h - penalty * F.relu(drop), beta)


def _weighted_mean(losses: Tensor, weights: Tensor, total: float | Tensor | None) -> Tensor:
    """The losses' weighted sum over a total weight; 0 where that weighs nothing. The losses must be finite."""
    divisor = weights.sum() if total is None else torch.as_tensor(total)
    return (losses * weights).sum() / torch.where(divisor > 0, divisor, 1.0)


def _mask_metrics(rows: Tensor, figures: RowMetrics) -> RowMetrics:
    """The figures without gradient, and only of some rows."""
    return {name: values.detach().masked_fill(~rows, math.nan) for name, values in figures.items()}
