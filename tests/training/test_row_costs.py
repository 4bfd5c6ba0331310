from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.training.config import CostModelConfig
from copydesk.training.encode import Triple, encode_log
from copydesk.training.row_costs import build_cost_metric, check_costs, compute_row_costs

FIELD = CostModelConfig(source="field:minutes", c_max=5.0)


def with_field(records: list[EditRecord], value: Any) -> list[EditRecord]:
    """Every row cost a minute, but the third something else."""
    return [
        record.model_copy(update={"metadata": {"minutes": value if place == 2 else 1}})
        for place, record in enumerate(records)
    ]


def test_costs_are_edit_costs_of_the_rows_whose_edit_is_known(records: list[EditRecord]) -> None:
    metric = EditCost(unit="word", cap=0.5)
    costs = compute_row_costs(records, CostModelConfig(unit="word", c_max=0.5), metric)
    known = [record for record in records if not record.pending]
    assert costs == {record.id: metric.cost_of(record) for record in known}
    assert max(costs.values()) == 0.5
    assert min(costs.values()) == 0


def test_or_what_a_field_says(records: list[EditRecord], plain_tokenizer: PreTrainedTokenizerFast) -> None:
    rows = with_field(records, 4.5)
    costs = compute_row_costs(rows, FIELD, None)
    triples = encode_log(rows, plain_tokenizer, 256, costs=costs).triples
    assert [triple.cost for triple in triples] == [1.0, 1.0, 4.5, *[1.0] * 9]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.5, 5.5, True, "2", None])
def test_a_field_that_is_no_cost_is_refused_with_its_row(records: list[EditRecord], wrong: Any) -> None:
    with pytest.raises(InputError, match=r"row 'row-Cy': metadata\['minutes'\]") as error:
        compute_row_costs(with_field(records, wrong), FIELD, None)
    assert "\n" not in str(error.value)


def test_a_row_without_the_field_is_named(records: list[EditRecord]) -> None:
    with pytest.raises(InputError, match=r"row 'row-Ada'.*missing"):
        compute_row_costs(records, FIELD, None)


@pytest.mark.parametrize("wrong", [None, float("nan"), -1.0, 3.5])
def test_rows_to_learn_from_are_checked_too(triples: list[Triple], wrong: float | None) -> None:
    rows = [replace(triple, cost=0.5) for triple in triples]
    check_costs(rows, 3.0)
    with pytest.raises(InputError, match="row 'row-Bo'"):
        check_costs([rows[0], replace(rows[1], cost=wrong), *rows[2:]], 3.0)


def test_sub_tokens_are_the_models_own(model_folder: Path) -> None:
    _, tokenizer, _ = load_model(str(model_folder))
    metric = build_cost_metric(str(model_folder), tokenizer, CostModelConfig(c_max=2.0))
    assert metric == EditCost(cap=2.0, tokenizer=str(model_folder))
    assert metric.split_units("Dear Ada") == tokenizer("Dear Ada", add_special_tokens=False)["input_ids"]
    assert build_cost_metric(str(model_folder), tokenizer, FIELD) is None


def test_also_where_no_file_of_the_model_holds_its_tokenizer_alone(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    gguf = tmp_path / "small.gguf"
    gguf.write_bytes(b"GGUF")
    metric = build_cost_metric(str(gguf), chat_tokenizer, CostModelConfig())
    assert metric is not None
    assert metric.split_units("Dear Ada") == chat_tokenizer("Dear Ada", add_special_tokens=False)["input_ids"]
    assert "subtoken:small.json@" in metric.name
    assert build_cost_metric(str(gguf), chat_tokenizer, CostModelConfig()) == metric


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COPYDESK_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="COPYDESK_CACHE") as error:
        build_cost_metric(str(tmp_path / "small.gguf"), chat_tokenizer, CostModelConfig())
    assert "\n" not in str(error.value)
