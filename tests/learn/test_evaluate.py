import dataclasses
import math

import pytest
import torch

from copydesk.learn.encode import Triple
from copydesk.learn.evaluate import evaluate
from copydesk.learn.logprobs import TripleLogProbs
from copydesk.learn.settings import Method, TrainSettings

TRIPLES = [Triple("a", (1,), (2, 3), (4, 5, 6)), Triple("b", (1,), (7,), (7,))]
REFERENCE = TripleLogProbs(torch.tensor([-6.0, -2.0]), torch.tensor([-3.0, -2.0]))
POLICY = TripleLogProbs(torch.tensor([-4.0, -1.0]), torch.tensor([-5.0, -1.0]))
SETTINGS = TrainSettings(beta=0.5, lambda_sup=2.0)
PAIR_LOSS = math.log(1 + math.exp(-2.0))  # gains +2 and -2, times β


@pytest.mark.parametrize(("method", "loss"), [("sft", 2.5), ("dpo", PAIR_LOSS), ("early", PAIR_LOSS + 2.0 * 2.5)])
def test_the_loss_is_the_methods_own(method: Method, loss: float) -> None:
    figures = evaluate(TRIPLES, POLICY, REFERENCE, dataclasses.replace(SETTINGS, method=method))
    assert figures["loss"] == pytest.approx(loss)


def test_every_method_gets_the_same_figures() -> None:
    figures = evaluate(TRIPLES, POLICY, REFERENCE, SETTINGS)
    assert figures["margin"] == pytest.approx(2.0)
    assert figures["accuracy"] == 1.0
    assert figures["logp/edit"] == pytest.approx(-2.5)
    assert figures["logp_per_token/edit"] == pytest.approx(-5 / 4)
    assert figures["logp/response"] == pytest.approx(-5.0)
    assert figures["no_preference"] == pytest.approx(0.5)


def test_nothing_is_measured_on_no_rows() -> None:
    empty = TripleLogProbs(torch.zeros(0), torch.zeros(0))
    assert evaluate([], empty, empty, SETTINGS) == {}
