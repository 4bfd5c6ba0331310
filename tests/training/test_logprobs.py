import pytest
import torch
from tests.support.small_models import alone
from transformers import LlamaForCausalLM

from copydesk.training import logprobs
from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan, batch_logprobs, token_logprobs
from copydesk.training.packing import lay_out

ROWS = [Triple("a", (5, 6, 7), (8, 9, 0), (8, 4, 4, 0)), Triple("b", (4,), (3, 9, 0), (3, 9, 0))]


def test_sums_are_in_float32_whatever_the_weights(tiny_model: LlamaForCausalLM) -> None:
    batch = lay_out(ROWS, with_response=True)
    wanted = batch_logprobs(tiny_model, batch, 2, ForwardPlan())
    found = batch_logprobs(tiny_model.bfloat16(), batch, 2, ForwardPlan())
    assert found.edit.dtype == found.response.dtype == torch.float32
    assert torch.allclose(found.edit, wanted.edit, rtol=2e-2)


def test_what_fills_the_padding_does_not_matter(tiny_model: LlamaForCausalLM) -> None:
    batch = lay_out([*ROWS, Triple("c", tuple(range(1, 30)), (3, 0), (4, 0))], with_response=True, row_tokens=20)
    assert (batch["triple"] < 0).any()
    other = batch | {"input_ids": batch["input_ids"].masked_fill(batch["triple"] < 0, 7)}
    for one, two in zip(*(batch_logprobs(tiny_model, b, 3, ForwardPlan()) for b in (batch, other)), strict=True):
        assert torch.equal(one, two)


def test_an_unedited_row_has_one_score(tiny_model: LlamaForCausalLM) -> None:
    scores = batch_logprobs(tiny_model, lay_out(ROWS, with_response=True), 2, ForwardPlan())
    assert scores.edit[1] == scores.response[1]
    assert scores.edit[1].item() == pytest.approx(alone(tiny_model, (4,), (3, 9, 0)).item(), rel=1e-5)
    assert scores.edit[0] != scores.response[0]


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("biased", [False, True])
def test_a_chunked_head_is_the_plain_one(frozen: bool, biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "_CHUNK_LOGITS", 3 * 50)
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(11, 8), torch.randn(50, 8), torch.randn(50)
    target, upstream = torch.randint(50, (11,)), torch.randn(11)
    upstream[[2, 3, 7]] = 0.0
    results = []
    for chunked in (True, False):
        h, w, b = (t.clone().requires_grad_(t is hidden or not frozen) for t in (hidden, weight, bias))
        b_or_none = b if biased else None
        if chunked:
            found = token_logprobs(h, w, b_or_none, target)
        else:
            logits = torch.nn.functional.linear(h, w, b_or_none)
            found = logits.log_softmax(dim=1).gather(1, target[:, None])[:, 0]
        (found * upstream).sum().backward()
        results.append(
            [found.detach(), h.grad, *([] if frozen else [w.grad]), *([b.grad] if biased and not frozen else [])]
        )
    for one, other in zip(*results, strict=True):
        assert other.abs().max() > 0.1
        assert torch.allclose(one, other, atol=1e-5)


def test_logits_are_never_held_for_more_tokens_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "_CHUNK_LOGITS", 4 * 50)
    sizes = []
    linear = logprobs.F.linear

    def watched(hidden: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden))
        return linear(hidden, *others)

    monkeypatch.setattr(logprobs.F, "linear", watched)
    hidden, weight = torch.randn(10, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    token_logprobs(hidden, weight, None, torch.zeros(10, dtype=torch.long)).sum().backward()
    assert sizes == [4, 4, 2, 4, 4]  # the last is kept


def test_tokens_without_a_gradient_cost_nothing_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """In DPO what y and y' share cancels in the margin, and only the rest is computed again."""
    sizes = []
    linear = logprobs.F.linear
    monkeypatch.setattr(
        logprobs.F, "linear", lambda hidden, *others: sizes.append(len(hidden)) or linear(hidden, *others)
    )
    monkeypatch.setattr(logprobs, "_CHUNK_LOGITS", 5 * 50)
    hidden, weight = torch.randn(6, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    per_token = token_logprobs(hidden, weight, None, torch.arange(6))
    edit, response = per_token[:4].sum(), per_token[:2].sum() + per_token[4:].sum()
    torch.nn.functional.logsigmoid(edit - response).backward()
    assert sizes == [5, 1, 3]  # of six tokens, two cancel and the last is kept
