import io

import pytest

from copydesk.data.importers import base
from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.files import iter_json_lines


def rows(data: bytes) -> list[SourceRow]:
    return list(iter_json_lines(io.BytesIO(data)))


def test_rows_have_the_numbers_of_their_lines() -> None:
    assert rows(b'{"a": 1}\r\n\n  \n{"a": 2}') == [SourceRow(1, {"a": 1}), SourceRow(4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not json", "not JSON at column 1"),
        (b"[1]", "a list where one JSON object is expected"),
        (b'{"a": 1, "a": 2}', "field 'a' appears twice"),
        (b'{"a": "\xff"}', "byte 8 of the line is not UTF-8"),
        (b'{"cost": NaN}', "NaN is not JSON"),
        (b'{"cost": -Infinity}', "-Infinity is not JSON"),
        (rb'{"a": "\ud83d"}', r"field 'a' holds '\ud83d', half of a surrogate pair"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "more than 64 bits"),
    ],
)
def test_a_bad_row_names_its_error_and_the_rows_after_it_are_read(line: bytes, message: str) -> None:
    first, bad, last = rows(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    assert (first, last) == (SourceRow(1, {"a": 1}), SourceRow(3, {"a": 2}))
    assert (bad.number, bad.fields) == (2, None)
    assert message in str(bad.error)
    assert bad.raw is not None
    assert bad.raw == line[:100_000].decode("utf-8", "backslashreplace") + "…" * (len(line) > 100_000)


def test_a_file_cut_off_in_the_middle_of_a_row() -> None:
    assert "the file ends in the middle of a row" in str(rows(b'{"a": 1}\n{"a": ')[1].error)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_that_is_too_long_is_passed_over_without_being_held(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(base, "MAX_ROW_BYTES", 20)
    fits = b'{"a": "' + b"x" * 10 + b'"}\n'  # 20 bytes
    long = b'{"a": "' + b"x" * 95 + b'"}' + end
    found = rows(fits + long + (fits if end else b""))
    assert [row.error is None for row in found] == [True, False, True][: len(found)]
    assert len(found) == (3 if end else 2)
    assert "longer than 16 MiB" in str(found[1].error)
    assert len(str(found[1].raw)) <= 21
