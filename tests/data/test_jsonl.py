import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.data import EditRecord, Message, load_log, read_jsonl, write_jsonl
from copydesk.errors import InputError

ROW = {"id": "a", "context": "c", "response": "r", "edit": "e"}


def log(folder: Path, *lines: str | bytes | dict[str, Any], end: bytes = b"\n") -> Path:
    path = folder / "log.jsonl"
    encoded = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + end for line in encoded))
    return path


def error(path: Path) -> str:
    with pytest.raises(InputError) as raised:
        load_log(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# -- what is read ------------------------------------------------------------------------------------------------------


def test_rows_come_in_order_with_all_fields(tmp_path: Path) -> None:
    full = {
        **ROW,
        "user": "u",
        "policy": "p@1",
        "propensity": 0.25,
        "created_at": "2026-01-31T12:00:00Z",
        "metadata": {"k": [1, None]},
    }
    first, second = load_log(log(tmp_path, full, {**ROW, "id": "b", "edit": None}))
    assert first == EditRecord(
        id="a",
        context="c",
        response="r",
        edit="e",
        user="u",
        policy="p@1",
        propensity=0.25,
        created_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        metadata={"k": [1, None]},
    )
    assert second.pending


def test_a_missing_edit_is_pending(tmp_path: Path) -> None:
    assert load_log(log(tmp_path, {"context": "c", "response": "r"}))[0].pending


def test_preference_pairs_and_chats_are_read_by_their_usual_names(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    (row,) = load_log(log(tmp_path, {"messages": chat, "rejected": "r", "chosen": "e", "user_id": 7, "source": "web"}))
    assert row.context == (Message(role="system", content="s"), Message(role="user", content="u"))
    assert (row.response, row.edit, row.user, row.metadata) == ("r", "e", "7", {"source": "web"})


def test_byte_order_mark_blank_lines_crlf_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    one, two = json.dumps(ROW).encode(), json.dumps({**ROW, "id": "b"}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + one + b"\r\n\r\n  \n" + two)
    assert [row.id for row in read_jsonl(path)] == ["a", "b"]


def test_line_separators_of_unicode_do_not_end_a_row(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r"
    path = log(tmp_path, json.dumps({**ROW, "edit": text}, ensure_ascii=False))
    assert load_log(path)[0].edit == text


def test_escaped_surrogate_pairs_are_one_character(tmp_path: Path) -> None:
    assert load_log(log(tmp_path, r'{"context": "", "response": "\ud83d\ude00", "edit": ""}'))[0].response == "😀"


def test_reading_streams(tmp_path: Path) -> None:
    rows = read_jsonl(log(tmp_path, ROW, "not json"))
    assert [row.id for row in islice(rows, 1)] == ["a"]
    with pytest.raises(InputError, match=":2: "):
        next(rows)


# -- ids made from the content -----------------------------------------------------------------------------------------


def test_rows_without_an_id_get_stable_unique_ones(tmp_path: Path) -> None:
    bare = {"context": "c", "response": "r"}
    first = [row.id for row in load_log(log(tmp_path, bare, bare, {**bare, "user": "u"}))]
    assert len(set(first)) == 3
    edited = [row.id for row in load_log(log(tmp_path, {**bare, "edit": "e"}, bare, {**bare, "user": "u"}))]
    assert edited == first
    other = load_log(log(tmp_path, {**bare, "response": "s"}))[0].id
    assert other != first[0]
    assert (
        first[0] == "175ebc0574f08d62a6cc0670510148a4"
    )  # stored logs refer to these ids: they may not change between versions


def test_a_repeated_id_names_both_lines(tmp_path: Path) -> None:
    assert error(log(tmp_path, ROW, {**ROW, "id": "b"}, "", ROW)) == (
        ":4: field 'id': 'a' is also the id of line 1; ids are unique"
    )


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "a list where one JSON object is expected"),
        ('"text"', "the text 'text' where one JSON object"),
        ("null", "null where one JSON object"),
        ("{'id': 1}", "not JSON at column 2"),
        ("{} {}", "not JSON at column 4"),
        ('{"context": "c"}', "field 'response' is missing"),
        ('{"response": "r"}', "field 'context' is missing"),
        ('{"context": "c", "response": 3}', "field 'response' must be text; found the number 3"),
        ('{"context": "c", "draft": null}', "field 'draft' (the response) must be text; found null"),
        ('{"context": "c", "response": "r", "edit": ["e"]}', "field 'edit' must be text (the response itself"),
        ('{"context": [{"role": "user"}], "response": "r"}', "field 'context' must be text, or a list of chat"),
        ('{"context": "c", "response": "r", "propensity": 1.5}', "field 'propensity' must be a number above 0"),
        ('{"context": "c", "response": "r", "id": true}', "field 'id' must be text that is not empty, or an integer"),
        ('{"context": "c", "response": "r", "created_at": "soon"}', "field 'created_at' must be a date and time"),
        ('{"context": "c", "response": "r", "metadata": "m"}', "field 'metadata' must be an object; found the text"),
        ('{"x": "c", "prompt": "c", "response": "r"}', "fields 'x' and 'prompt' both mean 'context'"),
        ('{"context": "c", "context": "d", "response": "r"}', "field 'context' appears twice"),
        ('{"context": "c", "response": "r", "propensity": NaN}', "NaN is not JSON"),
        ('{"context": "c", "response": "r", "metadata": {"k": -Infinity}}', "-Infinity is not JSON"),
        ('{"context": "c", "response": "r", "score": 1e999}', "1e999 is too large"),
        (r'{"context": "c", "response": "r\ud83d"}', r"field 'response' holds '\ud83d', half of a surrogate pair"),
        (r'{"context": "c", "response": "r", "k": {"\ude00": 1}}', r"field 'k' holds '\ude00', half of a"),
        (b'{"context": "c", "response": "\xff"}', "byte 31 of the line is not UTF-8"),
        ("[" * 100_000 + "\n", "nested too deeply"),
    ],
)
def test_a_bad_row_is_one_line_with_file_line_and_field(tmp_path: Path, line: str | bytes, says: str) -> None:
    message = error(log(tmp_path, ROW, line))
    assert message.startswith(":2: ")
    assert says in message


def test_a_file_cut_off_in_the_middle_of_a_row(tmp_path: Path) -> None:
    path = log(tmp_path, ROW, ROW)
    path.write_bytes(path.read_bytes()[:-9])
    assert error(path).startswith(":2: the file ends in the middle of a row")


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_log(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    assert list(read_jsonl(path)) == []
    assert error(path).startswith(": the log is empty")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "no such file" in error(tmp_path / "missing.jsonl")
    assert "folder" in error(tmp_path)


# -- what is written ---------------------------------------------------------------------------------------------------

# `st.text` never makes a lone surrogate; everything else, U+2028 and astral characters among it, is fair.
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = TEXT.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
RECORDS = st.builds(
    EditRecord,
    id=NAME,
    context=TEXT | st.lists(st.builds(Message, role=TEXT, content=TEXT), min_size=1, max_size=3).map(tuple),
    response=TEXT,
    edit=st.none() | TEXT,
    user=st.none() | NAME,
    policy=st.none() | NAME,
    propensity=st.none() | st.floats(0, 1, exclude_min=True),
    created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    metadata=st.dictionaries(TEXT, JSON, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3, unique_by=lambda record: record.id))
def test_what_is_written_is_read_again(tmp_path: Path, records: list[EditRecord]) -> None:
    path = tmp_path / "log.jsonl"
    assert write_jsonl(path, records) == len(records)
    assert load_log(path) == records
    assert path.read_bytes().count(b"\n") == len(records)


def test_empty_fields_are_left_out_and_text_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_jsonl(path, [EditRecord(id="a", context="c", response="né\u2028😀")])
    assert path.read_text(encoding="utf-8") == '{"id": "a", "context": "c", "response": "né\u2028😀"}\n'


@pytest.mark.parametrize(
    "metadata", [{"k": "\ud83d"}, {"\ud83d": 1}, {"k": float("nan")}, {"k": {1, 2}}, {"k": object()}]
)
def test_what_json_cannot_hold_is_an_error_and_leaves_nothing(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = tmp_path / "log.jsonl"
    good = EditRecord(id="a", context="c", response="r")
    with pytest.raises(InputError, match=r"row 2 .id 'b'. cannot be written as JSON") as raised:
        write_jsonl(path, [good, EditRecord(id="b", context="c", response="r", metadata=metadata)])
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_half_of_a_surrogate_pair_in_a_text_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 1 .id 'a'. cannot be written as JSON"):
        write_jsonl(tmp_path / "log.jsonl", [EditRecord(id="a", context="c", response="r\ud83d")])
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = log(tmp_path, ROW)
    before = path.read_bytes()

    def records() -> Iterator[EditRecord]:
        yield from load_log(path)
        raise InputError("the source ended early")

    with pytest.raises(InputError, match="ended early"):
        write_jsonl(path, records())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["lamp", "expertqa", "defacto", "mlqe_pe"])
def test_the_real_logs_survive(shared_data: Path, tmp_path: Path, name: str) -> None:
    records = load_log(shared_data / f"{name}.jsonl")
    assert sum(record.edited for record in records) > 100
    write_jsonl(tmp_path / "copy.jsonl", records)
    assert load_log(tmp_path / "copy.jsonl") == records
