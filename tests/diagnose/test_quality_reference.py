from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.small_models import alone
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data import EditCost
from copydesk.data.record import EditRecord
from copydesk.diagnose import DiagnoseConfig, diagnose_log
from copydesk.diagnose.reference import score_sample
from copydesk.training.encode import encode_log


def edited(records: list[EditRecord]) -> list[EditRecord]:
    return [record for record in records if record.edited]


def test_scores_are_those_of_each_text_alone(
    records: list[EditRecord],
    model_folder: Path,
    tiny_model: LlamaForCausalLM,
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    rows = edited(records)[:3]
    scores = score_sample(rows, str(model_folder))
    triples = encode_log(rows, chat_tokenizer, 256).triples
    with torch.no_grad():
        expected = [[float(alone(tiny_model, t.context, a)) for a in (t.edit, t.response)] for t in triples]
    assert np.stack([scores.edit, scores.response], axis=1) == pytest.approx(np.array(expected), abs=1e-2)
    assert scores.edit_tokens.tolist() == [len(triple.edit) for triple in triples]
    assert scores.truncated == 0
    assert 0 < len(scores.own_per_token) <= 3
    # an untrained model is about as sure of its own tokens as of any: ln of the vocabulary
    assert scores.own_per_token.mean() == pytest.approx(-np.log(len(chat_tokenizer)), abs=0.5)
    again = score_sample(rows, str(model_folder))
    assert again.own_per_token.tolist() == scores.own_per_token.tolist()


def test_rows_longer_than_the_models_context_are_scored_in_part(model_folder: Path) -> None:
    long = EditRecord(id="long", context="c", response="word " * 400, edit="words " * 400)
    scores = score_sample([long, long.model_copy(update={"id": "other"})], str(model_folder))
    assert scores.truncated == 2
    assert np.isfinite(scores.edit).all()


def test_a_diagnosis_with_a_model(records: list[EditRecord], model_folder: Path) -> None:
    found = diagnose_log(records, str(model_folder), metric=EditCost(unit="word"), config=DiagnoseConfig(sample=4))
    assert found.coverage is not None
    assert found.coverage.rows == 4
    assert found.advice is not None
    assert any("an effective sample size of" in reason for reason in found.advice.reasons)
