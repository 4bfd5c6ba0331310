import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.tables import open_dataset_source
from copydesk.errors import InputError

datasets = pytest.importorskip("datasets")

ROWS = [{"prompt": "né", "n": 1, "tags": ["a"]}, {"prompt": "😀", "n": None, "tags": []}]
FOUND = [SourceRow(1, {"prompt": "né", "n": 1, "tags": ["a"]}), SourceRow(2, {"prompt": "😀", "tags": []})]


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_a_saved_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    datasets.Dataset.from_list(ROWS).save_to_disk(folder)
    source = open_dataset_source(str(folder))
    assert list(source.rows()) == list(source.rows()) == FOUND
    assert (source.unit, source.rejected_path) == ("row", tmp_path.resolve() / "saved.rejected.jsonl")


def test_splits_of_a_saved_one(tmp_path: Path) -> None:
    one = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": one.select([0]), "test": one}).save_to_disk(tmp_path / "saved")
    given = str(tmp_path / "saved")
    assert [row.number for row in open_dataset_source(given).rows()] == [1]
    assert list(open_dataset_source(given, split="test").rows()) == FOUND
    with pytest.raises(InputError, match=r"there is no split 'dev'; --split takes one of train, test"):
        list(open_dataset_source(given, split="dev").rows())


def test_a_folder_of_files(tmp_path: Path) -> None:
    lines = [json.dumps(row) + "\n" for row in ROWS]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "test.jsonl").write_text(lines[0])
    assert list(open_dataset_source(str(tmp_path)).rows()) == FOUND
    assert len(list(open_dataset_source(str(tmp_path), split="test").rows())) == 1


def test_a_folder_of_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be loaded as a data set \(.*\); check the path or id") as raised:
        list(open_dataset_source(str(tmp_path)).rows())
    assert "\n" not in str(raised.value)


def test_one_of_the_hub_is_streamed_and_never_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*given: Any, **how: Any) -> Iterator[dict[str, Any]]:
        assert (given, how) == (("owner/name", "small"), {"split": "test", "streaming": True})
        yield ROWS[0]
        raise OSError("the hub\nis away")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = open_dataset_source("owner/name", split="test", config="small")
    assert source.rejected_path == Path("owner--name.rejected.jsonl")
    rows = source.rows()
    assert next(rows) == FOUND[0]
    with pytest.raises(InputError, match=r"^owner/name: cannot be read after row 1 \(the hub\); check"):
        next(rows)


def test_a_value_that_json_cannot_hold_is_an_error_of_its_row(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"cost": float("nan")}, {"cost": 0.5}]).save_to_disk(tmp_path / "saved")
    first, second = open_dataset_source(str(tmp_path / "saved")).rows()
    assert "holds nan" in str(first.error)
    assert second == SourceRow(2, {"cost": 0.5})


def test_without_the_library_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"^owner/name: .* pip install 'copydesk\[train\]'$"):
        open_dataset_source("owner/name")
