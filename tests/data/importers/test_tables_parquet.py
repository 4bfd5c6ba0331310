import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.parquet import is_copydesk_parquet, iter_parquet_rows
from copydesk.errors import InputError


def written(folder: Path, table: pa.Table | dict[str, Any], **how: Any) -> Path:
    path = folder / "log.parquet"
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **how)
    return path


def test_nested_values_become_those_of_json(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    chat = [{"role": "user", "content": "né", "name": None}]
    values = {
        "messages": chat,
        "at": moment,
        "day": date(2026, 1, 31),
        "took": timedelta(seconds=1.5),
        "price": Decimal("0.25"),
        "count": Decimal("7"),
        "raw": b"n\xc3\xa9",
    }
    table = pa.table({**{key: [value, None] for key, value in values.items()}, "rating": [1, None]})
    tags = pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64()))
    nano = pa.array([1_000_000_001, None], pa.timestamp("ns"))
    path = written(tmp_path, table.append_column("tags", tags).append_column("nano", nano))
    assert list(iter_parquet_rows(path)) == [
        SourceRow(
            1,
            {
                "messages": [{"role": "user", "content": "né"}],
                "at": moment.isoformat(),
                "day": "2026-01-31",
                "took": 1.5,
                "price": 0.25,
                "count": 7,
                "raw": "né",
                "rating": 1,
                "tags": {"k": 1},
                "nano": "1970-01-01T00:00:01",
            },
        ),
        SourceRow(2, {}),
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([0.5, float("nan"), 1.0], "field 'v' holds nan, which JSON cannot; write null"),
        ([[0.5], [float("-inf")], [1.0]], "field 'v' holds -inf"),
        ([b"a", b"a\xff", b"c"], "field 'v' is not UTF-8 at byte 2"),
        (pa.array([b"a", b"a\xff", b"c"]).view(pa.string()), "a text is not UTF-8 at byte 2"),
        (pa.array([0, 2**62, 1], pa.timestamp("us")), "it has no JSON values"),
    ],
)
def test_a_bad_row_does_not_hide_the_others(tmp_path: Path, bad: Any, message: str) -> None:
    first, second, third = iter_parquet_rows(written(tmp_path, {"v": bad, "n": [1, 2, 3]}))
    assert first.fields is not None and third.fields is not None
    assert (first.fields["n"], third.fields["n"]) == (1, 3)
    assert (second.number, second.fields) == (2, None)
    assert str(second.error).startswith(message)


def test_chats_and_metadata_of_our_own_files_are_json_text(tmp_path: Path) -> None:
    chat, metadata = [{"role": "user", "content": "né"}], {"k": [None, 1.5]}
    table = pa.table(
        {
            "context": ["c", None, None],
            "messages": [None, json.dumps(chat), "no json"],
            "metadata": [json.dumps(metadata), None, None],
        }
    )
    path = written(tmp_path, table.replace_schema_metadata({b"copydesk": b"1"}))
    first, second, third = iter_parquet_rows(path)
    assert is_copydesk_parquet(path)
    assert first.fields == {"context": "c", "metadata": metadata}
    assert second.fields == {"context": chat}
    assert "is not JSON" in str(third.error)


def test_in_other_files_they_are_what_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, {"metadata": ['{"k": 1}']})
    assert not is_copydesk_parquet(path)
    assert list(iter_parquet_rows(path)) == [SourceRow(1, {"metadata": '{"k": 1}'})]


def test_progress_is_the_share_of_rows(tmp_path: Path) -> None:
    shares: list[float] = []
    path = written(tmp_path, {"n": list(range(1000))}, row_group_size=300)
    assert [row.number for row in iter_parquet_rows(path, shares.append)] == list(range(1, 1001))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_file_that_is_not_whole_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"n": [1, 2, 3]})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"log.parquet: this is not a whole Parquet file \(.*\); copy it again"):
        is_copydesk_parquet(path)


def test_damage_is_named_with_the_last_good_row(tmp_path: Path) -> None:
    path = written(tmp_path, {"n": [f"{n:064}" for n in range(600)]}, row_group_size=300, compression="gzip")
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data[place : place + 200] = b"\xff" * 200
    path.write_bytes(data)
    places = []
    with pytest.raises(InputError, match=r"log.parquet: cannot be read after row \d+ \(") as raised:
        places.extend(row.number for row in iter_parquet_rows(path))
    assert "\n" not in str(raised.value)
