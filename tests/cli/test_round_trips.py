"""Logs go into a store and come out of it again unchanged, through every format that can hold them."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.databases import new_database
from typer.testing import CliRunner

from copydesk.cli.export import export_command
from copydesk.cli.import_ import import_command
from copydesk.data import EditRecord, Message, load_log, write_jsonl
from copydesk.store.imports import compute_content_digest

LOGS = ("lamp", "expertqa", "defacto", "mlqe_pe")
QUICK = ("--unit", "character")  # what edits cost says nothing about what comes out


def said(*words: str) -> dict[str, Any]:
    app = typer.Typer()
    app.command("import")(import_command)
    app.command("export")(export_command)
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def taken_in(source: str | Path, store: str, rows: int, *words: str) -> None:
    document = said("import", str(source), "--store", store, *QUICK, *words)
    assert (document["added"], document["rejected"]) == (rows, 0), document["first_rejected"]


def out(store: str, file: Path) -> Path:
    said("export", "--store", store, "--pending", "--out", str(file), "--force")
    return file


def comes_out(store: str, rows: Sequence[EditRecord], folder: Path) -> None:
    """The rows come out as JSON Lines, and as Parquet from which another store gets them."""
    assert load_log(out(store, folder / "out.jsonl")) == list(rows)
    taken_in(out(store, folder / "out.parquet"), str(folder / "again.db"), len(rows))
    assert load_log(out(str(folder / "again.db"), folder / "again.jsonl")) == list(rows)
    (folder / "again.db").unlink()


def as_array(rows: Sequence[EditRecord], folder: Path) -> Path:
    file = folder / "log.json"
    file.write_text(json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False), encoding="utf-8")
    return file


def as_csv(rows: Sequence[EditRecord], folder: Path) -> Path:
    file = folder / "log.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(EditRecord.model_fields)
        for row in rows:
            cells = row.model_dump(mode="json")
            writer.writerow((cells | {"metadata": json.dumps(row.metadata) if row.metadata else None}).values())
    return file


def as_gzip(rows: Sequence[EditRecord], folder: Path) -> Path:
    return packed(rows, folder / "log.jsonl.gz", gzip.compress)


def as_zstd(rows: Sequence[EditRecord], folder: Path) -> Path:
    return packed(rows, folder / "log.jsonl.zst", lambda data: pa.compress(data, codec="zstd", asbytes=True))


def packed(rows: Sequence[EditRecord], file: Path, pack: Callable[[bytes], bytes]) -> Path:
    write_jsonl(file, rows)
    file.write_bytes(pack(file.read_bytes()))
    return file


def as_our_parquet(rows: Sequence[EditRecord], folder: Path) -> Path:
    write_jsonl(folder / "rows.jsonl", rows)
    said("export", "--data", str(folder / "rows.jsonl"), "--pending", "--out", str(folder / "log.parquet"))
    return folder / "log.parquet"


def columns(rows: Sequence[EditRecord]) -> dict[str, list[Any]]:
    """What a data frame of the rows holds; metadata as text, as their keys differ from row to row."""
    texts = [row.model_dump(mode="json") | {"metadata": json.dumps(row.metadata)} for row in rows]
    return {field: [one[field] for one in texts] for field in EditRecord.model_fields}


def as_plain_parquet(rows: Sequence[EditRecord], folder: Path) -> Path:
    pq.write_table(pa.table(columns(rows)), folder / "plain.parquet")
    return folder / "plain.parquet"


def as_data_set(rows: Sequence[EditRecord], folder: Path) -> Path:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns(rows)).save_to_disk(folder / "saved")
    return folder / "saved"


FORMATS = (as_array, as_csv, as_gzip, as_zstd, as_our_parquet, as_plain_parquet, as_data_set)


@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS)
def test_the_real_logs_go_in_and_come_out(shared_data: Path, tmp_path: Path, log: str) -> None:
    rows = load_log(shared_data / f"{log}.jsonl")
    store = str(tmp_path / "copydesk.db")
    taken_in(shared_data / f"{log}.jsonl", store, len(rows), "--rejected", str(tmp_path / "bad.jsonl"))
    comes_out(store, rows, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.__name__)
def test_the_real_logs_go_in_from_every_format(
    shared_data: Path, tmp_path: Path, log: str, written: Callable[[Sequence[EditRecord], Path], Path]
) -> None:
    rows = load_log(shared_data / f"{log}.jsonl")[:150]
    deleted = next(row for row in load_log(shared_data / "expertqa.jsonl") if row.edit == "")
    if log == "expertqa" and deleted not in rows:
        rows.append(deleted)
    store = str(tmp_path / "copydesk.db")
    taken_in(written(rows, tmp_path), store, len(rows))
    if written is as_csv:
        # An empty cell is a pending edit: CSV cannot say that a person deleted all of a response, as one did here.
        assert log != "expertqa" or any(row.edit == "" for row in rows)
        rows = [row.model_copy(update={"edit": row.edit or None}) for row in rows]
    assert load_log(out(store, tmp_path / "out.jsonl")) == rows


def test_a_real_log_through_postgresql(shared_data: Path, tmp_path: Path, postgres: str) -> None:
    rows = load_log(shared_data / "lamp.jsonl")
    store = new_database(postgres)
    taken_in(shared_data / "lamp.jsonl", store, len(rows), "--rejected", str(tmp_path / "bad.jsonl"))
    comes_out(store, rows, tmp_path)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
NAME = TEXT.filter(bool)
ANY = st.text(max_size=12)  # JSON, and so context and metadata, may hold NUL
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=5,
)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
RECORDS = st.builds(
    EditRecord,
    id=NAME,
    context=ANY | st.lists(st.builds(Message, role=ANY, content=ANY), min_size=1, max_size=3).map(tuple),
    response=TEXT,
    edit=st.none() | TEXT,
    user=st.none() | NAME,
    policy=st.none() | NAME,
    propensity=st.none() | st.floats(0, 1, exclude_min=True),
    created_at=st.none() | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES),
    metadata=st.dictionaries(ANY.filter(lambda key: key != "cost"), VALUES, max_size=3),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(RECORDS, min_size=1, max_size=5, unique_by=lambda one: one.id))
@example(rows=[EditRecord(id=key, context=context, response="") for key, context in (("2", ""), ("0", "0"), ("1", ""))])
def test_any_records_come_out_of_a_file_and_a_store_as_they_were(
    tmp_path: Path, name: str, rows: list[EditRecord]
) -> None:
    for file in tmp_path.iterdir():
        file.unlink()
    rows = [EditRecord(id="an edit, from which its key is known \n", context="c", response="r", edit="e"), *rows]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    exported = tmp_path / name
    said("export", "--data", str(tmp_path / "rows.jsonl"), "--pending", "--out", str(exported))
    store = str(tmp_path / "copydesk.db")
    done = said("import", str(exported), "--store", store, *QUICK)
    assert (done["rejected"], done["added"] + done["repeated"]) == (0, len(rows))
    contents: dict[str, EditRecord] = {}  # rows that differ only in their id are one, in the place of the first
    for row in rows:
        contents.setdefault(compute_content_digest(row, "default"), row)
    assert load_log(out(store, tmp_path / "out.jsonl")) == list(contents.values())
