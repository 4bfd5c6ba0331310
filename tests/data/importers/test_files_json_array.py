import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.data.importers import files as module
from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.files import iter_json_array
from copydesk.errors import InputError


def rows(data: bytes) -> list[SourceRow]:
    return list(iter_json_array(io.BytesIO(data), "log.json"))


VALUES = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.text(alphabet=st.sampled_from('"\\[]{},:né😀\n')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=4),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.sampled_from([1, 2, 3, 7, 4096]),
)
def test_the_elements_come_out_wherever_the_chunks_end(
    objects: list[dict[str, Any]], indent: int | None, escapes: bool, chunk: int
) -> None:
    before, module._CHUNK_SIZE = module._CHUNK_SIZE, chunk
    try:
        found = rows(json.dumps(objects, indent=indent, ensure_ascii=escapes).encode())
    finally:
        module._CHUNK_SIZE = before
    assert found == [SourceRow(number, row) for number, row in enumerate(objects, start=1)]


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (b"1", "the number 1 where one JSON object is expected; write {...} on each row"),
        (b'{"cost": NaN}', "NaN is not JSON"),
        (b'{"a" 1}', "not JSON at column 6"),
        (b'{"a": "\xff"}', "byte 8 of the row is not UTF-8"),
        (b" ", "there is nothing between two commas"),
    ],
)
def test_a_bad_element_does_not_hide_those_after_it(element: bytes, message: str) -> None:
    first, bad, last = rows(b'[{"a": 1},' + element + b', {"a": 2}]')
    assert (first, last) == (SourceRow(1, {"a": 1}), SourceRow(3, {"a": 2}))
    assert message in str(bad.error)
    assert bad.raw is not None
    assert bad.raw == element.strip().decode("utf-8", "backslashreplace")


def test_a_comma_after_the_last_element_does_no_harm() -> None:
    assert rows(b'\n [{"a": 1},\n]\n') == [SourceRow(1, {"a": 1})]


def test_an_element_that_is_too_long_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROW_BYTES", 20)
    monkeypatch.setattr(module, "_CHUNK_SIZE", 8)
    first, bad, last = rows(b'[{"a": 1}, {"a": "' + b"x" * 99 + b'"}, {"a": 2}]')
    assert (first, last) == (SourceRow(1, {"a": 1}), SourceRow(3, {"a": 2}))
    assert "longer than" in str(bad.error)
    assert len(str(bad.raw)) <= 21


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'[{"a": 1}, {"a"', "the file ends before its JSON array does"),
        (b'[{"a": 1}', "the file ends before its JSON array does"),
        (b'{"a": 1}', "it is not one JSON array"),
        (b'[{"a": 1}] [', "there is more text after the end of the JSON array"),
    ],
)
def test_a_file_that_is_not_an_array_is_one_line(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=rf"^log.json: {says}"):
        rows(data)
