"""What a response is worth to policy optimisation: -f̄."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from copydesk.models.generate import GeneratedTokens
from copydesk.training.cost_model.model import CostModel


class PredictedCosts(NamedTuple):
    """f̂ and f̄ of n responses, float32 on the CPU, shape [n]."""

    fit: Tensor
    pessimistic: Tensor


def predict_costs(
    cost_model: CostModel, contexts: Sequence[Sequence[int]], responses: Sequence[GeneratedTokens], end: Sequence[int]
) -> PredictedCosts:
    """What a cost model says of sampled responses.

    A response that was cut off costs c_max: the log has none like it, so nothing says that it would be cheaper.

    Args:
        cost_model: gives f̂ and f̄.
        contexts: as token ids.
        responses: one for each context.
        end: the tokens that close a response, as the log's responses were encoded.
    """
    answers = [(context, (*one.tokens, *end)) for context, one in zip(contexts, responses, strict=True)]
    predictions = cost_model.predict(answers)
    fit, upper = predictions[:, 0], cost_model.compute_pessimistic(predictions)
    for place, one in enumerate(responses):
        if not one.ended:
            fit[place] = upper[place] = cost_model.settings.c_max
    return PredictedCosts(fit, upper)
