import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from copydesk.training.config import CostModelConfig, Pessimism
from copydesk.training.cost_model.model import (
    compute_confidence_maximum,
    compute_confidence_set,
    compute_pessimistic_cost,
    compute_upper_bound,
)

COST = st.floats(0.0, 3.0, width=32)


@st.composite
def fits(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Predictions of f̂ and some members, and which of them are in the confidence set."""
    rows, members = draw(st.integers(1, 5)), draw(st.integers(0, 5))
    predictions = [[draw(COST) for _ in range(1 + members)] for _ in range(rows)]
    within = [True, *(draw(st.booleans()) for _ in range(members))]
    return torch.tensor(predictions), torch.tensor(within)


@pytest.mark.parametrize("kind", ["max", "std", "none"])
@given(fits())
def test_it_is_never_below_the_fit_nor_above_the_largest_cost(kind: Pessimism, given_: tuple[Tensor, Tensor]) -> None:
    predictions, within = given_
    upper = compute_pessimistic_cost(predictions, within, CostModelConfig(pessimism=kind, c_max=3.0, kappa=1.5))
    assert (upper >= predictions[:, 0]).all()
    assert (upper <= 3.0).all()


@given(fits(), st.lists(COST, min_size=5, max_size=5), st.booleans())
def test_a_further_member_never_lowers_the_maximum(
    given_: tuple[Tensor, Tensor], further: list[float], inside: bool
) -> None:
    predictions, within = given_
    more = torch.cat([predictions, torch.tensor(further)[: len(predictions), None]], dim=1)
    before = compute_confidence_maximum(predictions, within)
    assert (compute_confidence_maximum(more, torch.cat([within, torch.tensor([inside])])) >= before).all()


@given(st.lists(st.floats(0, 9, width=32), min_size=1, max_size=6), st.floats(0, 9, width=32))
def test_membership_in_the_set_depends_on_the_fit_alone(errors: list[float], gamma: float) -> None:
    all_errors = torch.tensor(errors)
    within = compute_confidence_set(all_errors, gamma)
    assert within[0]
    for place in range(1, len(errors)):
        assert within[place] == compute_confidence_set(all_errors[[0, place]], gamma)[1]
        assert within[place] == (all_errors[place] <= all_errors[0] + gamma)


def test_a_member_that_explains_the_log_badly_has_no_say() -> None:
    predictions = torch.tensor([[0.2, 0.5, 0.9]])
    within = compute_confidence_set(torch.tensor([0.10, 0.12, 0.30]), gamma=0.05)
    assert within.tolist() == [True, True, False]
    assert compute_confidence_maximum(predictions, within).tolist() == pytest.approx([0.5])


def test_the_bound_by_hand_and_that_it_can_fall_with_a_member_that_agrees() -> None:
    assert compute_upper_bound(torch.tensor([[1.0, 1.3, 0.6]]), 2.0).item() == pytest.approx(1 + 2 * (0.125**0.5))
    assert compute_upper_bound(torch.tensor([[1.0, 1.3, 0.6, 1.0]]), 2.0).item() < 1 + 2 * (0.125**0.5)
    assert compute_upper_bound(torch.tensor([[1.0]]), 2.0).tolist() == [1.0]
