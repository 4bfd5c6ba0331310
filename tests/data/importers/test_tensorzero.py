import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from copydesk.data import EditRecord
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.tensorzero import build_tensorzero_source

# The first 48 bits are 2026-01-31T12:00:00Z, of `LATER` one second after that.
FIRST = "019c13ec-9e00-7000-8000-000000000000"
LATER = "019c13ec-a1e8-7000-8000-000000000000"


def source(name: str, *given: Mapping[str, Any]) -> ImportSource:
    def rows() -> Any:
        yield from (SourceRow(place, row) for place, row in enumerate(given, start=1))

    return ImportSource(name, rows, "line", Path(f"{name}.rejected.jsonl"))


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


INPUT = {"system": "Be brief.", "messages": [{"role": "user", "content": [text("Write to Ann.")]}]}


def dumped(**others: Any) -> dict[str, Any]:
    """As ClickHouse writes a row of ChatInference, with its nested values as texts."""
    return {
        "id": FIRST,
        "function_name": "write",
        "variant_name": "small",
        "episode_id": "e-1",
        "input": json.dumps(INPUT),
        "output": json.dumps([text("Dear Ann,")]),
        "tool_params": "",
        "processing_time_ms": 7,
        "tags": {"user_id": "ann"},
        **others,
    }


def feedback(value: Any = None, **others: Any) -> dict[str, Any]:
    value = [text("Hi Ann,")] if value is None else value
    return {"id": LATER, "inference_id": FIRST, "value": json.dumps(value), "tags": {}, **others}


def listed(**others: Any) -> dict[str, Any]:
    """As the client lists an inference, with the demonstration as its output."""
    return {
        "type": "chat",
        "inference_id": FIRST,
        "function_name": "write",
        "variant_name": "small",
        "episode_id": "e",
        "timestamp": "2026-01-31T12:00:00Z",
        "input": INPUT,
        "output": [text("Hi Ann,")],
        "dispreferred_outputs": [[text("Dear Ann,")]],
        "tags": {"user_id": "ann"},
        **others,
    }


def read(
    inferences: list[Any], given: list[Any] | None = None, **options: Any
) -> tuple[list[dict[str, Any]], list[SourceRow]]:
    demonstrations = None if given is None else source("feedback.jsonl", *given)
    found = list(build_tensorzero_source(source("inferences.jsonl", *inferences), demonstrations, **options).rows())
    good = [dict(row.fields) for row in found if row.fields is not None]
    for fields in good:
        EditRecord.model_validate(fields)
    return good, [row for row in found if row.fields is None]


def one(row: Any, *given: Any, **options: Any) -> dict[str, Any]:
    [fields], errors = read([row], list(given) if given else None, **options)
    assert not errors
    return fields


def test_dumps_of_the_two_tables() -> None:
    assert one(dumped(), feedback()) == {
        "id": FIRST,
        "context": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write to Ann."}],
        "response": "Dear Ann,",
        "edit": "Hi Ann,",
        "user": "ann",
        "policy": "write/small",
        "created_at": "2026-01-31T12:00:00+00:00",
        "metadata": {
            "function_name": "write",
            "variant_name": "small",
            "episode_id": "e-1",
            "processing_time_ms": 7,
            "tags": {"user_id": "ann"},
            "demonstration": {"id": LATER},
        },
    }


def test_listed_with_its_demonstration() -> None:
    fields = one(listed())
    assert (fields["id"], fields["response"], fields["edit"]) == (FIRST, "Dear Ann,", "Hi Ann,")
    assert fields["created_at"] == "2026-01-31T12:00:00Z"
    accepted = one(listed(dispreferred_outputs=[[text("Hi Ann,")]]))
    assert accepted["edit"] == accepted["response"]


def test_without_a_demonstration_it_is_pending() -> None:
    for row in (dumped(), listed(dispreferred_outputs=[]), listed(dispreferred_outputs=None)):
        assert "edit" not in one(row)


def test_json_functions_are_their_raw_text() -> None:
    row = dumped(output=json.dumps({"raw": '{"a":1}', "parsed": {"a": 1}}), output_schema="{}")
    fields = one(row, feedback({"raw": '{"a": 2}', "parsed": {"a": 2}}))
    assert (fields["response"], fields["edit"]) == ('{"a":1}', '{"a": 2}')
    both = listed(type="json", output={"raw": "x", "parsed": None}, dispreferred_outputs=[{"raw": "y", "parsed": None}])
    assert (one(both)["response"], one(both)["edit"]) == ("y", "x")
    assert one(dumped(output={"raw": None, "parsed": {"é": 1}}))["response"] == '{"é": 1}'


def test_the_latest_demonstration_counts() -> None:
    late, early = feedback([text("late")]), feedback([text("early")], id=FIRST)
    assert one(dumped(), late, early)["edit"] == one(dumped(), early, late)["edit"] == "late"
    timed = [feedback([text(said)], id="f", timestamp=said) for said in ("2026-02-01 00:00:00", "2026-01-01 00:00:00")]
    assert one(dumped(), *timed)["edit"] == "2026-02-01 00:00:00"


def test_the_tag_of_the_person_who_demonstrated_names_the_user() -> None:
    given = feedback(tags={"editor": "bo"})
    assert one(dumped(), given)["user"] == "ann"
    assert one(dumped(tags={"editor": "ann"}), given, user_tag="editor")["user"] == "bo"
    assert "user" not in one(dumped(), given, user_tag="nobody")


def test_thoughts_are_left_out_and_texts_put_together() -> None:
    output = [{"type": "thought", "text": "hm"}, text("Dear "), text("Ann,")]
    assert one(dumped(output=json.dumps(output)))["response"] == "Dear Ann,"


def test_inputs_in_openais_format() -> None:
    messages = [
        {"role": "user", "content": "old text"},
        {"role": "user", "content": [{"type": "raw_text", "value": "raw"}, {"type": "text", "value": " and text"}]},
        {"role": "user", "content": [{"type": "template", "name": "user", "arguments": {"to": "Ann"}}]},
        {"role": "user", "content": [{"type": "text", "arguments": {"to": "Bo"}}]},
        {"role": "assistant", "content": [{"type": "thought", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"}]},
        {"role": "user", "content": [{"type": "tool_result", "id": "c", "name": "f", "result": "1"}]},
        {"role": "user", "content": [{"type": "tool_result", "id": "d", "name": "f", "result": "2"}, text("so?")]},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert one(dumped(input={"system": {"tone": "warm"}, "messages": messages}))["context"] == [
        {"role": "system", "content": '{"tone": "warm"}'},
        {"role": "user", "content": "old text"},
        {"role": "user", "content": "raw and text"},
        {"role": "user", "content": '{"to": "Ann"}'},
        {"role": "user", "content": '{"to": "Bo"}'},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
        {"role": "tool", "content": "2", "tool_call_id": "d"},
        {"role": "user", "content": "so?"},
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (dumped(output=[{"type": "tool_call", "id": "c"}]), "the output holds a block of type 'tool_call'"),
        (dumped(output=["x"]), "the output holds a block without a type"),
        (dumped(output=None), "field 'output' is missing"),
        (dumped(output={"raw": None, "parsed": None}), "field 'output' is missing"),
        (dumped(output={"text": "x"}), "field 'output' must be a list of content blocks"),
        (dumped(input="text"), "field 'input' must be an object with 'system' and 'messages'"),
        (dumped(input={"messages": []}), "the input holds no messages"),
        (dumped(input={"messages": ["x"]}), "a message of the input is not an object"),
        (
            dumped(input={"messages": [{"role": "user", "content": [{"type": "file"}]}]}),
            "the input holds a block of type",
        ),
        (
            dumped(input={"messages": [{"role": "user", "content": 1}]}),
            "the content of a message must be text or a list",
        ),
    ],
)
def test_bad_rows_name_their_error(row: dict[str, Any], said: str) -> None:
    good, [bad] = read([row])
    assert not good
    assert bad.error is not None and bad.error.startswith(said)
    assert bad.raw is not None and json.loads(bad.raw) == row


def test_a_demonstration_of_what_is_not_there_names_its_line() -> None:
    given = [feedback(), feedback(inference_id="gone"), feedback(inference_id=None), feedback([{"type": "tool_call"}])]
    good, errors = read([dumped()], given)
    assert [row["edit"] for row in good] == ["Hi Ann,"]
    assert [row.number for row in errors] == [3, 4, 2]
    assert errors[-1].error == "feedback.jsonl, line 2: there is no inference gone in the dump; dump it as well"
