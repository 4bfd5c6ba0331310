"""What an answer is expected to cost before anyone edited it: the baseline of the doubly robust estimate."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from copydesk.data.record import Context
from copydesk.offpolicy.estimators import FloatArray, compute_effective_sample_size
from copydesk.offpolicy.traffic import LoggedAnswer

if TYPE_CHECKING:
    from copydesk.policies.local import LocalPolicy

_BUCKETS = 64
_RIDGE = 100.0  # of effective rows: about where a few telling words among 64 stand out from chance
_FOLDS = 5


@dataclass(frozen=True)
class Baseline:
    """Predictions for n rows: of the answer that was logged, and of what the policy itself would answer."""

    predicted: FloatArray
    expected: FloatArray


def fit_baseline(rows: Sequence[LoggedAnswer], weights: FloatArray, seed: int = 0) -> Baseline:
    """What the policy costs on a context like this one, learnt from the log itself: ridge regression on its words.

    The rows are weighed as they count for the policy, so that what is learnt is its cost and not the log's. Each row is
    predicted by a fit to the other four fifths (cross-fitting), so the estimate stays unbiased however poor the fit. It
    does not look at the answer: no policy has to be asked for one.

    Source: of cross-fitting, Chernozhukov et al. 2018, https://arxiv.org/abs/1608.00060.
    """
    features = compute_context_features([row.context for row in rows])
    costs = np.array([row.cost for row in rows])
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    predicted = np.empty(len(rows))
    for out in range(_FOLDS):
        learn = fold != out
        predicted[~learn] = _fit_ridge(features[learn], weights[learn], costs[learn], features[~learn])
    return Baseline(predicted, predicted)


def compute_context_features(contexts: Sequence[Context]) -> FloatArray:
    """The logarithm of the length, and which of 64 buckets of words occur: shape [n, 65]."""
    found = np.zeros((len(contexts), 1 + _BUCKETS))
    for place, context in enumerate(contexts):
        text = context if isinstance(context, str) else "\n".join(turn.content for turn in context)
        found[place, 0] = np.log1p(len(text))
        for word in set(text.lower().split()):
            found[place, 1 + crc32(word.encode()) % _BUCKETS] = 1.0
    return found


def _fit_ridge(features: FloatArray, weights: FloatArray, costs: FloatArray, wanted: FloatArray) -> FloatArray:
    """Weighted ridge regression, and what it says of other features; the mean where there is nothing to learn from."""
    if not weights.any():
        return np.full(len(wanted), float(costs.mean()))
    w = weights / weights.sum()
    centre, middle = w @ features, float(w @ costs)
    spread = np.sqrt(w @ (features - centre) ** 2)
    scale = np.where(spread > 1e-9, spread, np.inf)  # what never varies tells nothing
    x = (features - centre) / scale
    weighed = compute_effective_sample_size(weights) * w
    gram = x.T @ (x * weighed[:, None]) + _RIDGE * np.eye(x.shape[1])
    slope = np.linalg.solve(gram, x.T @ (weighed * (costs - middle)))
    # A weight far from the others can tilt the fit; no context is expected to cost what none did.
    said = middle + ((wanted - centre) / scale) @ slope
    return np.asarray(np.clip(said, costs.min(), costs.max()), dtype=np.float64)


def predict_baseline(
    rows: Sequence[LoggedAnswer], policy: "LocalPolicy", folder: Path | str, samples: int, seed: int
) -> tuple[Baseline, str]:
    """What a cost model predicts: f̂ of the logged answers, and its mean over answers the policy writes itself.

    The cost model must not have learnt from these rows: it would know their costs by heart.

    Args:
        rows: n of them, none of which was cut at a top-p below 1, which the policy is not asked with.
        policy: writes the samples, at each request's temperature and limit.
        folder: the cost model's.
        samples: answers to each context, at least 1.
        seed: decides them.

    Returns:
        The baseline, and the name of the cost that the model learnt.

    Raises:
        InputError: the cost model cannot be loaded.
    """
    from copydesk.models.chat import encode_context, find_end_of_turn
    from copydesk.offpolicy.scoring import get_sampling_temperature, get_token_limit
    from copydesk.policies.base import Sampling
    from copydesk.training.cost_model.io import load_cost_model, read_cost_model

    metric = read_cost_model(folder).metric
    cost_model, tokenizer = load_cost_model(folder)
    prompts = [encode_context(row.context, tokenizer) for row in rows]
    end = find_end_of_turn(tokenizer)

    def predict(places: Sequence[int], texts: Sequence[str]) -> FloatArray:
        answers = [
            (prompts[place], [*tokenizer(text, add_special_tokens=False)["input_ids"], *end])
            for place, text in zip(places, texts, strict=True)
        ]
        return np.asarray(cost_model.predict(answers, quiet=False)[:, 0], dtype=np.float64)

    predicted = predict(range(len(rows)), [row.response for row in rows])
    alike: defaultdict[Sampling, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        alike[Sampling(get_sampling_temperature(row), get_token_limit(row))].append(place)
    expected = np.zeros(len(rows))
    for sampling, places in alike.items():
        asked = [place for place in places for _ in range(samples)]
        luck = [(seed, place, sample) for place in places for sample in range(samples)]
        texts = policy.respond([rows[place].context for place in asked], luck, sampling)
        expected[places] = predict(asked, texts).reshape(-1, samples).mean(axis=1)
    return Baseline(predicted, expected), metric
