"""PRELUDE's document sources: where each data set is, which of its rows are taken, and how a row becomes a text.

A source is a few files of rows, in a folder of one's own or on the Hugging Face hub. The files are read as they are,
with no loading script: three of the sources (SLF5K, Wikipedia, Elsevier) were defined by one, which `datasets` no
longer runs, and of these the hub holds the same rows in plain files. All are the splits that PRELUDE uses: `train`.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any, overload

from copydesk.errors import InputError

DATA_FOLDER_VARIABLE = "COPYDESK_PRELUDE"

_Row = Mapping[str, Any]
_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".txt": "text"}


@dataclass(frozen=True, eq=False)
class PreludeSource:
    """One data set.

    Attributes:
        name: of its sub-folder, or of its one file without the suffix, in a folder of one's own.
        hub_id: of the data set on the hub.
        files: there, as patterns, in the order of the rows.
        columns: that are read, and what each holds: a text (`str`) or a list of texts (`list`).
        extract_text: the document that a row holds.
        keep_row: whether a row is taken; `None` takes every row.
        kept_description: the rows that are taken, in words.
        config: the configuration that PRELUDE names, where there are several.
        revision: the branch of the hub's repository.
    """

    name: str
    hub_id: str
    files: tuple[str, ...]
    columns: Mapping[str, type]
    extract_text: Callable[[_Row], str]
    keep_row: Callable[[_Row], bool] | None = None
    kept_description: str = "rows"
    config: str | None = None
    revision: str = "main"


class PreludeTexts(Sequence[str]):
    """The documents of a source, in the order of its rows. They stay on disk, and each is read when it is asked for."""

    def __init__(self, rows: Any, source: PreludeSource) -> None:
        self._rows = rows
        self._text = source.extract_text
        self._kept: Sequence[int] = range(len(rows))
        if source.keep_row is not None:
            self._kept = [index for index, row in enumerate(rows) if source.keep_row(row)]

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._text(self._rows[row]) for row in self._kept[index]]
        return self._text(self._rows[self._kept[index]])


@lru_cache(maxsize=16)
def load_texts(source: PreludeSource, folder: Path | None) -> PreludeTexts:
    """The documents of a source, read once per process.

    Args:
        source: which one.
        folder: where files of one's own are: `<name>/` with Parquet, JSON (Lines), CSV or text files or as written by
            `save_to_disk`, or one file `<name>.parquet` and so on. Of several files in a sub-folder those with "train"
            in their name count, if there are such. A source that is not in the folder comes from the hub.

    Raises:
        InputError: the folder is missing, a file cannot be read, lacks a column or holds nothing that is taken, or the
            hub cannot be reached and the data set is not in its cache.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(f"{source.name}: the datasets library is missing; pip install 'copydesk[train]'") from None
    _silence_libraries(datasets)
    here = _find_local_copy(source, folder) if folder is not None else None
    where = here or f"https://huggingface.co/datasets/{source.hub_id}"
    if here is not None and _is_saved_dataset(here):
        parts = [_load_saved_dataset(datasets, here, source)]
    else:
        files = _list_data_files(here) if here is not None else _fetch_from_hub(source, folder)
        parts = [_read_data_file(datasets, file, source) for file in files]
    try:
        rows = datasets.concatenate_datasets(parts)
    except ValueError as exc:
        raise InputError(f"{where}: its files do not fit together ({_first_line(exc)}); write them alike") from None
    texts = PreludeTexts(rows, source)
    if not texts:
        raise InputError(
            f"{where}: none of its {len(rows)} rows is taken, only {source.kept_description}; give the original data"
        )
    return texts


def _silence_libraries(datasets: Any) -> None:
    """Show errors as one line of our own, and progress bars on a terminal only."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        disable_progress_bars()


def _find_local_copy(source: PreludeSource, folder: Path) -> Path | None:
    """The sub-folder or file of a source, if the folder has one."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of PRELUDE's data; check {DATA_FOLDER_VARIABLE}")
    here = folder / source.name
    if here.is_dir():
        return here
    return next((file for suffix in _FORMATS if (file := folder / f"{source.name}{suffix}").is_file()), None)


def _is_saved_dataset(here: Path) -> bool:
    """Whether `save_to_disk` wrote the folder: one split, or several of them."""
    return (here / "state.json").is_file() or (here / "dataset_dict.json").is_file()


def _load_saved_dataset(datasets: Any, here: Path, source: PreludeSource) -> Any:
    try:
        rows = datasets.load_from_disk(str(here))
        if isinstance(rows, datasets.DatasetDict):
            rows = rows["train"]
    except Exception as exc:  # whatever the library makes of damaged files
        raise InputError(f"{here}: cannot be read ({_first_line(exc)}); save its split train again") from None
    return _check_columns(rows, here, source)


def _list_data_files(here: Path) -> list[Path]:
    """The files to read, all of one format, in the order of their names."""
    if here.is_file():
        return [here]
    files = sorted(file for file in here.iterdir() if file.suffix in _FORMATS)
    files = [file for file in files if "train" in file.name] or files
    if not files:
        raise InputError(f"{here}: has no file of data; put {', '.join(_FORMATS)} files there")
    if len(suffixes := {file.suffix for file in files}) > 1:
        raise InputError(f"{here}: has files of several formats ({', '.join(sorted(suffixes))}); leave those of one")
    return files


def _fetch_from_hub(source: PreludeSource, folder: Path | None) -> list[Path]:
    """The source's files in the hub's cache, fetched first if need be.

    The hub is asked once whether it is there, with a short patience: fetching alone would ask for a minute.
    """
    import huggingface_hub

    try:
        huggingface_hub.dataset_info(source.hub_id, revision=source.revision, timeout=10)
        offline = False
    except Exception:  # the network's errors come from whichever HTTP library the hub's client builds on
        offline = True
    try:
        snapshot = Path(
            huggingface_hub.snapshot_download(
                source.hub_id,
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=list(source.files),
                local_files_only=offline,
            )
        )
    except Exception:
        raise InputError(_download_instructions(source, folder)) from None
    found = [sorted(snapshot.glob(pattern)) for pattern in source.files]
    if not all(found):
        raise InputError(_download_instructions(source, folder))
    return [file for files in found for file in files]


def _download_instructions(source: PreludeSource, folder: Path | None) -> str:
    """One line that says what to download and where to put it."""
    split = f"configuration {source.config}, split train" if source.config else "split train"
    tree = "" if source.revision == "main" else f"/tree/{source.revision.replace('/', '%2F')}"
    where = f"{folder / source.name}/" if folder else f"FOLDER/{source.name}/, with {DATA_FOLDER_VARIABLE}=FOLDER"
    return (
        f"{source.name}: the hub cannot be reached or has no such files; download {', '.join(source.files)} ({split}) "
        f"of https://huggingface.co/datasets/{source.hub_id}{tree} and put it, or other files with the same columns "
        f"({', '.join(source.columns)}), into {where}"
    )


def _read_data_file(datasets: Any, file: Path, source: PreludeSource) -> Any:
    """The rows of one file; of a Parquet file only the columns are copied (Elsevier's holds whole papers besides)."""
    import pyarrow.parquet as pq

    options: dict[str, Any] = {}
    try:
        if file.suffix == ".parquet":
            there = pq.read_schema(file).names
            options["columns"] = [column for column in source.columns if column in there]
        rows = datasets.load_dataset(_FORMATS[file.suffix], data_files=escape(str(file)), split="train", **options)
    except Exception as exc:  # each format's reader has its own
        reason = _first_line(exc.__cause__ or exc)
        raise InputError(f"{file}: cannot be read ({reason}); check that it is whole") from None
    return _check_columns(rows, file, source)


def _check_columns(rows: Any, where: Path, source: PreludeSource) -> Any:
    """The rows with the source's columns only, each of the right type."""
    schema = rows.features.arrow_schema
    for column, wanted in source.columns.items():
        if column not in schema.names:
            raise InputError(f"{where}: has no column {column!r}; {source.name} needs {', '.join(source.columns)}")
        if not _is_compatible_type(schema.field(column).type, wanted):
            words = "texts" if wanted is str else "lists of texts"
            raise InputError(f"{where}: column {column!r} holds {schema.field(column).type}, not {words}")
    return rows.select_columns(list(source.columns))


def _is_compatible_type(found: Any, wanted: type) -> bool:
    """Whether a column of this Arrow type may be read as the wanted one; a column with nothing in it may."""
    from pyarrow import types

    if types.is_null(found):
        return True
    if wanted is list:
        return (types.is_list(found) or types.is_large_list(found)) and _is_compatible_type(found.value_type, str)
    return bool(types.is_string(found) or types.is_large_string(found))


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


def _column_reader(name: str) -> Callable[[_Row], str]:
    return lambda row: row[name] or ""


def _has_medium_length(row: _Row) -> bool:
    return 500 < len((row["text"] or "").split()) < 700


def _format_paper(row: _Row) -> str:
    highlights = ". ".join(row["author_highlights"])
    return f" My title: {row['title'] or ''}. My abstract: {row['abstract'] or ''} My highlights: {highlights}"


def _join_review(row: _Row) -> str:
    return " ".join(row["text"] or [])


def _has_tweet(row: _Row) -> bool:
    line = row["text"] or ""
    return '"' in line and "[" not in line


def _extract_tweet(row: _Row) -> str:
    """The text between the first and the last double quote, less its last two characters, as PRELUDE takes it."""
    line: str = row["text"]
    return line[line.index('"') + 1 : line.rindex('"') - 2]


CNN_DAILYMAIL = PreludeSource(
    name="cnn_dailymail",
    hub_id="abisee/cnn_dailymail",
    files=tuple(f"3.0.0/train-0000{part}-of-00003.parquet" for part in range(3)),
    columns={"article": str},
    extract_text=_column_reader("article"),
    config="3.0.0",
)
SLF5K = PreludeSource(
    name="slf5k",
    hub_id="JeremyAlain/SLF5K",
    files=("train.jsonl",),
    columns={"post": str},
    extract_text=_column_reader("post"),
)
# The dump that PRELUDE uses, of which it takes 4809 articles; wikimedia/wikipedia has only later dumps.
WIKIPEDIA = PreludeSource(
    name="wikipedia",
    hub_id="legacy-datasets/wikipedia",
    files=("data/20220301.simple/train-00000-of-00001.parquet",),
    columns={"text": str},
    extract_text=_column_reader("text"),
    keep_row=_has_medium_length,
    kept_description="articles of 501 to 699 words",
    config="20220301.simple",
)
ARXIV = PreludeSource(
    name="arxiv",
    hub_id="CShorten/ML-ArXiv-Papers",
    files=("ML-Arxiv-Papers.csv",),
    columns={"abstract": str},
    extract_text=_column_reader("abstract"),
)
IMDB = PreludeSource(
    name="imdb",
    hub_id="stanfordnlp/imdb",
    files=("plain_text/train-00000-of-00001.parquet",),
    columns={"text": str},
    extract_text=_column_reader("text"),
    config="plain_text",
)
# The data set is a script; this branch holds the hub's own conversion of what the script makes.
ELSEVIER = PreludeSource(
    name="elsevier",
    hub_id="orieg/elsevier-oa-cc-by",
    files=("*/train/*.parquet",),
    columns={"title": str, "abstract": str, "author_highlights": list},
    extract_text=_format_paper,
    keep_row=lambda row: bool(row["author_highlights"]),
    kept_description="papers with author_highlights",
    revision="refs/convert/parquet",
)
AMPERE = PreludeSource(
    name="ampere",
    hub_id="launch/ampere",
    files=("ampere_label_train.jsonl",),
    columns={"text": list},
    extract_text=_join_review,
)
PAPER_TWEET = PreludeSource(
    name="paper_tweet",
    hub_id="nitsanb/paper_tweet",
    files=("train.txt",),
    columns={"text": str},
    extract_text=_extract_tweet,
    keep_row=_has_tweet,
    kept_description='lines with a text in double quotes and no "["',
)
