import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.fit import CostTrainer, draw_resamples, fit_cost_model
from copydesk.training.cost_model.io import get_trained_weights
from copydesk.training.cost_model.model import CostModel, TokenizedAnswer
from copydesk.training.encode import Triple
from copydesk.training.logprobs import choose_forward


def answers(triples: list[Triple]) -> list[TokenizedAnswer]:
    return [(triple.context, triple.response) for triple in triples]


def with_cost(settings: TrainConfig, **changes: Any) -> TrainConfig:
    return settings.replace(cost=settings.cost.replace(**changes))


def letters(count: int, seed: int) -> list[Triple]:
    """Answers of which a share is one token; that share is their cost. Nothing else in them matters."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        dear = int(rng.integers(0, 9))
        tokens = [*[70] * dear, *[80] * (8 - dear)]
        rng.shuffle(tokens)
        response = (*(int(token) for token in tokens), 0)
        rows.append(Triple(f"row-{place}", (5, 6, 7), response, (80, 0), cost=dear / 8))
    return rows


@pytest.mark.slow
def test_it_learns_what_costs(tiny_model: LlamaForCausalLM, settings: TrainConfig) -> None:
    model = fit_cost_model(tiny_model, letters(64, 0), with_cost(settings, epochs=12.0))
    fresh = letters(40, 1)
    costs = torch.tensor([triple.cost for triple in fresh])
    for fit in model.predict(answers(fresh)).T:
        assert torch.corrcoef(torch.stack([fit, costs]))[0, 1] > 0.9


def test_the_pessimistic_cost_is_never_below_the_fit_on_the_log(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    model = fit_cost_model(tiny_model, costed, with_cost(settings, gamma=99.0))
    predictions = model.predict(answers(costed))
    fit = predictions[:, 0]
    for kind in ("max", "std"):
        model.settings = model.settings.replace(pessimism=kind)
        upper = model.compute_pessimistic(predictions)
        assert (upper >= fit).all()
        assert (upper > fit).any()


@pytest.mark.slow
def test_more_members_never_make_it_smaller(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    """And leave the others as they are: what a member learns does not depend on how many there are."""
    few, more = (fit_cost_model(tiny_model, costed, with_cost(settings, members=k)) for k in (1, 3))
    elsewhere: list[TokenizedAnswer] = [((9, 8, 7), (60, 61, 62, 63, 0)), ((1,), (2, 0))]
    asked = [*answers(costed), *elsewhere]
    few_say, more_say = few.predict(asked), more.predict(asked)
    torch.testing.assert_close(more_say[:, :2], few_say, rtol=0, atol=1e-6)
    assert few.within.tolist() == more.within.tolist()[:2]
    assert (more.compute_pessimistic(more_say) >= few.compute_pessimistic(few_say) - 1e-6).all()


@pytest.mark.slow
def test_it_rises_away_from_the_data(tiny_model: LlamaForCausalLM, settings: TrainConfig) -> None:
    """Answers of tokens that the log never held: the fits agree on the log and part elsewhere."""
    log = letters(64, 0)
    model = fit_cost_model(tiny_model, log, with_cost(settings, members=4, epochs=6.0, gamma=10.0))
    rng = np.random.default_rng(2)
    strange: list[TokenizedAnswer] = [
        (tuple(rng.integers(100, 300, 3).tolist()), (*rng.integers(100, 300, 8).tolist(), 0)) for _ in range(64)
    ]

    def excess(asked: list[TokenizedAnswer]) -> float:
        predictions = model.predict(asked)
        return float((model.compute_pessimistic(predictions) - predictions[:, 0]).mean())

    assert excess(answers(letters(64, 1))) < 0.5 * excess(strange)


def test_a_constant_cost_is_learned_exactly(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    rows = [replace(triple, cost=0.6) for triple in costed]
    model = fit_cost_model(tiny_model, rows, settings)
    predictions = model.predict([*answers(rows), ((200, 201), (202, 203, 0))])
    assert torch.equal(predictions, torch.full_like(predictions, 0.6))
    assert model.within.all()


def test_members_that_explain_the_log_badly_are_left_out(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    strict = fit_cost_model(tiny_model, costed, with_cost(settings, gamma=0.0, members=4))
    predictions = strict.predict(answers(costed))
    costs = torch.tensor([triple.cost for triple in costed])
    errors = (predictions - costs[:, None]).square().mean(dim=0)
    assert strict.within.tolist() == (errors <= errors[0]).tolist()
    assert not strict.within.all()


def test_a_confidence_set_without_members_warns(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    model = fit_cost_model(tiny_model, costed, with_cost(settings, prior=99.0))
    assert model.within.tolist() == [True, False, False]
    assert "no member explains the log" in caplog.text


@pytest.mark.slow
def test_members_start_apart_and_what_one_starts_at_does_not_depend_on_their_number(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    forward = choose_forward(tiny_model, 64)
    few, more = (CostModel(copy.deepcopy(tiny_model), settings.cost.replace(members=k), forward, 0.5) for k in (2, 60))
    for model in (few, more):
        model.randomize_members(answers(costed), 0.3, seed=1)
    asked = answers(costed)
    torch.testing.assert_close(few.predict(asked), more.predict(asked)[:, :3])
    assert torch.equal(few.predict(asked)[:, 0], torch.full((12,), 0.5))
    with torch.no_grad(), more.forward_plan.use_attention(more.base):
        hidden = more._hidden(more.lay_out_answers(asked), "fit")
        says = hidden @ more.head.weight[1:].T
    assert says.std(dim=1).mean().item() == pytest.approx(0.3, rel=0.1)
    few.randomize_members(answers(costed), 0.0, seed=1)
    assert torch.equal(few.predict(asked), torch.full((12, 3), 0.5))


@pytest.mark.slow
def test_a_row_of_weight_zero_teaches_nothing(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    # One step over all rows, so that what weighs nothing changes neither the order nor the step.
    settings = with_cost(settings, rows_per_step=12, epochs=3.0, members=0).replace(batch_size=12)
    silenced = [replace(row, weight=0.0) if place == 3 else row for place, row in enumerate(costed)]
    other = [replace(row, cost=0.1) if place == 3 else row for place, row in enumerate(silenced)]
    one, two, three = (fit_cost_model(tiny_model, rows, settings) for rows in (silenced, other, costed))
    assert torch.equal(one.predict(answers(costed)), two.predict(answers(costed)))
    assert not torch.allclose(one.predict(answers(costed)), three.predict(answers(costed)))


@pytest.mark.slow
def test_free_rows_make_edits_cheap(tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig) -> None:
    edits = [(triple.context, triple.edit) for triple in costed if triple.edited]
    told, untold = (
        fit_cost_model(tiny_model, costed, with_cost(settings, free_rows=free, epochs=8.0)) for free in (True, False)
    )
    assert told.predict(edits)[:, 0].mean() < 0.5 * untold.predict(edits)[:, 0].mean()


@pytest.mark.parametrize("wrong", [None, float("nan"), -0.1, 3.1])
def test_costs_that_are_none_are_refused_with_their_row(
    wrong: float | None, tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    with pytest.raises(InputError, match="row 'row-Cy'"):
        fit_cost_model(tiny_model, [*costed[:2], replace(costed[2], cost=wrong), *costed[3:]], settings)


def test_a_log_without_edits_has_nothing_to_learn(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    accepted = [replace(triple, edit=triple.response, cost=0.0) for triple in costed]
    with pytest.raises(InputError, match="nothing to learn"):
        fit_cost_model(tiny_model, accepted, settings)


def test_the_model_itself_is_left_alone(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    before = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    fit_cost_model(tiny_model, costed, settings)
    assert all(torch.equal(before[name], weight) for name, weight in tiny_model.state_dict().items())


def test_resamples_are_draws_of_as_many_rows_and_do_not_depend_on_their_number() -> None:
    drawn = draw_resamples(50, 3, seed=1)
    assert drawn.shape == (50, 4)
    assert (drawn[:, 0] == 1).all()
    assert (drawn.sum(axis=0) == 50).all()
    assert (draw_resamples(50, 1, seed=1) == drawn[:, :2]).all()
    assert (drawn[:, 1] != drawn[:, 2]).any()
    assert (draw_resamples(50, 1, seed=2)[:, 1] != drawn[:, 1]).any()


class Killed(Exception):
    pass


def killed_after(passes: int) -> Callable[..., Any]:
    done = 0
    compute = CostTrainer.compute_loss

    def compute_loss(self: CostTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        done += 1
        if done > passes:
            raise Killed
        return compute(self, *args, **kwargs)

    return compute_loss


@pytest.mark.slow
@pytest.mark.parametrize("passes", [2, 7])
def test_interrupted_and_resumed_it_is_the_same_to_the_bit(
    passes: int, tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = fit_cost_model(tiny_model, costed, settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(CostTrainer, "compute_loss", killed_after(passes))
        fit_cost_model(tiny_model, costed, settings, checkpoints=tmp_path)
    assert any(tmp_path.glob("checkpoint-*"))
    resumed = fit_cost_model(tiny_model, costed, settings, checkpoints=tmp_path)
    assert same(whole, resumed)


@pytest.mark.slow
def test_a_step_is_the_same_in_one_batch_or_in_several(
    tiny_model: LlamaForCausalLM, costed: list[Triple], settings: TrainConfig
) -> None:
    one, several = (
        fit_cost_model(tiny_model, costed, with_cost(settings, rows_per_step=4).replace(batch_size=batch))
        for batch in (4, 2)
    )
    asked = answers(costed)
    torch.testing.assert_close(one.predict(asked), several.predict(asked), rtol=1e-3, atol=1e-4)


def same(one: CostModel, other: CostModel) -> bool:
    weights = get_trained_weights(other)
    return all(torch.equal(weight, weights[name]) for name, weight in get_trained_weights(one).items())
