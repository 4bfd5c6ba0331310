"""How many multiplications DPO on edits costs with Copydesk and with TRL."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

Row = Mapping[str, Sequence[int]]
"""`context`, `response` and `edit` as token ids."""


class Shape(NamedTuple):
    """What decides how many multiplications a Llama costs.

    Attributes:
        body: weights in the layers' matrices.
        attention: layers x query heads x size of a head.
        head: weights of the output layer, width x vocabulary.
    """

    body: int
    attention: int
    head: int


class Work(NamedTuple):
    """What one side computes with the rows of some optimizer steps.

    Attributes:
        tokens: that go through the layers.
        pairs: of a query and a key.
        scored: tokens whose logits are computed in the forward pass.
        learned: tokens whose logits get a gradient.
    """

    tokens: int
    pairs: int
    scored: int
    learned: int


def shape_of(config: Mapping[str, Any]) -> Shape:
    """From a Llama's config.json."""
    width, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    size = config.get("head_dim") or width // heads
    queries, keys = heads * size, (config.get("num_key_value_heads") or heads) * size
    layer = width * (2 * queries + 2 * keys + 3 * config["intermediate_size"])
    return Shape(layers * layer, layers * queries, width * config["vocab_size"])


def our_work(rows: Sequence[Row]) -> Work:
    """A row is x, what y and y' have in common at their beginning, and their two rests; nothing is padded.

    Attention goes run by run, as on CPU: the trunk to itself, each rest to the trunk and itself.
    The common beginning is scored, for the metrics, but cancels in DPO's loss, so that nothing is learned from it.
    """
    tokens = pairs = scored = learned = 0
    for row in rows:
        common = common_beginning(row["response"], row["edit"])
        trunk = len(row["context"]) + common
        rests = [len(row[answer]) - common for answer in ("response", "edit")]
        tokens += trunk + sum(rests)
        pairs += trunk**2 + sum(rest * (trunk + rest) for rest in rests)
        scored += common + sum(rests)
        learned += sum(rests)
    return Work(tokens, pairs, scored, learned)


def trl_work(rows: Sequence[Row], micro: int, *, every_position: bool = True) -> Work:
    """A row is x and y', then x and y; all are padded to the longest of the forward pass.

    Args:
        rows: in order.
        micro: rows of a forward pass.
        every_position: TRL scores context and padding too, except on GPUs.
    """
    tokens = pairs = scored = 0
    for start in range(0, len(rows), micro):
        batch = rows[start : start + micro]
        width = max(len(row["context"]) + max(len(row["response"]), len(row["edit"])) for row in batch)
        tokens += 2 * len(batch) * width
        pairs += 2 * len(batch) * width**2
        answers = sum(len(row["response"]) + len(row["edit"]) for row in batch)
        scored += 2 * len(batch) * (width - 1) if every_position else answers
    return Work(tokens, pairs, scored, scored)


def flops(shape: Shape, work: Work) -> int:
    """FLOPs of the matrix products in forward and backward passes, all else left out.

    A weight costs a token 2 forward and 4 backward. A pair of query and key costs 4 for each of a head's numbers
    forward (its score and its part of the sum) and 8 backward; pairs that a mask hides are computed as well, as SDPA
    on CPU does. Logits cost 2 for each weight of the output layer forward; both sides compute them again in the
    backward pass, which costs 2 + 4 (ours does not for its last chunk, which is left out here).
    """
    body = 6 * shape.body * work.tokens
    attention = 12 * shape.attention * work.pairs
    head = 2 * shape.head * work.scored + 6 * shape.head * work.learned
    return body + attention + head


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
