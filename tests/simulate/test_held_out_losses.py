import pytest
import torch
from tests.support.small_models import alone
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.policies import LocalPolicy
from copydesk.simulate.held_out import compute_text_metrics
from copydesk.simulate.held_out_losses import measure_policy, write_greedy_texts
from copydesk.training.encode import Triple


@pytest.fixture
def held_out(records: list[EditRecord]) -> list[EditRecord]:
    return [record for record in records if not record.pending]


def test_log_losses_are_those_of_the_edited_rows(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, held_out: list[EditRecord],
    triples: list[Triple],
) -> None:  # fmt: skip
    found = measure_policy(tiny_model, plain_tokenizer, ["hi"] * len(held_out), held_out, held_out, batch_size=5)
    edited = [triple for triple in triples if triple.edited]
    assert 0 < len(edited) < len(triples)
    with torch.no_grad():
        total = -sum(alone(tiny_model, triple.context, triple.edit).item() for triple in edited)
    assert found.log_loss == pytest.approx(total / len(edited), rel=1e-4)
    assert found.log_loss_per_token == pytest.approx(total / sum(len(one.edit) for one in edited), rel=1e-4)
    assert found.log_loss > found.changed_log_loss > 0


def test_the_changed_log_loss_is_that_of_the_tokens_the_user_changed(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    ids = plain_tokenizer("abc", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3
    inserts = EditRecord(id="1", context="x", response="ac", edit="abc")
    deletes = EditRecord(id="2", context="x", response="abc", edit="ab")
    held_out = [inserts, deletes]
    found = measure_policy(tiny_model, plain_tokenizer, ["", ""], held_out, held_out)
    prompt = LocalPolicy("tiny", tiny_model, plain_tokenizer).encode(["x"])[0]
    with torch.no_grad():
        inserted = alone(tiny_model, prompt, ids[:2]) - alone(tiny_model, prompt, ids[:1])
        end = alone(tiny_model, prompt, [*ids[:2], plain_tokenizer.eos_token_id]) - alone(tiny_model, prompt, ids[:2])
    total = -(inserted + end).item()
    assert found.changed_log_loss == pytest.approx(total / 2, rel=1e-4)
    assert found.changed_log_loss_per_token == pytest.approx(total / 2, rel=1e-4)


def test_texts_are_measured_as_without_a_model(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, held_out: list[EditRecord]
) -> None:
    texts = [record.response for record in held_out]
    found = measure_policy(tiny_model, plain_tokenizer, texts, held_out, held_out).to_json()
    assert compute_text_metrics(texts, held_out, held_out).to_json().items() <= found.items()
    assert found["unfixed"] == 1.0


def test_texts_are_the_likeliest_whatever_the_batch(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, held_out: list[EditRecord]
) -> None:
    policy = LocalPolicy("tiny", tiny_model, plain_tokenizer)
    texts = write_greedy_texts(policy, held_out, max_new_tokens=5)
    assert len(texts) == len(held_out)
    assert texts[3:4] == write_greedy_texts(policy, held_out[3:4], max_new_tokens=5)


def test_rows_that_do_not_fit_are_refused(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, held_out: list[EditRecord]
) -> None:
    with pytest.raises(InputError, match="--max-length"):
        measure_policy(tiny_model, plain_tokenizer, ["hi"] * len(held_out), held_out, held_out, max_length=4)
