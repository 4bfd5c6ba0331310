import gzip
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.data import EditRecord, load_log, read_jsonl, write_jsonl
from copydesk.data.exporters import ExportFormat, ExportResult, export_records, parquet
from copydesk.errors import InputError

ROW = EditRecord(id="a", context="c", response="r", edit="e")
FULL = EditRecord.model_validate(
    {
        "id": "é",
        "context": [{"role": "system", "content": "s", "name": None}, {"role": "user", "content": "\u2028\r\n😀"}],
        "response": "",
        "edit": "x\x00y",
        "user": "ann",
        "policy": "dpo@2",
        "propensity": 0.1,
        "created_at": "2026-01-31T12:00:00.000001+05:30",
        "metadata": {"k": [1, None, {"ü": 0.1}]},
    }
)
LOG = [ROW, FULL, EditRecord(id="pending", context="c", response="r")]


def unpacked(path: Path) -> bytes:
    codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.input_stream(str(path), compression=codec) as stream:
        return bytes(stream.read())


def records_of(path: Path) -> list[EditRecord]:
    """The records of a Parquet file, as its columns say."""
    found = []
    for row in pq.read_table(path).to_pylist():
        messages, metadata = row.pop("messages"), row.pop("metadata")
        assert (messages is None) != (row["context"] is None)
        if messages is not None:
            row["context"] = json.loads(messages)
        found.append(EditRecord(**row, metadata={} if metadata is None else json.loads(metadata)))
    return found


# -- logs go out as they are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.jsonl.zst", "log"])
def test_json_lines_are_those_of_write_jsonl(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "wanted", LOG)
    done = export_records(iter(LOG), tmp_path / name, "jsonl")
    assert unpacked(tmp_path / name) == (tmp_path / "wanted").read_bytes()
    assert (done.rows, done.records, done.left_out) == (3, 3, {})


def test_gzip_is_what_others_call_gzip(tmp_path: Path) -> None:
    export_records([ROW], tmp_path / "log.jsonl.gz", "jsonl")
    assert json.loads(gzip.decompress((tmp_path / "log.jsonl.gz").read_bytes()))["id"] == "a"


def test_parquet_has_the_columns_it_promises(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    export_records(LOG, path, "parquet")
    schema = pq.read_schema(path)
    assert schema.names == [
        "id", "context", "messages", "response", "edit", "user", "policy", "propensity", "created_at", "metadata",
    ]  # fmt: skip
    assert schema.metadata[b"copydesk"] == b"1"
    assert schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert pq.read_table(path).to_pylist()[0] == dict.fromkeys(schema.names) | {
        "id": "a", "context": "c", "response": "r", "edit": "e",
    }  # fmt: skip
    assert records_of(path) == LOG


def test_row_groups_are_small_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def groups(records: list[EditRecord]) -> list[int]:
        export_records(records, tmp_path / "log.parquet", "parquet", overwrite=True)
        assert records_of(tmp_path / "log.parquet") == records
        file = pq.ParquetFile(tmp_path / "log.parquet")
        return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]

    monkeypatch.setattr(parquet, "_MAX_GROUP_ROWS", 4)
    monkeypatch.setattr(parquet, "_MAX_GROUP_CHARACTERS", 100)
    short = [EditRecord(id=str(i), context="c", response="r") for i in range(9)]
    long = [EditRecord(id=str(i), context="c" * 60, response="r") for i in range(5)]
    assert groups(short) == [4, 4, 1]
    assert groups(long) == [2, 2, 1]


TEXTS = st.text(max_size=20)
NAMES = st.text(min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MESSAGES = st.fixed_dictionaries({"role": TEXTS, "content": TEXTS}, optional={"name": VALUES})
RECORDS = st.builds(
    EditRecord,
    id=NAMES,
    context=TEXTS | st.lists(MESSAGES, min_size=1, max_size=3),
    response=TEXTS,
    edit=st.none() | TEXTS,
    user=st.none() | NAMES,
    policy=st.none() | NAMES,
    propensity=st.none() | st.floats(0, 1, exclude_min=True),
    created_at=st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES),
    metadata=st.dictionaries(TEXTS, VALUES, max_size=3),
)  # fmt: skip


@pytest.mark.slow
@given(records=st.lists(RECORDS, min_size=1, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_log_comes_back_from_every_format(tmp_path: Path, records: list[EditRecord]) -> None:
    export_records(records, tmp_path / "log.parquet", "parquet", overwrite=True)
    assert records_of(tmp_path / "log.parquet") == records
    export_records(records, tmp_path / "log.jsonl.zst", "jsonl", overwrite=True)
    (tmp_path / "log.jsonl").write_bytes(unpacked(tmp_path / "log.jsonl.zst"))
    assert list(read_jsonl(tmp_path / "log.jsonl")) == records


@pytest.mark.parametrize("name", ["lamp", "expertqa", "defacto", "mlqe_pe"])
def test_the_real_logs_go_out_unchanged(shared_data: Path, tmp_path: Path, name: str) -> None:
    records = load_log(shared_data / f"{name}.jsonl")
    export_records(records, tmp_path / "log.jsonl", "jsonl")
    assert load_log(tmp_path / "log.jsonl") == records
    export_records(records, tmp_path / "log.parquet", "parquet")
    assert records_of(tmp_path / "log.parquet") == records


# -- sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize(("format", "size"), [("preference", 9), ("prompt-completion", 12), ("kto", 21)])
def test_a_set_says_the_same_as_json_lines_and_as_parquet(
    tmp_path: Path, format: ExportFormat, size: int, form: Any, records: list[EditRecord]
) -> None:
    lines, table = tmp_path / "set.jsonl", tmp_path / "set.parquet"
    done = export_records(records, lines, format, form)
    assert export_records(records, table, format, form) == done
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert pq.read_table(table).to_pylist() == rows
    assert len(rows) == done.rows == size
    assert isinstance(rows[0]["prompt"], str if form == "text" else list)


def test_a_set_of_arbitrary_text_is_the_text(tmp_path: Path) -> None:
    text = "\u2028 \x85 \x00 \r\n \ufeff 😀 é"
    record = EditRecord(id="a", context=text, response="r", edit=text)
    for name in ("set.jsonl", "set.parquet"):
        export_records([record], tmp_path / name, "prompt-completion")
    assert json.loads((tmp_path / "set.jsonl").read_bytes()) == {"prompt": text, "completion": text}
    assert pq.read_table(tmp_path / "set.parquet").to_pylist() == [{"prompt": text, "completion": text}]


# -- one step, or none -------------------------------------------------------------------------------------------------


def test_an_older_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("before")
    with pytest.raises(InputError, match=r"log\.jsonl: there is a file of that name already.*--force"):
        export_records([ROW], path, "jsonl")
    assert path.read_text() == "before"
    export_records([ROW], path, "jsonl", overwrite=True)
    assert load_log(path) == [ROW]


def test_a_database_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "copydesk.db"
    path.write_bytes(b"SQLite format 3\0...")
    with pytest.raises(InputError, match=r"this is a database"):
        export_records([ROW], path, "jsonl", overwrite=True)


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.parquet"])
def test_a_source_that_fails_leaves_the_older_file(tmp_path: Path, name: str) -> None:
    def failing() -> Iterator[EditRecord]:
        yield ROW
        raise KeyboardInterrupt

    path = tmp_path / name
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        export_records(failing(), path, "parquet" if path.suffix == ".parquet" else "jsonl", overwrite=True)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", ["jsonl", "preference"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.zst", "out.parquet"])
def test_nothing_to_write_is_an_error_with_the_reason(tmp_path: Path, name: str, format: ExportFormat) -> None:
    if format == "jsonl":
        records, says = [], r"there is nothing to write; "
        format = "parquet" if name == "out.parquet" else format
    else:
        records, says = [LOG[2], LOG[2]], r"there is nothing to write \(left out: 2 pending\); "
    with pytest.raises(InputError, match=says):
        export_records(records, tmp_path / name, format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [(float("nan"), "not JSON compliant"), ({1, 2}, "not JSON serializable"), ("\ud83d", "surrogate")],
)
@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_what_no_file_can_hold_is_an_error_that_names_the_record(
    tmp_path: Path, name: str, value: Any, says: str
) -> None:
    bad = EditRecord(id="bad", context="c", response="r", metadata={"k": value})
    path = tmp_path / name
    with pytest.raises(InputError, match=rf"{name}: record 'bad' cannot be written .*{says}") as raised:
        export_records([ROW, bad], path, "parquet" if path.suffix == ".parquet" else "jsonl")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_time_outside_the_calendar_is_an_error_that_names_the_record(tmp_path: Path) -> None:
    late = EditRecord(id="late", context="c", response="r", created_at="9999-12-31T23:00:00-05:00")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"record 'late' cannot be written"):
        export_records([late], tmp_path / "log.parquet", "parquet")


@pytest.mark.parametrize(
    ("name", "format", "form", "says"),
    [
        ("log.jsonl", "parquet", "auto", r"the name of a Parquet file must end in \.parquet"),
        ("log.parquet", "jsonl", "auto", r"--format parquet"),
        ("log.jsonl", "jsonl", "chat", r"--form chat: a log has no forms"),
        ("missing/log.jsonl", "jsonl", "auto", r"there is no folder"),
        ("", "jsonl", "auto", r"there is a file|this is a folder"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, name: str, format: ExportFormat, form: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        export_records([ROW], tmp_path / name, format, form, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    export_records([FULL], Path("-"), "jsonl")
    written = stdout.buffer.getvalue()  # type: ignore[attr-defined]
    assert EditRecord.model_validate(json.loads(written)) == FULL


def test_counts_are_added_to_those_there_are(tmp_path: Path) -> None:
    done = ExportResult()
    done.left_out["another user"] = 3
    assert export_records(LOG, tmp_path / "set.jsonl", "prompt-completion", "chat", done=done) is done
    assert done.to_json() == {
        "rows": 2, "records": 2, "left_out": {"another user": 3, "pending": 1}, "cut_messages": 1,
    }  # fmt: skip


ENDLESS = """
import itertools, pathlib, sys
from copydesk.data import EditRecord
from copydesk.data.exporters import export_records
rows = (EditRecord(id=str(i), context="c" * 500, response="r" * 500, edit="e") for i in itertools.count())
export_records(rows, pathlib.Path(sys.argv[1]), sys.argv[2], overwrite=True)
"""


@pytest.mark.parametrize(("name", "format"), [("log.jsonl", "jsonl"), ("set.parquet", "preference")])
def test_a_killed_export_keeps_the_old_file_and_the_next_one_removes_its_temporary_file(
    tmp_path: Path, name: str, format: ExportFormat
) -> None:
    path = tmp_path / name
    path.write_text("before")
    killed = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path), format])
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 10_000 for file in tmp_path.glob(".copydesk-*.tmp")):
        assert killed.poll() is None and time.monotonic() < deadline, "nothing is written"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert path.read_text() == "before"
    other = tmp_path / "other"
    other.write_text("another's")
    assert len(list(tmp_path.iterdir())) == 3
    export_records([ROW], path, format, overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])
