import dataclasses
import math

import pytest
import torch

from copydesk.training.config import PreferenceForm, TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.fit import compute_held_out_metrics
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.trainer import METRIC_NAMES

TRIPLES = [Triple("a", (1,), (2, 3), (4, 5, 6)), Triple("b", (1,), (7,), (7,))]
REFERENCE = TripleLogProbs(torch.tensor([-6.0, -2.0]), torch.tensor([-3.0, -2.0]))
POLICY = TripleLogProbs(torch.tensor([-4.0, -1.0]), torch.tensor([-5.0, -1.0]))
SETTINGS = TrainConfig(beta=0.5, lambda_sup=2.0)
PAIR_LOSS = math.log(1 + math.exp(-2.0))  # gains +2 and -2, times β


@pytest.mark.parametrize(("method", "loss"), [("sft", 2.5), ("dpo", PAIR_LOSS), ("early", PAIR_LOSS + 2.0 * 2.5)])
def test_the_loss_is_the_methods_own(method: str, loss: float) -> None:
    figures = compute_held_out_metrics(TRIPLES, POLICY, REFERENCE, SETTINGS.replace(method=method))
    assert figures["loss"] == pytest.approx(loss)


@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_every_method_gets_the_same_figures(method: str) -> None:
    figures = compute_held_out_metrics(TRIPLES, POLICY, REFERENCE, SETTINGS.replace(method=method))
    assert set(figures) == {"loss", "logp_per_token/edit", *METRIC_NAMES} - {"loss/cost"}
    assert figures["margin"] == pytest.approx(2.0)
    assert figures["accuracy"] == 1.0
    assert figures["logp/edit"] == pytest.approx(-2.5)
    assert figures["logp_gain/edit"] == pytest.approx(1.5)
    assert figures["logp_gain/preferred"] == pytest.approx(2.0)
    assert figures["logp_per_token/edit"] == pytest.approx(-5 / 4)
    assert figures["logp/response"] == pytest.approx(-5.0)
    assert figures["logp_gain/response"] == pytest.approx(-2.0)
    assert figures["no_preference"] == pytest.approx(0.5)
    assert figures["kl"] == pytest.approx((2.0 - 1.0) / 2)
    assert figures["loss/preference"] == pytest.approx(PAIR_LOSS)
    assert figures["loss/supervised"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("form", "loss"),
    [
        ("ipo", 9.0),
        ("robust", (0.7 * PAIR_LOSS - 0.3 * (PAIR_LOSS + 2.0)) / 0.4),
        ("dpop", math.log(1 + math.exp(-0.5 * (0.5 - 4 * 1.5)))),
    ],
)
def test_the_preference_is_of_the_form_that_was_set(form: PreferenceForm, loss: float) -> None:
    settings = SETTINGS.replace(method="dpo", preference=form, label_noise=0.3, dpop_penalty=4.0)
    # For `dpop`, y' lost 1.5 nats and y lost 2.
    policy = TripleLogProbs(torch.tensor([-7.5, -1.0]), torch.tensor([-5.0, -1.0])) if form == "dpop" else POLICY
    figures = compute_held_out_metrics(TRIPLES, policy, REFERENCE, settings)
    assert figures["loss"] == pytest.approx(loss) == figures["loss/preference"]


def weighted(*weights: float) -> list[Triple]:
    return [dataclasses.replace(triple, weight=weight) for triple, weight in zip(TRIPLES, weights, strict=True)]


def test_rows_count_by_their_weights() -> None:
    figures = compute_held_out_metrics(weighted(1.0, 3.0), POLICY, REFERENCE, SETTINGS)
    assert figures["logp/edit"] == pytest.approx((-4 - 3) / 4)
    assert figures["logp_per_token/edit"] == pytest.approx((-4 - 3) / (3 + 3))
    assert figures["no_preference"] == pytest.approx(0.75)
    assert figures["margin"] == pytest.approx(2.0)
    assert figures["loss"] == pytest.approx(PAIR_LOSS + 2.0 * 7 / 4)


def test_where_nothing_was_edited_there_is_no_preference() -> None:
    policy, reference = (TripleLogProbs(scores.edit[1:], scores.response[1:]) for scores in (POLICY, REFERENCE))
    figures = compute_held_out_metrics(TRIPLES[1:], policy, reference, SETTINGS)
    assert figures["no_preference"] == 1.0 and figures["kl"] == -1.0
    assert "margin" not in figures and "loss/preference" not in figures
    assert all(map(math.isfinite, figures.values()))


def test_nothing_is_measured_on_no_rows() -> None:
    empty = TripleLogProbs(torch.zeros(0), torch.zeros(0))
    assert compute_held_out_metrics([], empty, empty, SETTINGS) == {}
    assert compute_held_out_metrics(weighted(0.0, 0.0), POLICY, REFERENCE, SETTINGS) == {}


def test_costs_count_where_the_method_uses_them() -> None:
    settings = SETTINGS.replace(method="early", lambda_cost=3.0)
    costed = [dataclasses.replace(triple, cost=cost) for triple, cost in zip(TRIPLES, (0.9, 0.0), strict=True)]
    figures = compute_held_out_metrics(costed, POLICY, REFERENCE, settings, baseline_value=0.1)
    # Log-ratios of y: -2 and 1; beta is 0.5.
    term = ((0.9 - 1.0 - 0.1) ** 2 + (0.0 + 0.5 - 0.1) ** 2) / 2
    assert figures["loss/cost"] == pytest.approx(term)
    assert figures["loss"] == pytest.approx(PAIR_LOSS + 2.0 * 2.5 + 3.0 * term)


def test_rl_has_no_loss_on_what_others_wrote() -> None:
    figures = compute_held_out_metrics(TRIPLES, POLICY, REFERENCE, SETTINGS.replace(method="rl"))
    assert set(figures) == {"logp_per_token/edit", *METRIC_NAMES} - {"loss/cost"}
