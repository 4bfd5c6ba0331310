import math

import pytest
import torch
from torch import Tensor

from copydesk.learn.objectives import early_ensemble, preference, supervised

BETA = 0.5


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {
        "edit": torch.tensor([-3.0, -10.0, -4.0], requires_grad=True),
        "response": torch.tensor([-5.0, -2.0, -4.0], requires_grad=True),
        "ref_edit": torch.tensor([-4.0, -9.0, -5.0]),
        "ref_response": torch.tensor([-4.5, -3.0, -5.0]),
        "edited": torch.tensor([True, True, False]),
    }


def test_supervised_is_the_mean_negative_log_probability_of_the_edits(batch: dict[str, Tensor]) -> None:
    loss, metrics = supervised(batch["edit"], batch["ref_edit"])
    loss.backward()
    assert loss.item() == pytest.approx(17 / 3)
    assert batch["edit"].grad.tolist() == pytest.approx([-1 / 3] * 3)
    assert metrics["logp/edit"].item() == pytest.approx(-17 / 3)
    assert metrics["logp_gain/edit"].item() == pytest.approx((1 - 1 + 1) / 3)


def test_preference_by_hand(batch: dict[str, Tensor]) -> None:
    # gains of y': +1, -1; of y: -0.5, +1; margins: 0.5 * 1.5 and 0.5 * -2
    loss, metrics = preference(**batch, beta=BETA)
    assert loss.item() == pytest.approx(-(math.log(sigmoid(0.75)) + math.log(sigmoid(-1.0))) / 2)
    assert metrics["margin"].item() == pytest.approx((0.75 - 1.0) / 2)
    assert metrics["accuracy"].item() == pytest.approx(0.5)
    assert metrics["no_preference"].item() == pytest.approx(1 / 3)
    assert metrics["logp/response"].item() == pytest.approx(-3.5)
    assert metrics["logp_gain/response"].item() == pytest.approx(0.25)


def test_preference_gradient_is_the_closed_form(batch: dict[str, Tensor]) -> None:
    loss, _ = preference(**batch, beta=BETA)
    loss.backward()
    # d loss / d log π(y') = -β σ(-margin) / rows, and the opposite for y; nothing where y' = y
    slope = [-BETA * sigmoid(-0.75) / 2, -BETA * sigmoid(1.0) / 2, 0.0]
    assert batch["edit"].grad.tolist() == pytest.approx(slope)
    assert batch["response"].grad.tolist() == pytest.approx([-value for value in slope])


def test_an_unedited_row_does_not_change_the_preference(batch: dict[str, Tensor]) -> None:
    with_it, _ = preference(**batch, beta=BETA)
    without, _ = preference(**{name: values[:2] for name, values in batch.items()}, beta=BETA)
    assert with_it.item() == pytest.approx(without.item())


def test_a_batch_without_edits_has_preference_loss_zero_and_a_gradient(batch: dict[str, Tensor]) -> None:
    nobody = batch | {"edited": torch.zeros(3, dtype=torch.bool)}
    loss, metrics = preference(**nobody, beta=BETA)
    loss.backward()
    assert loss.item() == 0.0
    assert batch["edit"].grad.tolist() == [0.0, 0.0, 0.0]
    assert metrics["no_preference"].item() == 1.0
    assert "margin" not in metrics and "accuracy" not in metrics
    assert all(value.isfinite() for value in metrics.values())


def test_rows_weigh_the_same_however_a_step_is_divided_into_batches(batch: dict[str, Tensor]) -> None:
    whole, _ = preference(**batch, beta=BETA, rows=2)
    parts = [
        preference(**{name: values[i : i + 1] for name, values in batch.items()}, beta=BETA, rows=2 / 3)[0]
        for i in range(3)
    ]
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item())


def test_extreme_margins_stay_finite(batch: dict[str, Tensor]) -> None:
    far = batch | {"edit": torch.tensor([-1e4, 0.0, -4.0], requires_grad=True)}
    loss, _ = preference(**far, beta=10.0)
    loss.backward()
    assert loss.isfinite() and far["edit"].grad.isfinite().all()


def test_early_ensemble_adds_its_terms_and_keeps_them_apart(batch: dict[str, Tensor]) -> None:
    loss, metrics = early_ensemble(**batch, beta=BETA, lambda_sup=0.3)
    pair_loss, _ = preference(**batch, beta=BETA)
    edit_loss, _ = supervised(batch["edit"], batch["ref_edit"])
    assert loss.item() == pytest.approx(pair_loss.item() + 0.3 * edit_loss.item())
    assert metrics["loss/preference"].item() == pytest.approx(pair_loss.item())
    assert metrics["loss/supervised"].item() == pytest.approx(edit_loss.item())


def test_early_ensemble_with_lambda_zero_is_preference(batch: dict[str, Tensor]) -> None:
    joint, _ = early_ensemble(**batch, beta=BETA, lambda_sup=0.0)
    alone, _ = preference(**batch, beta=BETA)
    assert joint.item() == alone.item()
