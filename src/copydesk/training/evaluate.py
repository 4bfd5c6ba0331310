"""What a policy makes of rows it was not trained on."""

from collections.abc import Sequence

import torch

from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.metrics import RunningMeans
from copydesk.training.objectives import compute_early_ensemble_loss, compute_preference_loss, compute_supervised_loss


def compute_held_out_metrics(
    triples: Sequence[Triple],
    policy: TripleLogProbs,
    references: TripleLogProbs,
    settings: TrainConfig,
    baseline_value: float = 0.0,
) -> dict[str, float]:
    """Measure a policy on triples, from its log-probabilities and the reference policy's.

    Args:
        triples: the rows; their weights say how much each counts in every mean.
        policy: their log-probabilities under the policy.
        references: those under the reference policy.
        settings: the method and what its objective needs.
        baseline_value: V of `compute_offline_cost_loss`, where the method uses costs.

    Returns:
        The same figures whatever the method, so that methods compare. `loss`, the method's own objective; but not of
        `rl`, whose objective is a mean over what the policy writes itself (see `compute_sampled_metrics`). Means over the rows,
        of which `copydesk.training.metrics` says what they are: `loss/supervised`, `logp/edit`, `logp_gain/edit`, `kl`
        and `no_preference`, and, where any row was edited, `loss/preference`, `margin`, `accuracy`, `logp/response`,
        `logp_gain/response` and `logp_gain/preferred`; and `logp_per_token/edit`. Empty where there are no triples, or
        none that weighs anything.
    """
    weights = torch.tensor([triple.weight for triple in triples])
    if not weights.any():
        return {}
    edited = torch.tensor([triple.edited for triple in triples])
    terms = (policy.edit, policy.response, references.edit, references.response, edited)
    options = settings.preference_options() | {"weights": weights}
    if settings.method == "early":
        options |= settings.cost_options(torch.tensor([triple.cost or 0.0 for triple in triples]), baseline_value)
    joint_loss, metrics = compute_early_ensemble_loss(*terms, lambda_sup=settings.lambda_sup, **options)
    if settings.method == "sft":
        loss, _ = compute_supervised_loss(policy.edit, references.edit, weights=weights)
    elif settings.method == "dpo":
        loss, _ = compute_preference_loss(*terms, **options)
    else:
        loss = joint_loss
    means = RunningMeans()
    means.add(metrics, weights)
    figures = means.means()
    lengths = torch.tensor([float(len(triple.edit)) for triple in triples])
    mean_length = (weights * lengths).sum().item() / weights.sum().item()
    own = {} if settings.method == "rl" else {"loss": loss.item()}
    return own | figures | {"logp_per_token/edit": figures["logp/edit"] / mean_length}
