from typing import Any

import pytest

from copydesk.models.generate import GeneratedTokens
from copydesk.training.rl.trainer import predict_costs


def test_a_response_is_asked_about_with_its_end_as_in_the_log(cheap_low_tokens: Any) -> None:
    responses = [GeneratedTokens([1, 200, 3], True), GeneratedTokens([200, 201], True)]
    costs = predict_costs(cheap_low_tokens, [(5, 6), (7,)], responses, [9, 0])
    assert cheap_low_tokens.asked == [((5, 6), (1, 200, 3, 9, 0)), ((7,), (200, 201, 9, 0))]
    assert costs.fit.tolist() == pytest.approx([0.2, 0.5])
    assert costs.pessimistic.tolist() == pytest.approx([0.3, 0.6])


def test_one_that_was_cut_off_costs_the_most_there_is(cheap_low_tokens: Any) -> None:
    costs = predict_costs(
        cheap_low_tokens, [(5,), (5,)], [GeneratedTokens([1], False), GeneratedTokens([1], True)], [0]
    )
    assert costs.fit.tolist() == [3.0, 0.0]
    assert costs.pessimistic.tolist() == pytest.approx([3.0, 0.1])
