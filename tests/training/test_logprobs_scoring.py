import pytest
import torch
from tests.support.small_models import alone
from transformers import LlamaForCausalLM

from copydesk.training.encode import Triple
from copydesk.training.logprobs import (
    ForwardPlan,
    compute_longest_length,
    compute_token_logprobs,
    score_triples,
)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_scores_come_back_in_the_order_given(
    batch_size: int, tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    scores = score_triples(tiny_model, triples, batch_size=batch_size)
    with torch.no_grad():
        edits = [alone(tiny_model, t.context, t.edit).item() for t in triples]
        responses = [alone(tiny_model, t.context, t.response).item() for t in triples]
    assert scores.edit.tolist() == pytest.approx(edits, rel=1e-4)
    assert scores.response.tolist() == pytest.approx(responses, rel=1e-4)
    assert not scores.edit.requires_grad


def test_scoring_leaves_the_model_in_its_mode(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    score_triples(tiny_model.train(), triples[:1])
    assert tiny_model.training


def test_no_triples_have_no_scores(tiny_model: LlamaForCausalLM) -> None:
    assert score_triples(tiny_model, []).edit.shape == (0,)


def test_the_longest_row_is_a_context_and_its_longer_answer() -> None:
    assert compute_longest_length([Triple("a", (1,) * 5, (1,) * 3, (1,) * 7), Triple("b", (1,) * 9, (1,), (1,))]) == 12
    assert compute_longest_length([]) == 0


@pytest.mark.parametrize("forward", [None, ForwardPlan(layout="separate", fused=False)])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_every_token_of_an_edit_has_its_log_probability(
    batch_size: int, forward: ForwardPlan | None, tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    found = compute_token_logprobs(tiny_model, triples, batch_size=batch_size, forward=forward)
    for triple, logprobs in zip(triples, found, strict=True):
        ids = torch.tensor([[*triple.context, *triple.edit]])
        with torch.no_grad():
            expected = tiny_model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
        expected = expected[len(triple.context) - 1 :].gather(1, torch.tensor(triple.edit)[:, None])[:, 0]
        assert logprobs.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        assert not logprobs.requires_grad


def test_the_log_probabilities_of_tokens_add_up_to_those_of_answers(
    tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    sums = [logprobs.sum().item() for logprobs in compute_token_logprobs(tiny_model.train(), triples)]
    assert tiny_model.training
    assert sums == pytest.approx(score_triples(tiny_model, triples).edit.tolist(), rel=1e-5)


def test_no_triples_have_no_tokens(tiny_model: LlamaForCausalLM) -> None:
    assert compute_token_logprobs(tiny_model, []) == []
