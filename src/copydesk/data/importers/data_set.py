"""Rows of a data set of Hugging Face `datasets`: one of the hub, a saved one, or a folder of files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.values import build_table_row
from copydesk.errors import InputError

_SAVED_DATASET_FILES = ("state.json", "dataset_dict.json")


def open_dataset_source(given: str, *, split: str = "train", config: str | None = None) -> ImportSource:
    """The rows of one split, streamed.

    Args:
        given: a hub id such as `owner/name`, or a folder: of `save_to_disk`, or of files that `load_dataset` reads.
        split: which part of it.
        config: which of its configurations, where there are several.

    Raises:
        InputError: `datasets` is not installed; from `rows` also where there is no such data set or split.
    """
    _import_datasets(given)
    folder = Path(given).resolve()
    local = folder.is_dir()
    beside = (
        folder.with_name(f"{folder.name}.rejected.jsonl") if local else Path(f"{_flatten_hub_id(given)}.rejected.jsonl")
    )
    return ImportSource(given, lambda: _iter_dataset_rows(given, split, config), "row", beside)


def _flatten_hub_id(hub_id: str) -> str:
    return hub_id.replace("/", "--")


def _import_datasets(given: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{given}: data sets are read with Hugging Face datasets; pip install 'copydesk[train]'"
        ) from None
    return datasets


def _iter_dataset_rows(given: str, split: str, config: str | None) -> Iterator[SourceRow]:
    place = 0
    try:
        for place, values in enumerate(_load_split(given, split, config), start=1):
            yield build_table_row(place, values)
    except InputError:
        raise
    # What a loader raises depends on the files, the hub and the builder.
    except Exception as fault:
        reason = str(fault).strip().splitlines() or [type(fault).__name__]
        where = f"cannot be read after row {place}" if place else "cannot be loaded as a data set"
        raise InputError(f"{given}: {where} ({reason[0]}); check the path or id, --split and --config") from None


def _load_split(given: str, split: str, config: str | None) -> Any:
    datasets = _import_datasets(given)
    if not any((Path(given) / name).is_file() for name in _SAVED_DATASET_FILES):
        return datasets.load_dataset(given, config, split=split, streaming=True)
    saved = datasets.load_from_disk(given)
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise InputError(f"{given}: there is no split {split!r}; --split takes one of {', '.join(saved)}")
    return saved[split]
