"""A decoder's lower layers, computed once for several passes that differ only above them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel


def find_decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of a causal language model, from the bottom.

    Raises:
        ValueError: it has no list of as many modules as its configuration has layers.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ValueError(f"{type(model).__name__} has no list of its {count} layers")


@contextmanager
def reuse_layer_outputs(layers: Sequence[nn.Module]) -> Iterator[None]:
    """While this lasts, layers are computed in the first pass, and in every later one give what the last of them gave.

    The passes must have the same input, and nothing in these layers may differ between them.

    Args:
        layers: the lowest of a decoder, from the bottom; none of them leaves every pass as it is.
    """
    if not layers:
        yield
        return
    kept: list[Any] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append(output)
        hook.remove()
        for layer in layers:
            layer.forward = again

    def again(*_: Any, **__: Any) -> Any:
        return kept[0]

    replaced = [layer.__dict__.get("forward") for layer in layers]
    hook = layers[-1].register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
        for layer, forward in zip(layers, replaced, strict=True):
            if forward is not None:
                layer.forward = forward
            else:
                layer.__dict__.pop("forward", None)  # what the class defines shows again
