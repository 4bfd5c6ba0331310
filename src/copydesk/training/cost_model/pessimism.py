"""f̄, the pessimistic cost: the upper end of what the fits to a log agree with.

Predictions come as a tensor of shape [n, 1 + K]: f̂, the fit on the log itself, then K members, each fitted on a
bootstrap resample of it. What they say of a response like those of the log is nearly the same; away from the log they
part, for nothing holds them together there.

Source: the confidence set of https://arxiv.org/abs/2601.19055, section "offline RL", with the members for the class of
functions it is taken from.
"""

import torch
from torch import Tensor

from copydesk.training.settings import CostModelConfig


def compute_pessimistic_cost(predictions: Tensor, within: Tensor, settings: CostModelConfig) -> Tensor:
    """f̄ as the settings want it; never below f̂ and never above c_max.

    Args:
        predictions: shape [n, 1 + K], each in [0, c_max].
        within: which columns are in the confidence set, shape [1 + K]; see `compute_confidence_set`.
        settings: `pessimism`, κ and c_max.

    Returns:
        shape [n].
    """
    match settings.pessimism:
        case "max":
            return compute_confidence_maximum(predictions, within)
        case "std":
            return compute_upper_bound(predictions, settings.kappa).clamp(max=settings.c_max)
        case "none":
            return predictions[:, 0]


def compute_confidence_set(errors: Tensor, gamma: float) -> Tensor:
    """Which fits explain the log about as well as f̂ does.

    The threshold hangs on f̂ alone. A set around whichever fit is best would lose members when a better one is added,
    and f̄ would fall by knowing more.

    Args:
        errors: mean squared error of each on the log, shape [1 + K].
        gamma: γ, by how much it may exceed f̂'s, in squared cost.

    Returns:
        bool of shape [1 + K]; f̂ itself is always in it.
    """
    return errors <= errors[0] + gamma


def compute_confidence_maximum(predictions: Tensor, within: Tensor) -> Tensor:
    """The largest cost that a fit in the confidence set predicts. A further member can only raise it.

    Args:
        predictions: shape [n, 1 + K].
        within: shape [1 + K].

    Returns:
        shape [n].
    """
    return predictions.masked_fill(~within, -torch.inf).amax(dim=1)


def compute_upper_bound(predictions: Tensor, kappa: float) -> Tensor:
    """f̂ + κ x the members' root mean square distance from it, which is the bootstrap's standard error of f̂.

    The spread is taken around f̂ and not around the members' mean, so that the bound never falls below f̂. Unlike the
    maximum it can fall when a member is added that agrees with f̂.

    Args:
        predictions: shape [n, 1 + K].
        kappa: κ.

    Returns:
        shape [n]; f̂ where there are no members.
    """
    fit, members = predictions[:, 0], predictions[:, 1:]
    if not members.shape[1]:
        return fit
    return fit + kappa * (members - fit[:, None]).square().mean(dim=1).sqrt()
