"""Baselines of the doubly robust estimate: a ridge regression on the context, or a cost model."""

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
_RIDGE = 100.0  # in effective rows: about where a few informative words among 64 buckets exceed the noise
_FOLDS = 5


@dataclass(frozen=True)
class Baseline:
    """Predicted costs of n rows: of the logged answer, and the expected cost of the policy's own answers."""

    predicted: FloatArray
    expected: FloatArray


def fit_baseline(rows: Sequence[LoggedAnswer], weights: FloatArray, seed: int = 0) -> Baseline:
    """Fit a ridge regression of the cost on the length and words of the context.

    Rows are weighted by their importance weights, so the regression predicts the policy's cost and not the log's. Each
    row is predicted by a fit to the other four fifths (cross-fitting), so the estimate stays unbiased even if the fit
    is poor. Answers are not used, so no policy has to generate one.

    Source of cross-fitting: Chernozhukov et al. 2018, https://arxiv.org/abs/1608.00060.
    """
    features = compute_context_features([row.context for row in rows])
    costs = np.array([row.cost for row in rows])
    folds = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    predicted = np.empty(len(rows))
    for held_out in range(_FOLDS):
        train = folds != held_out
        predicted[~train] = _predict_by_ridge(features[train], weights[train], costs[train], features[~train])
    return Baseline(predicted, predicted)


def compute_context_features(contexts: Sequence[Context]) -> FloatArray:
    """Log length of each context, and which of 64 buckets of words occur in it: shape [n, 65]."""
    found = np.zeros((len(contexts), 1 + _BUCKETS))
    for place, context in enumerate(contexts):
        text = context if isinstance(context, str) else "\n".join(turn.content for turn in context)
        found[place, 0] = np.log1p(len(text))
        for word in set(text.lower().split()):
            found[place, 1 + crc32(word.encode()) % _BUCKETS] = 1.0
    return found


def _predict_by_ridge(features: FloatArray, weights: FloatArray, costs: FloatArray, others: FloatArray) -> FloatArray:
    """Fit a weighted ridge regression and predict the costs of `others`; the mean cost where all weights are 0."""
    if not weights.any():
        return np.full(len(others), float(costs.mean()))
    w = weights / weights.sum()
    mean_features, mean_cost = w @ features, float(w @ costs)
    spread = np.sqrt(w @ (features - mean_features) ** 2)
    scale = np.where(spread > 1e-9, spread, np.inf)  # drops constant features
    x = (features - mean_features) / scale
    row_weights = compute_effective_sample_size(weights) * w
    gram = x.T @ (x * row_weights[:, None]) + _RIDGE * np.eye(x.shape[1])
    slope = np.linalg.solve(gram, x.T @ (row_weights * (costs - mean_cost)))
    # An outlying weight can tilt the fit, so predictions are clipped to the range of the costs.
    predicted = mean_cost + ((others - mean_features) / scale) @ slope
    return np.asarray(np.clip(predicted, costs.min(), costs.max()), dtype=np.float64)


def predict_baseline(
    rows: Sequence[LoggedAnswer], policy: "LocalPolicy", folder: Path | str, samples: int, seed: int
) -> tuple[Baseline, str]:
    """Predict with a cost model: f̂ of the logged answers, and its mean over answers that the policy generates.

    The cost model must not have been trained on these rows, whose costs it would have memorized.

    Args:
        rows: n rows, none of them sampled with a top-p below 1, which the policy does not use here.
        policy: generates the samples, with the temperature and the token limit of each request.
        folder: folder of the cost model.
        samples: answers for each context, at least 1.
        seed: seed of the samples.

    Returns:
        The baseline, and the name of the metric that the cost model predicts.

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

    def predict(indices: Sequence[int], texts: Sequence[str]) -> FloatArray:
        answers = [
            (prompts[index], [*tokenizer(text, add_special_tokens=False)["input_ids"], *end])
            for index, text in zip(indices, texts, strict=True)
        ]
        return np.asarray(cost_model.predict(answers, quiet=False)[:, 0], dtype=np.float64)

    predicted = predict(range(len(rows)), [row.response for row in rows])
    by_sampling: defaultdict[Sampling, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_sampling[Sampling(get_sampling_temperature(row), get_token_limit(row))].append(index)
    expected = np.zeros(len(rows))
    for sampling, indices in by_sampling.items():
        repeated = [index for index in indices for _ in range(samples)]
        seeds = [(seed, index, sample) for index in indices for sample in range(samples)]
        texts = policy.respond([rows[index].context for index in repeated], seeds, sampling)
        expected[indices] = predict(repeated, texts).reshape(-1, samples).mean(axis=1)
    return Baseline(predicted, expected), metric
