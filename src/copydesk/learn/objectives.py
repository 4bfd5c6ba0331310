"""The objectives: what a log of edits asks of a policy, as pure functions of log-probabilities.

For a batch of B triples (x, y, y') every log-probability is a tensor of shape [B], in nats, and is the *sum* over the
tokens of the answer, the end of the turn included. Each function returns the loss to minimise, a scalar, and metrics:
scalars without gradient, each term of the loss apart.

Source: Misra, Pacchiano, Chi, Gao, *Principled Fine-tuning of LLMs from User-Edits: A Medley of Preference,
Supervision, and Reward*, NeurIPS 2025, https://arxiv.org/abs/2601.19055.
"""

import torch.nn.functional as F
from torch import Tensor

Metrics = dict[str, Tensor]
"""Scalars by name. A metric that the batch says nothing about (the margin where no row was edited) is absent."""


def supervised(edit: Tensor, ref_edit: Tensor) -> tuple[Tensor, Metrics]:
    """Supervised fine-tuning on the edits: make y' likely.

        loss = - mean_i log π(y'_i|x_i)

    Args:
        edit: log π(y'|x), shape [B].
        ref_edit: log π_ref(y'|x), shape [B]; only measured against, not part of the loss.

    Source: ℓ_SUP of https://arxiv.org/abs/2601.19055.
    """
    loss = -edit.mean()
    return loss, {
        "loss/supervised": loss.detach(),
        "logp/edit": edit.detach().mean(),
        "logp_gain/edit": (edit.detach() - ref_edit).mean(),
    }


def preference(
    edit: Tensor,
    response: Tensor,
    ref_edit: Tensor,
    ref_response: Tensor,
    edited: Tensor,
    *,
    beta: float,
    rows: float | None = None,
) -> tuple[Tensor, Metrics]:
    """Direct preference optimisation: y' is better than y.

        margin_i = β log π(y'_i|x_i)/π_ref(y'_i|x_i) - β log π(y_i|x_i)/π_ref(y_i|x_i)
        loss     = - mean_i log σ(margin_i)        over the rows with y' ≠ y

    A row with y' = y says nothing about which of two answers is better; it is left out of the mean. A batch without
    any edited row has loss 0, with a gradient (of zero), so that it can be trained on like every other.

    Args:
        edit: log π(y'|x), shape [B].
        response: log π(y|x), shape [B]; what it holds where `edited` is false does not matter, as long as it is finite.
        ref_edit: log π_ref(y'|x), shape [B].
        ref_response: log π_ref(y|x), shape [B].
        edited: true where y' ≠ y, shape [B].
        beta: β, the strength of the pull towards π_ref.
        rows: the number of rows the mean is over. By default the edited rows of this batch. A trainer that splits
            one step over several batches gives (rows of a batch) x (share of edited rows in the log), so that every
            edited row weighs the same, whichever batch it falls into.

    Source: ℓ_PREF of https://arxiv.org/abs/2601.19055; the loss is that of Rafailov et al., *Direct Preference
    Optimization*, https://arxiv.org/abs/2305.18290, equation 7.
    """
    margin = beta * ((edit - ref_edit) - (response - ref_response))
    count = edited.sum()
    loss = -(F.logsigmoid(margin) * edited).sum() / (count.clamp(min=1) if rows is None else rows)
    metrics = {
        "loss/preference": loss.detach(),
        "no_preference": 1 - edited.float().mean(),
    }
    if count > 0:
        pairs = margin.detach()[edited]
        metrics |= {
            "margin": pairs.mean(),
            "accuracy": (pairs > 0).float().mean(),
            "logp/response": response.detach()[edited].mean(),
            "logp_gain/response": (response.detach() - ref_response)[edited].mean(),
        }
    return loss, {"logp/edit": edit.detach().mean(), "logp_gain/edit": (edit.detach() - ref_edit).mean()} | metrics


def early_ensemble(
    edit: Tensor,
    response: Tensor,
    ref_edit: Tensor,
    ref_response: Tensor,
    edited: Tensor,
    *,
    beta: float,
    lambda_sup: float,
    rows: float | None = None,
) -> tuple[Tensor, Metrics]:
    """The early ensemble: one policy learns from the preference and from the supervision at once.

        loss = preference loss + λ x supervised loss

    The supervised term is a mean over all rows, also those with y' = y; the preference term over the edited ones.
    The arguments are those of `preference`, and `lambda_sup`, the weight λ.

    Source: ℓ_PREF(π) + λ ℓ_SUP(π) of https://arxiv.org/abs/2601.19055.
    """
    preference_loss, about_pairs = preference(edit, response, ref_edit, ref_response, edited, beta=beta, rows=rows)
    supervised_loss, about_edits = supervised(edit, ref_edit)
    return preference_loss + lambda_sup * supervised_loss, about_edits | about_pairs
