import pytest
import torch
from transformers import LlamaForCausalLM

from copydesk.models.generate import generate

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12]]
SEEDS = [(0, 1), (0, 2), (0, 3)]
END = 0


@pytest.fixture
def model(tiny_model: LlamaForCausalLM) -> LlamaForCausalLM:
    """One that ends about every eighth token."""
    tiny_model.lm_head.weight.data[END] = 0
    tiny_model.lm_head.bias = torch.nn.Parameter(torch.zeros(tiny_model.config.vocab_size))
    tiny_model.lm_head.bias.data[END] = 3.8
    return tiny_model


def test_a_response_has_no_end_in_it_and_says_whether_it_came_to_one(model: LlamaForCausalLM) -> None:
    many = generate(model, PROMPTS * 20, [(1, i) for i in range(60)], end=END, max_new_tokens=8)
    assert all(END not in one.tokens for one in many)
    assert all(one.ended or len(one.tokens) == 8 for one in many)
    assert 0 < sum(one.ended for one in many) < 60


def test_a_response_depends_on_its_own_seed_alone(model: LlamaForCausalLM) -> None:
    together = generate(model, PROMPTS, SEEDS, end=END, max_new_tokens=8)
    alone = generate(model, PROMPTS, SEEDS, end=END, max_new_tokens=8, batch_size=1)
    turned = generate(model, PROMPTS[::-1], SEEDS[::-1], end=END, max_new_tokens=8)
    assert together == alone == turned[::-1]
    assert together != generate(model, PROMPTS, [(7, i) for i in range(3)], end=END, max_new_tokens=8)


def test_without_temperature_it_is_the_likeliest(model: LlamaForCausalLM) -> None:
    model.lm_head.bias.data[END] = -9.0
    (one,) = generate(model, [PROMPTS[0]], [(0,)], end=END, temperature=0, max_new_tokens=4)
    ids = [*PROMPTS[0]]
    for _ in range(4):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert one.tokens == ids[3:] and not one.ended
    assert generate(model, [], [], end=END, max_new_tokens=4) == []
