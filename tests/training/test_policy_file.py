import json
from pathlib import Path
from typing import Any

import pytest

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.training.config import TrainConfig
from copydesk.training.policy_file import (
    POLICY_FORMAT,
    BaseModelRef,
    PolicyFile,
    TrainingData,
    compute_data_sha256,
    read_policy_file,
)


def make() -> PolicyFile:
    return PolicyFile(
        name="early-1",
        method="early",
        base=BaseModelRef(spec="embedded", kind="embedded", revision=None, weights_sha256="ab", parameters=10),
        data=TrainingData(
            sha256="cd", rows=3, edited=2, pending=1, held_out=1, cut_contexts=0, cut_answers=0, left_out=1
        ),
        settings=TrainConfig().to_json(),
        before={"loss": 2.0},
        after={"loss": 1.0},
        history=[{"step": 1, "loss": 2.0}],
        final={"margin": 0.5},
        remarks=["the log-probability of y' fell"],
    )


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    make().write(tmp_path)
    assert read_policy_file(tmp_path) == make()


def test_a_file_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    contents = make().model_dump(mode="json") | {"format": 1}
    del contents["final"], contents["remarks"], contents["data"]["left_out"]
    (tmp_path / "policy.json").write_text(json.dumps(contents))
    policy = read_policy_file(tmp_path)
    assert (policy.format, policy.data.left_out, policy.final, policy.remarks) == (1, 0, {}, [])
    assert policy.history == make().history


def test_it_names_the_libraries() -> None:
    assert {"copydesk", "torch", "transformers", "peft"} <= make().versions.keys()


def test_a_folder_without_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="copydesk train"):
        read_policy_file(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": POLICY_FORMAT + 1}, "upgrade"),
        ({"name": 5}, "field name"),
        ({"base": {}}, "field base.spec"),
        ({"x": 1}, "field x"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    contents = make().model_dump(mode="json") | change
    (tmp_path / "policy.json").write_text(json.dumps(contents))
    with pytest.raises(InputError, match=said):
        read_policy_file(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\ufeff", "null"])
def test_what_is_not_a_policy_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_policy_file(tmp_path)
    assert "\n" not in str(error.value)


def test_the_data_hash_follows_what_training_sees() -> None:
    row = EditRecord(id="1", context="c", response="r", edit="e")
    same = row.model_copy(update={"metadata": {"seen": True}})
    assert compute_data_sha256([row]) == compute_data_sha256([same])
    for change in ({"edit": "f"}, {"response": "s"}, {"context": "d"}, {"id": "2"}, {"edit": None}):
        assert compute_data_sha256([row]) != compute_data_sha256([row.model_copy(update=change)])
