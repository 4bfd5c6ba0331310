"""What a policy makes of rows it was not trained on."""

from collections.abc import Sequence

import torch

from copydesk.learn.encode import Triple
from copydesk.learn.logprobs import TripleLogProbs
from copydesk.learn.objectives import early_ensemble, preference, supervised
from copydesk.learn.settings import TrainSettings


def evaluate(
    triples: Sequence[Triple], policy: TripleLogProbs, references: TripleLogProbs, settings: TrainSettings
) -> dict[str, float]:
    """Measure a policy on triples, from its log-probabilities and the reference policy's.

    Returns:
        The same figures whatever the method, so that methods compare: `loss`, the method's own objective; its terms
        `loss/supervised` and `loss/preference`; `logp/edit`, its gain over the reference `logp_gain/edit`, and
        `logp_per_token/edit`; `no_preference`, the share of rows without one; and, where any row was edited, `margin`,
        `accuracy`, `logp/response` and `logp_gain/response`, over the edited rows. Empty where there are no triples.
    """
    if not triples:
        return {}
    edited = torch.tensor([triple.edited for triple in triples])
    beta, lambda_sup = settings.beta, settings.lambda_sup
    terms = (policy.edit, policy.response, references.edit, references.response, edited)
    joint_loss, metrics = early_ensemble(*terms, beta=beta, lambda_sup=lambda_sup)
    if settings.method == "sft":
        loss, _ = supervised(policy.edit, references.edit)
    elif settings.method == "dpo":
        loss, _ = preference(*terms, beta=beta)
    else:
        loss = joint_loss
    tokens = sum(len(triple.edit) for triple in triples)
    figures = {"loss": loss.item()} | {name: value.item() for name, value in metrics.items()}
    return figures | {"logp_per_token/edit": policy.edit.sum().item() / tokens}
