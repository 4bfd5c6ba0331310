"""What goes into a file comes out of it through a source and a mapping, whatever its characters."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.data import EditRecord, Message, load_log, write_jsonl
from copydesk.data.importers.files import open_row_source
from copydesk.data.mapping import IDENTITY_MAPPING, guess_mapping

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(' ,;"\r\n\t[]{}', max_size=5)
NAME = TEXT.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
CHAT = st.lists(st.builds(Message, role=TEXT, content=TEXT), min_size=1, max_size=3).map(tuple)


def records(context: st.SearchStrategy[Any], edit: st.SearchStrategy[Any]) -> st.SearchStrategy[list[EditRecord]]:
    one = st.builds(
        EditRecord,
        id=NAME,
        context=context,
        response=TEXT,
        edit=edit,
        user=st.none() | NAME,
        policy=st.none() | NAME,
        propensity=st.none() | st.floats(0, 1, exclude_min=True),
        created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        metadata=st.dictionaries(TEXT.filter(lambda key: key != "cost"), JSON, max_size=3),
    )
    return st.lists(one, min_size=1, max_size=3)


ANY = records(TEXT | CHAT, st.none() | TEXT)
CELLS = records(TEXT, st.none() | NAME)  # an empty cell is a pending edit, and a column holds one kind of context


def fields_of(record: EditRecord) -> dict[str, Any]:
    return record.model_dump(mode="json")


def as_jsonl(path: Path, rows: Sequence[EditRecord]) -> None:
    write_jsonl(path, rows)


def as_array(path: Path, rows: Sequence[EditRecord]) -> None:
    path.write_text(json.dumps([fields_of(row) for row in rows], ensure_ascii=False, indent=1), encoding="utf-8")


def as_gzip(path: Path, rows: Sequence[EditRecord]) -> None:
    as_jsonl(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


def as_zstd(path: Path, rows: Sequence[EditRecord]) -> None:
    as_jsonl(path, rows)
    path.write_bytes(pa.compress(path.read_bytes(), codec="zstd", asbytes=True))


def as_parquet(path: Path, rows: Sequence[EditRecord]) -> None:
    columns: dict[str, list[Any]] = {field: [] for field in EditRecord.model_fields}
    columns["messages"] = []
    for row in rows:
        for field, value in fields_of(row).items():
            columns[field].append(value)
        columns["created_at"][-1] = row.created_at
        columns["metadata"][-1] = json.dumps(row.metadata) if row.metadata else None
        chat = not isinstance(row.context, str)
        columns["messages"].append(json.dumps(columns["context"][-1]) if chat else None)
        columns["context"][-1] = None if chat else row.context
    columns["created_at"] = pa.array(columns["created_at"], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(columns).replace_schema_metadata({b"copydesk": b"1"}), path)


def as_csv(path: Path, rows: Sequence[EditRecord]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(EditRecord.model_fields)
        for row in rows:
            cells = fields_of(row)
            cells["metadata"] = json.dumps(row.metadata) if row.metadata else None
            writer.writerow(cells.values())


FORMATS: dict[str, Callable[[Path, Sequence[EditRecord]], None]] = {
    "log.jsonl": as_jsonl,
    "log.json": as_array,
    "log.jsonl.gz": as_gzip,
    "log.jsonl.zst": as_zstd,
    "log.parquet": as_parquet,
}


def read(path: Path) -> list[EditRecord]:
    source = open_row_source(str(path))
    sample = [row.fields for row in islice(source.rows(), 100) if row.fields is not None]
    mapping = IDENTITY_MAPPING if source.has_record_fields else guess_mapping(sample, {}, texts=source.all_text)
    found = []
    for row in source.rows():
        assert row.fields is not None, row.error
        found.append(mapping.build_record(row.fields, "no id"))
    return found


@pytest.mark.parametrize("name", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(ANY)
def test_any_records_in_any_format(tmp_path: Path, name: str, rows: list[EditRecord]) -> None:
    FORMATS[name](tmp_path / name, rows)
    assert read(tmp_path / name) == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(CELLS)
def test_texts_in_cells(tmp_path: Path, rows: list[EditRecord]) -> None:
    as_csv(tmp_path / "log.csv", rows)
    assert read(tmp_path / "log.csv") == rows


LOGS = pytest.mark.parametrize("log", ["lamp", "expertqa", "defacto", "mlqe_pe"])


@pytest.mark.slow
@LOGS
@pytest.mark.parametrize("name", FORMATS)
def test_the_real_logs(shared_data: Path, tmp_path: Path, log: str, name: str) -> None:
    rows = load_log(shared_data / f"{log}.jsonl")
    FORMATS[name](tmp_path / name, rows)
    assert read(tmp_path / name) == rows


@LOGS
def test_the_real_logs_in_cells(shared_data: Path, tmp_path: Path, log: str) -> None:
    rows = load_log(shared_data / f"{log}.jsonl")
    as_csv(tmp_path / "log.csv", rows)
    # CSV cannot hold one row of `expertqa`, whose response was deleted as a whole: it is pending here.
    assert read(tmp_path / "log.csv") == [row.model_copy(update={"edit": row.edit or None}) for row in rows]
