import pytest
import torch
from tests.support.small_models import FAMILIES, make
from torch import nn

from copydesk.training.cost_model.model import find_decoder_layers, reuse_layer_outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_are_computed_once_and_the_result_is_the_same(family: str) -> None:
    model = make(family)
    layers = find_decoder_layers(model)
    assert len(layers) == 2
    ids = torch.randint(1, 90, (2, 9))
    with torch.no_grad():
        expected = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    # The mark of a layer that is really computed: its attention runs.
    attention = next(module for name, module in layers[0].named_modules() if name.endswith("attn"))
    attention.register_forward_hook(count)
    with torch.no_grad(), reuse_layer_outputs(layers[:1]):
        for _ in range(3):
            torch.testing.assert_close(model.base_model(input_ids=ids, use_cache=False).last_hidden_state, expected)
    assert calls == 1


def test_afterwards_the_layers_are_what_they_were() -> None:
    model = make("llama")
    layers = find_decoder_layers(model)
    one, other = torch.randint(1, 90, (1, 5)), torch.randint(1, 90, (1, 7))
    with torch.no_grad():
        before = model(input_ids=one).logits
        with pytest.raises(KeyError), reuse_layer_outputs(layers[:1]):
            model(input_ids=other)
            raise KeyError
        torch.testing.assert_close(model(input_ids=one).logits, before)
    assert "forward" not in layers[0].__dict__
    with reuse_layer_outputs([]):
        pass


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    model = make("llama")
    model.config.num_hidden_layers = 7
    with pytest.raises(ValueError, match="7 layers"):
        find_decoder_layers(model)
    assert isinstance(model.model.layers, nn.ModuleList)
