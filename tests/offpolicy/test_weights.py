from collections import Counter
from collections.abc import Iterator
from itertools import product
from math import exp

import numpy as np
import pytest
import torch
from tests.support.small_models import alone, shaken
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.errors import InputError
from copydesk.offpolicy.scoring import score_answers, why_unscorable
from copydesk.offpolicy.traffic import LoggedAnswer
from copydesk.offpolicy.weights import compute_arm_weights, compute_text_weights
from copydesk.policies import LocalPolicy, Sampling

WORDS = ["ann", "bo", "cy", "di"]


def tokenizer_of(words: list[str]) -> PreTrainedTokenizerFast:
    """One token a word: what is written is read again as the same tokens."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<eos>", *words])}, unk_token="<eos>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def policy_of(name: str, seed: int, words: list[str] = WORDS, size: float = 0.1) -> LocalPolicy:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1 + len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=0, bos_token_id=None, pad_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = shaken(LlamaForCausalLM(config), 0.5, 7)  # the arms differ from this by less
    return LocalPolicy(name, shaken(model, size, seed), tokenizer_of(words))


def answered(response: str, finish: str | None = "stop", policy: str = "old", **parameters: object) -> LoggedAnswer:
    return LoggedAnswer("c", "ann bo", response, parameters, finish, None, policy, 1.0, frozenset(), 0.0)


def all_answers(**parameters: object) -> Iterator[LoggedAnswer]:
    """Everything that can be written in at most two tokens."""
    for count in range(3):
        for words in product(WORDS, repeat=count):
            yield answered(" ".join(words), "length" if count == 2 else "stop", **parameters)


SAMPLINGS = [{}, {"temperature": 0.7}, {"temperature": 1.3, "top_p": 0.6}, {"top_p": None, "temperature": None}]


@pytest.mark.parametrize("parameters", SAMPLINGS)
def test_the_probabilities_of_all_that_can_be_written_add_up_to_one(parameters) -> None:
    rows = list(all_answers(**parameters))
    for policy in (policy_of("old", 1), policy_of("new", 2)):
        found = np.exp(score_answers(policy, rows, batch_size=5))
        assert found.sum() == pytest.approx(1, abs=1e-5)
        assert (found == 0).any() == (parameters.get("top_p") == 0.6)


def test_a_logprob_is_that_of_the_definition() -> None:
    policy = policy_of("old", 1)
    context, words = [1, 2], [3, 4, 1]
    rows = [answered("cy di ann", "length"), answered("cy di ann"), answered("di")]
    cut, ended, _ = score_answers(policy, rows)
    assert cut == pytest.approx(alone(policy.model, context, words).item(), abs=1e-4)
    assert ended == pytest.approx(alone(policy.model, context, [*words, 0]).item(), abs=1e-4)


def test_the_policy_that_answered_has_weight_one() -> None:
    for temperature in (0.7, 1.0):
        rows = [answered("cy di", "length", temperature=temperature), answered("bo cy ann", temperature=temperature)]
        found = compute_text_weights(rows, policy_of("new", 1), lambda name: policy_of(name, 1))
        np.testing.assert_allclose(found.weights, 1, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_another_policys_weights_average_one_over_what_is_sampled(temperature: float) -> None:
    old, new = policy_of("old", 1, size=0.03), policy_of("new", 2, size=0.03)
    drafts = old.generate_tokens([[1, 2]] * 1500, [(5, i) for i in range(1500)], Sampling(temperature, 3))
    assert {draft.ended for draft in drafts} == {True, False}
    rows = [
        answered(old.decode(one), "stop" if one.ended else "length", temperature=temperature, max_tokens=3)
        for one in drafts
    ]
    weights = compute_text_weights(rows, new, lambda name: old, batch_size=64).weights
    error = weights.std() / len(weights) ** 0.5
    assert 0.001 < error < 0.05
    assert abs(weights.mean() - 1) < 4 * error
    # And answers are sampled as often as their probability says.
    likely = Counter((row.response, row.finish_reason) for row in rows).most_common(8)
    chances = np.exp(score_answers(old, [answered(*written, temperature=temperature) for written, _ in likely]))
    for (_, count), chance in zip(likely, chances, strict=True):
        assert abs(count - 1500 * chance) < 4.5 * (1500 * chance * (1 - chance)) ** 0.5


def test_each_row_is_compared_with_who_wrote_it_and_each_is_opened_once() -> None:
    opened: list[str] = []

    def open_arm(name: str) -> LocalPolicy:
        opened.append(name)
        return policy_of(name, {"one": 1, "two": 2}[name])

    rows = [answered("cy", policy=name) for name in ("two", "one", "two")]
    found = compute_text_weights(rows, policy_of("new", 1), open_arm).weights
    assert found[1] == pytest.approx(1, abs=1e-4) and found[0] == found[2] != pytest.approx(1, abs=1e-2)
    one, two = (score_answers(policy_of("x", seed), rows[:1])[0] for seed in (1, 2))
    assert found[0] == pytest.approx(exp(one - two), rel=1e-4)
    assert opened == ["one", "two"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (answered("cy", temperature=0), "temperature 0"),
        (answered("cy", stop=["."]), "stop strings"),
        (answered("cy", presence_penalty=0.5), "penalties"),
        (answered("cy", finish="content_filter"), "how the answer ended"),
    ],
)
def test_rows_whose_probability_is_not_known_are_left_out_and_counted(row: LoggedAnswer, why: str) -> None:
    assert why_unscorable(answered("cy", temperature=1, stop=None, frequency_penalty=0)) is None
    found = compute_text_weights([row, answered("di"), row], policy_of("new", 1), lambda name: policy_of(name, 1))
    assert [one.response for one in found.rows] == ["di"] and len(found.weights) == 1
    ((reason, count),) = found.left_out.items()
    assert why in reason and count == 2


def test_answers_that_top_p_excludes_for_their_logged_policy_are_left_out() -> None:
    rows = list(all_answers(top_p=0.6))
    found = compute_text_weights(rows, policy_of("new", 2), lambda name: policy_of(name, 1))
    assert np.isfinite(found.weights).all()
    assert len(found.rows) == len(found.weights) < len(rows)
    assert sum(found.left_out.values()) == len(rows) - len(found.rows)


def test_answers_that_tokenize_differently_are_counted() -> None:
    rows = [
        LoggedAnswer("c", "ann", "cy di", {}, "stop", tokens, "old", 1.0, frozenset(), 0.0) for tokens in (3, 4, None)
    ]
    assert compute_text_weights(rows, policy_of("new", 1), lambda name: policy_of(name, 1)).retokenized == 1


def test_a_policy_of_other_tokens_cannot_be_compared() -> None:
    with pytest.raises(InputError, match=r"its vocabulary is not that of old"):
        compute_text_weights(
            [answered("cy")], policy_of("new", 1, ["cy", "ann", "bo", "ed"]), lambda name: policy_of(name, 1)
        )


def test_weights_of_an_arm_and_of_a_mixture(log) -> None:
    log.arm("a")
    log.answer("a", 1.0, 0.5)  # b was no arm yet
    log.arm("b")
    log.answer("a", 0.25, 0.5)
    log.answer("b", 0.75, 0.5)
    log.answer("b", 1.0, 0.5, chosen=False)
    log.answer("a", 1.0, 0.5, without=["b"])
    log.answer("a", 1.0, 0.5)
    rows = log.read().rows
    b = compute_arm_weights(rows, {"b": 1.0})
    assert [row.id for row in b.rows] == ["c2", "c3", "c6"]
    assert b.weights.tolist() == [0, pytest.approx(1 / 0.75), 0]
    assert b.left_out == {"a policy was asked for by name": 1, "the policy was no arm then, or out of reach": 2}
    assert b.unreachable == 1
    assert compute_arm_weights(rows, {"a": 1.0}).unreachable == 0
    mixture = compute_arm_weights(rows, {"a": 0.5, "b": 0.5})
    assert mixture.weights.tolist() == [2, pytest.approx(2 / 3), 0.5]
    assert mixture.unreachable == 1
