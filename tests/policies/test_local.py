import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.errors import InputError
from copydesk.models.chat import encode_context
from copydesk.models.generate import GumbelNoise
from copydesk.policies import LocalPolicy, Sampling


@pytest.fixture
def policy(tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast) -> LocalPolicy:
    return LocalPolicy("tiny", tiny_model, chat_tokenizer)


CONTEXTS = ["Tell Ada about the meeting", "Tell Bo", "Tell Cy about the meeting on Monday, and be kind"]
SEEDS = [(0, 1), (0, 2), (0, 3)]


def test_the_same_seeds_give_the_same_responses_and_others_do_not(policy: LocalPolicy) -> None:
    sampling = Sampling(max_new_tokens=20)
    first = policy.respond(CONTEXTS, SEEDS, sampling)
    assert first == policy.respond(CONTEXTS, SEEDS, sampling)
    assert first != policy.respond(CONTEXTS, [(1, 1), (1, 2), (1, 3)], sampling)
    assert len(set(first)) == 3


def test_a_response_does_not_depend_on_its_neighbours(policy: LocalPolicy) -> None:
    together = policy.respond(CONTEXTS, SEEDS, Sampling(max_new_tokens=20))
    alone = policy.respond(CONTEXTS, SEEDS, Sampling(max_new_tokens=20, batch_size=1))
    assert together == alone


def test_temperature_zero_takes_the_likeliest_token(policy: LocalPolicy) -> None:
    context = CONTEXTS[0]
    ids = torch.tensor([encode_context(context, policy.tokenizer)])
    with torch.no_grad():
        likeliest = int(policy.model(input_ids=ids).logits[0, -1].argmax())
    assert policy.respond([context], [(0,)], Sampling(temperature=0, max_new_tokens=1)) == [
        policy.tokenizer.decode([likeliest], skip_special_tokens=True)
    ]


def test_a_response_stops_at_the_end_of_turn_and_keeps_nothing_of_it(policy: LocalPolicy) -> None:
    end = policy.tokenizer.convert_tokens_to_ids("<|end|>")
    with torch.no_grad():  # a model that wants nothing but to end its turn
        policy.model.lm_head.weight.zero_()
        policy.model.get_output_embeddings().weight[end] = 0
        policy.model.lm_head.bias = torch.nn.Parameter(torch.zeros(len(policy.tokenizer)))
        policy.model.lm_head.bias[end] = 100.0
    assert policy.respond(["Tell Ada"], [(0,)], Sampling(max_new_tokens=20)) == [""]


def test_gumbel_noise_samples_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    noise = GumbelNoise([(7,)], temperature=0.5)
    counts = torch.zeros(4)
    for _ in range(20_000):
        counts[noise(torch.zeros(1, 1, dtype=torch.long), logits).argmax()] += 1  # type: ignore[arg-type]
    torch.testing.assert_close(counts / counts.sum(), torch.softmax(logits[0] / 0.5, 0), atol=0.01, rtol=0)


def test_no_token_is_written_whatever_the_model_thinks_of_it() -> None:
    drawn = np.random.Generator(np.random.SFC64(np.random.SeedSequence([55]))).standard_exponential(100_000, np.float32)
    assert drawn.min() == 0  # with this seed NumPy draws a 0, whose Gumbel variable would be infinite
    noise = GumbelNoise([(55,)], temperature=1.0)
    noisy = noise(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 100_000))  # type: ignore[arg-type]
    assert noisy.max() < 17  # the largest of so many; a model that puts 20 nats between two tokens is heard
    assert noisy.argmax() == drawn.argmin()


def test_two_equal_policies_give_the_same_responses_with_the_same_seeds(
    policy: LocalPolicy, tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    twin = LocalPolicy("twin", tiny_model, chat_tokenizer)
    sampling = Sampling(max_new_tokens=20)
    assert twin.respond(CONTEXTS, SEEDS, sampling) == policy.respond(CONTEXTS, SEEDS, sampling)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"max_new_tokens": 0},
        {"batch_size": 0},
        {"trim_repeats": -1},
    ],
)
def test_invalid_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]
