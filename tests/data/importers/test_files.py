import gzip
import io
import json
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copydesk.data.importers import files as module
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.files import ImportFormat, open_row_source
from copydesk.errors import InputError

OBJECTS = [{"a": "1", "b": "né"}, {"a": "2", "b": "😀"}]
JSON_LINES = "".join(json.dumps(row) + "\n" for row in OBJECTS).encode()
CSV = "a,b\n1,né\n2,😀\n".encode()
TEXTS = {
    "log.jsonl": JSON_LINES,
    "lines.json": JSON_LINES,
    "array.json": json.dumps(OBJECTS, indent=1).encode(),
    "log": JSON_LINES,
    "log.csv": CSV,
    "log.tsv": CSV.replace(b",", b"\t"),
}


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def fields(source: ImportSource) -> list[object]:
    return [row.fields for row in source.rows()]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("pack", "ending"), [(bytes, ""), (gzip.compress, ".gz"), (zstd, ".zst"), (zstd, "")])
def test_text_files_packed_or_not(tmp_path: Path, name: str, pack: type[bytes], ending: str) -> None:
    path = tmp_path / (name + ending)
    path.write_bytes(pack(TEXTS[name]))
    source = open_row_source(str(path))
    assert fields(source) == fields(source) == OBJECTS
    assert (source.name, source.has_record_fields) == (str(path), False)
    assert source.rejected_path == tmp_path / f"{name}{ending}.rejected.jsonl"
    assert source.all_text == (name in ("log.csv", "log.tsv"))
    assert source.unit == ("row" if name == "array.json" else "line")
    assert source.progress() == 1


def test_the_format_that_was_given_wins(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(CSV)
    assert fields(open_row_source(str(path), format="csv")) == OBJECTS


def test_progress_grows_with_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 100_000)
    source = open_row_source(str(path))
    assert source.progress() == 0
    rows = source.rows()
    next(rows)
    early = source.progress()
    assert early is not None and 0 < early < 0.5
    assert sum(1 for _ in rows) == 99_999


def test_parquet_by_name_or_by_its_first_bytes(tmp_path: Path) -> None:
    for name in ("log.parquet", "log"):
        pq.write_table(pa.Table.from_pylist(OBJECTS), tmp_path / name)
        source = open_row_source(str(tmp_path / name))
        assert fields(source) == OBJECTS
        assert (source.unit, source.has_record_fields, source.progress()) == ("row", False, 1)
    pq.write_table(pa.Table.from_pylist(OBJECTS).replace_schema_metadata({b"copydesk": b"1"}), tmp_path / "ours")
    assert open_row_source(str(tmp_path / "ours")).has_record_fields


def test_a_file_whose_format_is_not_recognized(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(CSV)
    with pytest.raises(InputError, match=r"log.txt: neither its name nor its first bytes show .*; add --format$"):
        open_row_source(str(path))


@pytest.mark.parametrize("name", ["missing.jsonl", "folder/missing.csv", "a/b/c", "missing"])
def test_files_that_are_not_there(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: there is no such file"):
        open_row_source(name)


def test_what_is_no_file_but_looks_like_it_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def data_set(given: str, *, split: str, config: str | None) -> ImportSource:
        asked.append((given, split, config))
        return ImportSource(given, lambda: iter(()), "row", Path("x"))

    monkeypatch.setattr(module, "open_dataset_source", data_set)
    open_row_source("owner/name-1.0", split="test", config="small")
    open_row_source(str(tmp_path))
    open_row_source("name", format="dataset")
    assert asked == [("owner/name-1.0", "test", "small"), (str(tmp_path), "train", None), ("name", "train", None)]


# -- standard input ----------------------------------------------------------------------------------------------------


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes, format: ImportFormat | None = None) -> ImportSource:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return open_row_source("-", format=format)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_standard_input_is_json_lines_unless_it_begins_otherwise(
    monkeypatch: pytest.MonkeyPatch, pack: type[bytes]
) -> None:
    assert fields(piped(monkeypatch, pack(JSON_LINES))) == OBJECTS
    assert fields(piped(monkeypatch, pack(json.dumps(OBJECTS).encode()))) == OBJECTS
    assert fields(piped(monkeypatch, pack(CSV), "csv")) == OBJECTS
    (bad,) = piped(monkeypatch, b"not json\n").rows()
    assert isinstance(bad, SourceRow) and "not JSON" in str(bad.error)


def test_it_can_be_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = piped(monkeypatch, JSON_LINES)
    assert (source.name, source.rejected_path, source.progress()) == (
        "standard input",
        Path("stdin.rejected.jsonl"),
        None,
    )
    assert fields(source) == OBJECTS
    with pytest.raises(InputError, match=r"^standard input: it can be read only once"):
        source.rows()


def test_parquet_needs_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^standard input: parquet cannot be read from a pipe; save it"):
        piped(monkeypatch, b"PAR1 and so on")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_read_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(JSON_LINES,))
    writer.start()
    assert fields(open_row_source(str(path))) == OBJECTS
    writer.join()
