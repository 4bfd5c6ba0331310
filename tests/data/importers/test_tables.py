import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.data.importers import tables as module
from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.tables import iter_csv_rows
from copydesk.errors import InputError


def rows(data: bytes, delimiter: str | None = None) -> list[SourceRow]:
    return list(iter_csv_rows(io.BytesIO(data), "log.csv", delimiter))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_header(delimiter: str) -> None:
    data = "prompt|draft|edit\na, b;c\t|d|e\n".replace(delimiter, " ").replace("|", delimiter)
    (row,) = rows(data.encode())
    assert row.fields is not None
    assert list(row.fields) == ["prompt", "draft", "edit"]
    assert (row.fields["draft"], row.fields["edit"]) == ("d", "e")


def test_a_record_has_the_number_of_the_line_it_begins_on() -> None:
    data = b'a,b\r\n\r\n"1\r\n2",x\r\n  \r\n3,"y ""z"""'
    assert rows(data) == [SourceRow(3, {"a": "1\r\n2", "b": "x"}), SourceRow(6, {"a": "3", "b": 'y "z"'})]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"1", "1 cells where the header has 2"),
        (b"1,2,3", "3 cells where the header has 2"),
        (b"1,\xff", "byte 3 of the row is not UTF-8"),
        (b'1,"2" 3', "there is a quotation mark within a cell"),
        (b'1,"2', "a quotation mark"),
        (b"1,2\r3", "there is a carriage return within a cell"),
    ],
)
def test_a_bad_record_does_not_hide_those_after_it(record: bytes, message: str) -> None:
    first, bad, *last = rows(b"a,b\n1,2\n" + record + b'\n"3",4\n"5",6\n')
    assert first == SourceRow(2, {"a": "1", "b": "2"})
    assert bad.number == 3
    assert message in str(bad.error)
    assert bad.raw == record.decode("utf-8", "backslashreplace")
    assert last == [SourceRow(4, {"a": "3", "b": "4"}), SourceRow(5, {"a": "5", "b": "6"})]


def test_a_quotation_mark_that_is_never_closed() -> None:
    bad, *rest = rows(b'a,b\n1,"2\n3,4\n5,6')
    assert "none closes it" in str(bad.error)
    assert rest == [SourceRow(3, {"a": "3", "b": "4"}), SourceRow(4, {"a": "5", "b": "6"})]


def test_records_that_are_too_long_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROW_BYTES", 30)
    data = b'a,b\n1,"' + b"\n".join([b"x" * 8] * 9) + b'"\n3,4\n'
    found = rows(data)
    assert "longer than" in str(found[0].error)
    assert (found[0].number, found[-1]) == (2, SourceRow(11, {"a": "3", "b": "4"}))


def test_cells_may_be_huge() -> None:
    (row,) = rows(b"a,b\n1," + b"x" * 1_000_000)
    assert row.fields == {"a": "1", "b": "x" * 1_000_000}


def test_columns_without_a_name_get_one() -> None:
    assert rows(b",a\n0,x\n") == [SourceRow(2, {"column_1": "0", "a": "x"})]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "log.csv: there is no header"),
        (b"\n \n", "log.csv: there is no header"),
        (b"a,b,a\n", "log.csv:1: column 'a' appears twice"),
        (b"\n\xff,b\n", "log.csv:2: the header is not UTF-8"),
        (b'a,"b\n1,2', "log.csv:1: the header: a quotation mark"),
        (b"a,b\r1,2\r", "log.csv:1: the header: there is a carriage return"),
    ],
)
def test_a_header_that_cannot_be_read_is_one_line(data: bytes, says: str) -> None:
    with pytest.raises(InputError) as raised:
        rows(data)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


CELL = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6) | st.text('",;\r\n\t x', max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=4), st.sampled_from(",;\t"))
def test_what_is_written_is_read_again(cells: list[tuple[str, str, str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([("a", "b", "c"), *cells])
    assert [row.fields for row in rows(text.getvalue().encode())] == [
        dict(zip("abc", row, strict=True)) for row in cells
    ]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.csv"
        # Rows so long that what else is allocated meanwhile is nothing beside a few of them.
        path.write_text("a,b\n" + ('"' + "x" * 20_000 + ', ""y""",2\n') * count)
        with path.open("rb") as file:
            tracemalloc.start()
            assert sum(row.fields is not None for row in iter_csv_rows(file, "log.csv")) == count
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    peak(10)
    assert peak(1_000) < peak(100) * 1.2
