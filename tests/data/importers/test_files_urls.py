"""Files at URLs are imported as local ones are."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.web import serve_files

from copydesk.data.importers.files import ImportFormat, open_row_source
from copydesk.errors import InputError

fsspec = pytest.importorskip("fsspec")

OBJECTS = [{"a": "1", "b": "né"}, {"a": "2", "b": "😀"}]
JSON_LINES = "".join(json.dumps(row) + "\n" for row in OBJECTS).encode()
Pack = Callable[[bytes], bytes]


def bzip2(data: bytes) -> bytes:
    return bz2.compress(data, 1)  # small blocks, so that some are whole in half a file


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def parquet(**metadata: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(OBJECTS).replace_schema_metadata(metadata), file)
    return file.getvalue()


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    yield file_system
    file_system.store.clear()


def message(url: str, format: ImportFormat | None = None) -> str:
    with pytest.raises(InputError) as raised:
        list(open_row_source(url, format=format).rows())
    assert "\n" not in str(raised.value)
    return str(raised.value)


PACKS = [(bytes, ""), (gzip.compress, ".gz"), (zstd, ".zst"), (bzip2, ".bz2"), (lzma.compress, ".xz")]


@pytest.mark.parametrize(("pack", "ending"), PACKS)
def test_compressed_files_at_a_url(memory: Any, pack: Pack, ending: str) -> None:
    memory.pipe_file(f"/logs/log.jsonl{ending}", pack(JSON_LINES))
    source = open_row_source(f"memory://logs/log.jsonl{ending}")
    assert [row.fields for row in source.rows()] == [row.fields for row in source.rows()] == OBJECTS
    assert source.progress() == 1
    assert (source.name, source.rejected_path) == (
        f"memory://logs/log.jsonl{ending}",
        Path(f"log.jsonl{ending}.rejected.jsonl"),
    )


@pytest.mark.parametrize(
    ("name", "data", "unit"),
    [
        ("log.csv", "a,b\n1,né\n2,😀\n".encode(), "line"),
        ("log.json", json.dumps(OBJECTS).encode(), "row"),
        ("lines.json", JSON_LINES, "line"),
        ("log", JSON_LINES, "line"),
        ("log.parquet", parquet(), "row"),
        ("table", parquet(), "row"),
    ],
)
def test_every_format_is_known_by_name_or_first_bytes(memory: Any, name: str, data: bytes, unit: str) -> None:
    memory.pipe_file(f"/{name}", data)
    with serve_files({name: data}) as server:
        for url in (f"memory://{name}", f"{server}/{name}?key=secret"):
            source = open_row_source(url)
            assert [row.fields for row in source.rows()] == OBJECTS
            assert source.unit == unit
            assert "secret" not in source.name
            assert source.rejected_path == Path(f"{name}.rejected.jsonl")


def test_an_exported_parquet_file_at_a_url_is_recognized(memory: Any) -> None:
    memory.pipe_file("/log.parquet", parquet(copydesk="1"))
    assert open_row_source("memory://log.parquet").has_record_fields


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "ending"), PACKS[1:])
def test_a_truncated_download_is_one_line_after_the_rows_before(pack: Pack, ending: str) -> None:
    many = b"".join(
        json.dumps({"a": str(number**5), "b": "x" * (number % 9)}).encode() + b"\n" for number in range(40_000)
    )
    data = pack(many)
    with serve_files({f"log.jsonl{ending}": data[: len(data) // 2]}) as server:
        rows = open_row_source(f"{server}/log.jsonl{ending}").rows()
        assert next(rows).fields == {"a": "0", "b": ""}
        with pytest.raises(InputError, match=r"^http://127.*: the file ends early; copy it again in full$"):
            list(rows)
    with serve_files({f"log.jsonl{ending}": data}, cut=len(data) // 2) as server:
        told = message(f"{server}/log.jsonl{ending}")
    assert told.startswith(f"{server}/log.jsonl{ending}: reading broke off after ")


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "ending"), [pack for pack in PACKS[1:] if pack[0] is not zstd])  # it has no checksum
def test_a_damaged_file_is_one_line(memory: Any, pack: Pack, ending: str) -> None:
    data = bytearray(pack(b"".join(b'{"a": "%d"}\n' % number**7 for number in range(40_000))))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    memory.pipe_file(f"/log.jsonl{ending}", bytes(data))
    url = f"memory://log.jsonl{ending}"
    assert message(url).startswith((f"{url}: cannot be read (", f"{url}: the file ends early"))
    memory.pipe_file(f"/log.jsonl{ending}", pack(JSON_LINES)[:12])
    assert message(url).startswith(f"{url}: ")


def test_a_parquet_file_that_is_cut_is_one_line(memory: Any) -> None:
    memory.pipe_file("/log.parquet", parquet()[:-20])
    assert message("memory://log.parquet").startswith("memory://log.parquet: this is not a whole Parquet file (")


def test_a_data_set_is_not_named_by_a_url() -> None:
    assert message("https://host/data", "dataset").startswith("https://host/data: a data set is named by its hub id")


def test_a_url_without_a_file_is_named(memory: Any) -> None:
    memory.pipe_file("/log.txt", b"a,b\n")
    assert message("memory://missing.csv") == "memory://missing.csv: there is no such file; check the URL"
    assert message("memory://log.txt").endswith("add --format")
