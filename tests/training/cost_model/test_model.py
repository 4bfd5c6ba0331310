from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from tests.support.small_models import FAMILIES, make
from torch import nn
from transformers import PreTrainedModel

import copydesk.training.cost_model.model as subject
from copydesk.training.config import CostModelConfig
from copydesk.training.cost_model.model import CostModel, TokenizedAnswer
from copydesk.training.logprobs import ForwardPlan, choose_forward

ANSWERS: list[TokenizedAnswer] = [
    (tuple(range(1, 8)), (20, 21, 22, 0)),
    (tuple(range(30, 35)), (40, 41, 0)),
    ((50, 51), tuple(range(60, 70))),
]


def built(family: str = "llama", members: int = 2, layers: float = 0.5, **kwargs: float) -> CostModel:
    """A cost model whose fits all say something else."""
    base = make(family)
    settings = CostModelConfig(members=members, layers=layers, lora_r=2, **kwargs)
    model = CostModel(base, settings, choose_forward(base, 20), initial_cost=0.7)
    return model


def shaken(model: CostModel) -> CostModel:
    torch.manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name or name.startswith("head."):
                weight.add_(0.3 * torch.randn_like(weight))
    return model


def alone(base: PreTrainedModel, model: CostModel, place: int, answer: TokenizedAnswer) -> float:
    """What a fit says by definition: one sequence, its own adapter, the mean over the answer's tokens."""
    for module in model._adapter_layers:
        module.set_adapter(model.fit_names[place])
    ids = torch.tensor([[*answer[0], *answer[1]]])
    hidden = base.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, len(answer[0]) :]
    values = hidden @ model.head.weight[place] + model.head.bias[place] + model.initial_cost
    return float(values.mean().clamp(0, model.settings.c_max))


@pytest.mark.parametrize("layers", [0.5, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prediction_is_the_mean_over_the_answer_whatever_is_beside_it(family: str, layers: float) -> None:
    model = shaken(built(family, layers=layers))
    predictions = model.predict(ANSWERS)
    assert len(model._shared_layers) == (1 if layers == 0.5 else 0)
    with torch.no_grad():
        expected = [[alone(model.base, model, place, answer) for place in range(3)] for answer in ANSWERS]
    torch.testing.assert_close(predictions, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.predict(ANSWERS, batch_size=1), predictions, rtol=1e-4, atol=1e-5)
    assert (predictions[:, 0] != predictions[:, 1]).any()


def test_before_training_it_predicts_the_mean() -> None:
    assert built().predict(ANSWERS).tolist() == [[pytest.approx(0.7)] * 3] * 3


def test_predictions_stay_between_nothing_and_the_largest_cost() -> None:
    model = built(c_max=2.0)
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([-1.0, 9.0, 0.3]))
    assert model.predict(ANSWERS[:1]).tolist() == [[0.0, 2.0, pytest.approx(1.0)]]


def test_only_upper_adapters_and_the_head_are_trained() -> None:
    model = built()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    model.train()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all(name.startswith("head.") or (".layers.1." in name and ".lora_" in name) for name in trained)
    batch = model.lay_out_answers(ANSWERS)
    with model.forward_plan.use_attention(model.base):
        model(batch, 3).sum().backward()
    # B starts at 0 and so does the head; what moves first is the head.
    assert model.head.weight.grad is not None and (model.head.weight.grad != 0).all()
    assert all(weight.requires_grad for name, weight in model.named_parameters() if name in trained)
    model.eval()
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


def test_each_fits_gradient_reaches_its_own_adapter_alone() -> None:
    model = shaken(built())
    model.train()
    with model.forward_plan.use_attention(model.base):
        model(model.lay_out_answers(ANSWERS), 3)[:, 1].sum().backward()
    moved = {name for name, w in model.named_parameters() if w.grad is not None and ".lora_" in name and w.grad.any()}
    assert moved and all("member_1" in name for name in moved)


def test_where_starting_from_the_lower_layers_is_not_exact_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def off_by_a_little(layers: Sequence[nn.Module]) -> Iterator[None]:
        hooks = [layer.register_forward_hook(lambda *call: call[2] + torch.rand(1)) for layer in layers]
        yield
        for hook in hooks:
            hook.remove()

    monkeypatch.setattr(subject, "reuse_layer_outputs", off_by_a_little)
    model = built()
    assert model._shared_layers == []
    monkeypatch.undo()
    torch.testing.assert_close(shaken(model).predict(ANSWERS), shaken(built()).predict(ANSWERS))


def test_separate_rows_give_the_same() -> None:
    model = shaken(built())
    packed = model.predict(ANSWERS)
    model.forward_plan = ForwardPlan(layout="separate", fused=False)
    torch.testing.assert_close(model.predict(ANSWERS), packed, rtol=1e-4, atol=1e-5)
