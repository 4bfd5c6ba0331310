import math
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from copydesk.training import objectives
from copydesk.training.config import PreferenceForm
from copydesk.training.encode import Triple
from copydesk.training.objectives import (
    compute_dpop_loss,
    compute_early_ensemble_loss,
    compute_ipo_loss,
    compute_offline_cost_loss,
    compute_preference_loss,
    compute_robust_loss,
    compute_supervised_loss,
    soft_min_value,
)

BETA = 0.5
FORMS: tuple[PreferenceForm, ...] = get_args(PreferenceForm)
Batch = dict[str, Tensor]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def batch() -> Batch:
    return {
        "edit": torch.tensor([-3.0, -10.0, -4.0], requires_grad=True),
        "response": torch.tensor([-5.0, -2.0, -4.0], requires_grad=True),
        "ref_edit": torch.tensor([-4.0, -9.0, -5.0]),
        "ref_response": torch.tensor([-4.5, -3.0, -5.0]),
        "edited": torch.tensor([True, True, False]),
    }


def cut(batch: Batch, rows: slice) -> Batch:
    return {name: values[rows] for name, values in batch.items()}


# --- supervised ---


def test_supervised_is_the_mean_negative_log_probability_of_the_edits(batch: Batch) -> None:
    loss, metrics = compute_supervised_loss(batch["edit"], batch["ref_edit"])
    loss.backward()
    assert loss.item() == pytest.approx(17 / 3)
    assert batch["edit"].grad.tolist() == pytest.approx([-1 / 3] * 3)
    assert metrics["loss/supervised"].tolist() == [3.0, 10.0, 4.0]
    assert metrics["logp/edit"].tolist() == [-3.0, -10.0, -4.0]
    assert metrics["logp_gain/edit"].tolist() == [1.0, -1.0, 1.0]
    assert "kl" not in metrics, "y is not scored"


def test_supervised_weighs_rows(batch: Batch) -> None:
    loss, _ = compute_supervised_loss(batch["edit"], batch["ref_edit"], weights=torch.tensor([2.0, 0.0, 0.5]))
    loss.backward()
    assert loss.item() == pytest.approx((2 * 3 + 0.5 * 4) / 2.5)
    assert batch["edit"].grad.tolist() == pytest.approx([-2 / 2.5, 0.0, -0.5 / 2.5])


# --- preference ---


def test_preference_by_hand(batch: Batch) -> None:
    # gains of y': +1, -1, +1; of y: -0.5, +1, +1; margins: 0.5 * 1.5 and 0.5 * -2
    loss, metrics = compute_preference_loss(**batch, beta=BETA)
    terms = [-math.log(sigmoid(0.75)), -math.log(sigmoid(-1.0))]
    assert loss.item() == pytest.approx(sum(terms) / 2)
    nan = pytest.approx(math.nan, nan_ok=True)
    assert metrics["loss/preference"].tolist() == [pytest.approx(terms[0]), pytest.approx(terms[1]), nan]
    assert metrics["margin"].tolist() == [0.75, -1.0, nan]
    assert metrics["accuracy"].tolist() == [1.0, 0.0, nan]
    assert metrics["no_preference"].tolist() == [0.0, 0.0, 1.0]
    assert metrics["logp/edit"].tolist() == [-3.0, -10.0, -4.0]
    assert metrics["logp/response"].tolist() == [-5.0, -2.0, nan]
    assert metrics["logp_gain/edit"].tolist() == [1.0, -1.0, 1.0]
    assert metrics["logp_gain/preferred"].tolist() == [1.0, -1.0, nan]
    assert metrics["logp_gain/response"].tolist() == [-0.5, 1.0, nan]
    assert metrics["kl"].tolist() == [0.5, -1.0, -1.0]
    assert not any(values.requires_grad for values in metrics.values())


def test_preference_gradient_is_the_closed_form(batch: Batch) -> None:
    loss, _ = compute_preference_loss(**batch, beta=BETA)
    loss.backward()
    # d loss / d log π(y') = -β σ(-margin) / rows, and the opposite for y; nothing where y' = y
    slope = [-BETA * sigmoid(-0.75) / 2, -BETA * sigmoid(1.0) / 2, 0.0]
    assert batch["edit"].grad.tolist() == pytest.approx(slope)
    assert batch["response"].grad.tolist() == pytest.approx([-value for value in slope])


@pytest.mark.parametrize("form", FORMS)
def test_an_unedited_row_does_not_change_the_preference(batch: Batch, form: PreferenceForm) -> None:
    with_it, _ = compute_preference_loss(**batch, beta=BETA, form=form)
    without, _ = compute_preference_loss(**cut(batch, slice(2)), beta=BETA, form=form)
    assert with_it.item() == pytest.approx(without.item())


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_without_edits_has_preference_loss_zero_and_a_gradient(batch: Batch, form: PreferenceForm) -> None:
    nobody = batch | {"edited": torch.zeros(3, dtype=torch.bool)}
    loss, metrics = compute_preference_loss(**nobody, beta=BETA, form=form)
    (loss * 1e6).backward()  # as trainers scale losses
    assert loss.item() == 0.0
    assert batch["edit"].grad.tolist() == batch["response"].grad.tolist() == [0.0, 0.0, 0.0]
    assert metrics["no_preference"].tolist() == [1.0, 1.0, 1.0]
    assert metrics["margin"].isnan().all() and metrics["kl"].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_what_an_unedited_rows_response_holds_does_not_matter(batch: Batch, form: PreferenceForm) -> None:
    plain, about_plain = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=1.0, form=form)
    odd = batch | {"response": torch.tensor([-5.0, -2.0, math.inf], requires_grad=True)}
    odd |= {"edit": batch["edit"].detach().clone().requires_grad_()}
    loss, about_odd = compute_early_ensemble_loss(**odd, beta=BETA, lambda_sup=1.0, form=form)
    plain.backward()
    loss.backward()
    assert loss.item() == plain.item()
    for name in ("edit", "response"):
        torch.testing.assert_close(odd[name].grad, batch[name].grad, rtol=0, atol=0)
    torch.testing.assert_close(about_odd, about_plain, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("held", [0.0, -7.0, math.inf, math.nan])
def test_a_row_of_weight_zero_adds_nothing(batch: Batch, form: PreferenceForm, held: float) -> None:
    whole = {name: torch.cat([values.detach(), torch.ones(1)]) for name, values in batch.items() if name != "edited"}
    for values in whole.values():
        values[-1] = held
    whole["edited"] = torch.tensor([True, True, False, True])
    whole["edit"].requires_grad_()
    loss, metrics = compute_early_ensemble_loss(
        **whole, beta=BETA, lambda_sup=0.7, form=form, weights=torch.tensor([1.0, 1.0, 1.0, 0.0])
    )
    expected, _ = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.7, form=form)
    loss.backward()
    expected.backward()
    assert loss.item() == expected.item()
    assert whole["edit"].grad.tolist() == [*batch["edit"].grad.tolist(), 0.0]
    assert all(values[-1].isnan() for values in metrics.values())


def test_a_batch_of_padding_has_loss_zero_and_a_gradient(batch: Batch) -> None:
    loss, _ = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=1.0, weights=torch.zeros(3))
    loss.backward()
    assert loss.item() == 0.0 and batch["edit"].grad.tolist() == [0.0, 0.0, 0.0]
    nothing, _ = compute_early_ensemble_loss(
        **batch, beta=BETA, lambda_sup=1.0, weights=torch.zeros(3), rows=0.0, pairs=0.0
    )
    assert nothing.item() == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_weight_two_counts_like_two_rows(batch: Batch, form: PreferenceForm) -> None:
    doubled, _ = compute_early_ensemble_loss(
        **batch, beta=BETA, lambda_sup=0.7, form=form, weights=torch.tensor([2.0, 1.0, 1.0])
    )
    twice = {name: torch.cat([values[:1], values]) for name, values in batch.items()}
    assert doubled.item() == pytest.approx(
        compute_early_ensemble_loss(**twice, beta=BETA, lambda_sup=0.7, form=form)[0].item()
    )


@given(st.integers(0, 2**31), st.lists(st.integers(0, 12), max_size=4), st.sampled_from(FORMS))
def test_a_step_is_the_same_however_it_is_divided_into_batches(
    seed: int, cuts: list[int], form: PreferenceForm
) -> None:
    generator = torch.Generator().manual_seed(seed)
    step = {name: -5 * torch.rand(12, generator=generator) for name in ("edit", "response", "ref_edit", "ref_response")}
    step |= {"edited": torch.rand(12, generator=generator) < 0.5, "weights": torch.rand(12, generator=generator)}
    step["edit"].requires_grad_()
    options = {"beta": BETA, "lambda_sup": 0.7, "form": form, "label_noise": 0.1}
    whole, _ = compute_early_ensemble_loss(**step, **options)
    weights = step["weights"]
    rows, pairs = weights.sum().item(), weights[step["edited"]].sum().item()
    edges = [0, *sorted(cuts), 12]
    parts = [
        compute_early_ensemble_loss(**cut(step, slice(start, end)), **options, rows=rows, pairs=torch.tensor(pairs))[0]
        for start, end in pairwise(edges)
    ]
    assert torch.stack(parts).sum().item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(torch.stack(parts).sum(), step["edit"]), torch.autograd.grad(whole, step["edit"])
    )


@pytest.mark.parametrize("form", FORMS)
def test_extreme_margins_stay_finite(batch: Batch, form: PreferenceForm) -> None:
    far = batch | {"edit": torch.tensor([-1e4, 0.0, -4.0], requires_grad=True)}
    loss, _ = compute_preference_loss(**far, beta=10.0, form=form, label_noise=0.4)
    loss.backward()
    assert loss.isfinite() and far["edit"].grad.isfinite().all()


@pytest.mark.parametrize(
    ("form", "rowwise"),
    [
        ("sigmoid", lambda h, drop: objectives.compute_sigmoid_loss(h, BETA)),
        ("ipo", lambda h, drop: compute_ipo_loss(h, BETA)),
        ("robust", lambda h, drop: compute_robust_loss(h, BETA, 0.2)),
        ("dpop", lambda h, drop: compute_dpop_loss(h, drop, BETA, 3.0)),
    ],
)
def test_the_form_decides_what_a_pair_costs(
    batch: Batch, form: PreferenceForm, rowwise: Callable[[Tensor, Tensor], Tensor]
) -> None:
    loss, metrics = compute_preference_loss(**batch, beta=BETA, form=form, label_noise=0.2, dpop_penalty=3.0)
    rows = rowwise(torch.tensor([1.5, -2.0]), torch.tensor([-1.0, 1.0]))
    assert loss.item() == pytest.approx(rows.mean().item())
    assert metrics["loss/preference"][:2].tolist() == pytest.approx(rows.tolist())
    assert metrics["margin"][:2].tolist() == [0.75, -1.0]


# --- the four forms ---


def test_ipo_is_least_at_its_target() -> None:
    h = torch.tensor([0.0, 1 / (2 * 0.1), 7.0], requires_grad=True)
    losses = compute_ipo_loss(h, beta=0.1)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([25.0, 0.0, 4.0])
    assert h.grad.tolist() == pytest.approx([-10.0, 0.0, 4.0])


def test_robust_undoes_flipped_rows_in_the_mean() -> None:
    h, noise = torch.tensor([-3.0, 0.0, 0.4, 8.0]), 0.3
    as_logged = (1 - noise) * compute_robust_loss(h, BETA, noise) + noise * compute_robust_loss(-h, BETA, noise)
    torch.testing.assert_close(as_logged, objectives.compute_sigmoid_loss(h, BETA))
    torch.testing.assert_close(compute_robust_loss(h, BETA, 0.0), objectives.compute_sigmoid_loss(h, BETA))


def test_robust_has_no_least_value() -> None:
    h = torch.tensor([200.0], requires_grad=True)
    loss = compute_robust_loss(h, BETA, 0.1)
    loss.backward()
    assert loss.item() < 0
    assert h.grad.item() == pytest.approx(-BETA * 0.1 / 0.8)


def test_dpop_by_hand() -> None:
    h, drop = torch.tensor([2.0, 2.0]), torch.tensor([0.5, -0.5])
    expected = [-math.log(sigmoid(0.3 * (2.0 - 50 * 0.5))), -math.log(sigmoid(0.3 * 2.0))]
    assert compute_dpop_loss(h, drop, beta=0.3, penalty=50.0).tolist() == pytest.approx(expected)


def test_dpop_pulls_a_displaced_edit_back_up() -> None:
    # Both answers lost, y more: plain DPO would let y' fall further if y falls faster; the pull at y' is 1 + λ of it.
    edit, response = torch.tensor([-6.0], requires_grad=True), torch.tensor([-9.0], requires_grad=True)
    terms = (edit, response, torch.tensor([-5.0]), torch.tensor([-5.0]), torch.tensor([True]))
    loss, _ = compute_preference_loss(*terms, beta=BETA, form="dpop", dpop_penalty=4.0)
    loss.backward()
    assert edit.grad.item() == pytest.approx(-BETA * 5.0 * sigmoid(-BETA * (3.0 - 4.0)))
    assert edit.grad.item() == pytest.approx(-5.0 * response.grad.item())


def test_dpop_begins_as_sigmoid() -> None:
    edit = torch.tensor([-5.0], requires_grad=True)
    compute_dpop_loss(edit + 5.0, -5.0 - edit, BETA, 50.0).sum().backward()
    assert edit.grad.item() == pytest.approx(-BETA / 2)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(form: PreferenceForm) -> None:
    torch.manual_seed(0)
    edit, response, ref_edit, ref_response = (-5 * torch.rand(6, dtype=torch.float64) for _ in range(4))
    edited, weights = torch.tensor([True] * 5 + [False]), torch.rand(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda edit, response: compute_early_ensemble_loss(
            edit,
            response,
            ref_edit,
            ref_response,
            edited,
            beta=BETA,
            lambda_sup=0.7,
            form=form,
            label_noise=0.2,
            dpop_penalty=3.0,
            weights=weights,
        )[0],
        (edit.requires_grad_(), response.requires_grad_()),
    )


# --- against TRL ---


def trl_loss(batch: Batch, form: str, tokens: int, label_noise: float) -> Tensor:
    """The loss of TRL's `DPOTrainer` on log-probabilities spread evenly over `tokens` tokens of every answer."""
    trl = pytest.importorskip("trl", reason="TRL is the reference implementation of DPO")
    logps = torch.cat([batch["edit"], batch["response"]])
    per_token = (logps / tokens)[:, None].expand(-1, tokens)
    nothing = torch.zeros_like(per_token)
    mask = torch.cat([torch.zeros(len(logps), 1), torch.ones(len(logps), tokens)], dim=1).long()
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
        loss_types=[form],
        loss_weights=[1.0],
        beta=BETA,
        label_smoothing=label_noise,
        f_divergence_type="reverse_kl",
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        use_weighting=False,
        ld_alpha=None,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": batch["ref_edit"],
        "ref_rejected_logps": batch["ref_response"],
    }
    outputs = SimpleNamespace(log_probs=per_token, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    loss: Tensor = trl.DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return loss


@pytest.mark.parametrize(("form", "tokens"), [("sigmoid", 3), ("robust", 3), ("ipo", 1)])
def test_loss_and_gradient_are_trls(batch: Batch, form: PreferenceForm, tokens: int) -> None:
    pairs = cut(batch, slice(2))
    ours, _ = compute_preference_loss(**pairs, beta=BETA, form=form, label_noise=0.2)
    theirs = trl_loss(pairs, form, tokens, label_noise=0.2)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    inputs = (batch["edit"], batch["response"])
    torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs))


def test_ipo_sums_over_tokens_where_trl_averages(batch: Batch) -> None:
    pairs = cut(batch, slice(2))
    differences = torch.tensor([1.5, -2.0])
    assert compute_preference_loss(**pairs, beta=BETA, form="ipo")[0].item() == pytest.approx(
        ((differences - 1) ** 2).mean().item()
    )
    averaged = ((differences / 3 - 1) ** 2).mean().item()
    assert trl_loss(pairs, "ipo", tokens=3, label_noise=0.0).item() == pytest.approx(averaged)


# --- early ensemble ---


@pytest.mark.parametrize("form", FORMS)
def test_early_ensemble_adds_its_terms_and_keeps_them_apart(batch: Batch, form: PreferenceForm) -> None:
    weights = torch.tensor([1.0, 3.0, 0.5])
    options = {"beta": BETA, "form": form, "label_noise": 0.2, "dpop_penalty": 3.0, "weights": weights}
    loss, metrics = compute_early_ensemble_loss(**batch, **options, lambda_sup=0.3)
    pair_loss, about_pairs = compute_preference_loss(**batch, **options)
    edit_loss, about_edits = compute_supervised_loss(batch["edit"], batch["ref_edit"], weights=weights)
    assert loss.item() == pytest.approx(pair_loss.item() + 0.3 * edit_loss.item())
    torch.testing.assert_close(metrics, about_edits | about_pairs, equal_nan=True)


def test_early_ensemble_divides_each_term_by_its_own_total(batch: Batch) -> None:
    loss, _ = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.3, rows=10.0, pairs=4.0)
    pair_loss, _ = compute_preference_loss(**batch, beta=BETA, rows=4.0)
    edit_loss, _ = compute_supervised_loss(batch["edit"], batch["ref_edit"], rows=10.0)
    assert edit_loss.item() == pytest.approx(1.7)
    assert loss.item() == pytest.approx(pair_loss.item() + 0.3 * 1.7)


def test_early_ensemble_with_lambda_zero_is_preference(batch: Batch) -> None:
    joint, _ = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.0)
    alone, _ = compute_preference_loss(**batch, beta=BETA)
    assert joint.item() == alone.item()


# --- the cost term ---

COSTS = torch.tensor([0.9, 0.2, 0.0])


def test_the_cost_term_by_hand(batch: Batch) -> None:
    loss, metrics = compute_offline_cost_loss(
        batch["response"], batch["ref_response"], COSTS, beta=BETA, baseline_value=0.3
    )
    # Log-ratios of y: -0.5, 1, 1.
    residuals = [0.9 - 0.25 - 0.3, 0.2 + 0.5 - 0.3, 0.0 + 0.5 - 0.3]
    assert metrics["loss/cost"].tolist() == pytest.approx([r**2 / (2 * BETA) for r in residuals])
    assert loss.item() == pytest.approx(sum(r**2 for r in residuals) / 3)
    loss.backward()
    assert batch["response"].grad.tolist() == pytest.approx([r / 3 for r in residuals])


def test_at_the_reference_its_gradient_is_that_of_policy_optimisation() -> None:
    """For a softmax over four responses: E[(c - V) grad log pi] over all y, weighed by how likely they are."""
    logits = torch.tensor([0.5, -1.0, 0.2, 0.0], dtype=torch.float64, requires_grad=True)
    costs = torch.tensor([0.1, 0.9, 0.4, 0.0], dtype=torch.float64)
    log_pi = logits.log_softmax(0)
    reference = log_pi.detach()
    term, _ = compute_offline_cost_loss(
        log_pi, reference, costs, beta=0.1, baseline_value=0.05, weights=reference.exp()
    )
    (ours,) = torch.autograd.grad(term, logits, retain_graph=True)
    (policy_gradient,) = torch.autograd.grad((log_pi.exp() * costs).sum(), logits)
    torch.testing.assert_close(ours, policy_gradient)


def test_its_minimum_is_the_optimal_policy() -> None:
    logits = torch.tensor([0.5, -1.0, 0.2, 0.0], dtype=torch.float64)
    costs = torch.tensor([0.1, 0.9, 0.4, 0.0], dtype=torch.float64)
    beta, reference = 0.3, logits.log_softmax(0)
    value = float(-beta * torch.logsumexp(reference - costs / beta, 0))
    free = logits.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([free], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, _ = compute_offline_cost_loss(
            free.log_softmax(0), reference, costs, beta=beta, baseline_value=value, weights=reference.exp()
        )
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    optimum = reference + (value - costs) / beta
    assert optimum.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(free.detach().log_softmax(0), optimum, atol=1e-5, rtol=1e-5)


def test_soft_minimum_lies_between_the_least_and_the_mean_cost() -> None:
    rows = [Triple("", (1,), (2,), (3,), weight, cost) for weight, cost in ((1.0, 0.2), (2.0, 0.8), (0.0, 0.0))]
    assert soft_min_value(rows, 1e-3) == pytest.approx(0.2 + 1e-3 * math.log(3), abs=1e-6)
    assert soft_min_value(rows, 1e4) == pytest.approx(0.6, abs=1e-4)
    by_hand = -0.5 * math.log((math.exp(-0.4) + 2 * math.exp(-1.6)) / 3)
    assert soft_min_value(rows, 0.5) == pytest.approx(by_hand)


def test_without_the_cost_term_the_early_ensemble_is_the_papers_to_the_bit(batch: Batch) -> None:
    paper, metrics = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.7)
    ours, same = compute_early_ensemble_loss(
        **batch, beta=BETA, lambda_sup=0.7, lambda_cost=0.0, costs=COSTS, baseline_value=0.3
    )
    assert torch.equal(paper, ours)
    assert metrics.keys() == same.keys()


def test_with_it_the_term_is_added_and_kept_apart(batch: Batch) -> None:
    paper, _ = compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.7)
    term, _ = compute_offline_cost_loss(batch["response"], batch["ref_response"], COSTS, beta=BETA, baseline_value=0.3)
    loss, metrics = compute_early_ensemble_loss(
        **batch, beta=BETA, lambda_sup=0.7, lambda_cost=2.0, costs=COSTS, baseline_value=0.3
    )
    assert loss.item() == pytest.approx((paper + 2.0 * term).item())
    assert {"loss/cost", "loss/preference", "loss/supervised"} <= metrics.keys()
    with pytest.raises(ValueError, match="cost"):
        compute_early_ensemble_loss(**batch, beta=BETA, lambda_sup=0.7, lambda_cost=2.0)


@pytest.mark.parametrize("held", [math.nan, math.inf])
def test_a_row_of_weight_zero_adds_no_cost(batch: Batch, held: float) -> None:
    weights = torch.tensor([1.0, 1.0, 0.0])
    response = torch.cat([batch["response"][:2], torch.tensor([held])])
    loss, metrics = compute_offline_cost_loss(
        response, batch["ref_response"], COSTS, beta=BETA, baseline_value=0.3, weights=weights
    )
    two, _ = compute_offline_cost_loss(
        batch["response"][:2], batch["ref_response"][:2], COSTS[:2], beta=BETA, baseline_value=0.3
    )
    assert loss.item() == pytest.approx(two.item())
    assert metrics["loss/cost"].isnan().tolist() == [False, False, True]
