import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from copydesk.data import EditRecord
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.openai_chat import build_openai_source

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write to Ann."}]


def source(name: str, *given: Mapping[str, Any] | str) -> ImportSource:
    """Rows that were read, or errors."""

    def rows() -> Any:
        for place, row in enumerate(given, start=1):
            yield SourceRow(place, error=row, raw=row) if isinstance(row, str) else SourceRow(place, row)

    return ImportSource(name, rows, "line", Path(f"{name}.rejected.jsonl"), progress=lambda: 0.5)


def completion(name: str = "chatcmpl-1", text: Any = "Dear Ann,", **others: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": name,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "model-x",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        **others,
    }


def exchange(name: str = "chatcmpl-1", text: Any = "Dear Ann,", **others: Any) -> dict[str, Any]:
    return {
        "request": {"model": "model", "messages": ASKED, "temperature": 0.2},
        "response": completion(name, text),
        **others,
    }


def read(
    log: list[Any], edits: list[Any], requests: list[Any] | None = None
) -> tuple[list[dict[str, Any]], list[SourceRow]]:
    asked = None if requests is None else source("batch.jsonl", *requests)
    found = list(build_openai_source(source("log.jsonl", *log), source("edits.jsonl", *edits), requests=asked).rows())
    good = [dict(row.fields) for row in found if row.fields is not None]
    for number, fields in enumerate(good):
        EditRecord.model_validate({"id": number, **fields})
    return good, [row for row in found if row.fields is None]


def one(log: Any, *edits: Any, requests: list[Any] | None = None) -> dict[str, Any]:
    [fields], errors = read([log], list(edits), requests)
    assert not errors
    return fields


def error(log: Any) -> str:
    good, [row] = read([log], [])
    assert not good
    assert row.raw is not None and json.loads(row.raw) == log
    return str(row.error)


def test_a_proxys_log_and_its_edit() -> None:
    edit = {"completion_id": "chatcmpl-1", "edit": "Hi Ann,", "user": "bo", "created_at": "2026-01-31T12:00:00Z"}
    assert one(exchange(), edit) == {
        "id": "chatcmpl-1",
        "context": ASKED,
        "response": "Dear Ann,",
        "edit": "Hi Ann,",
        "user": "bo",
        "policy": "model-x",
        "created_at": 1_700_000_000,
        "metadata": {
            "request": {"temperature": 0.2},
            "response": {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
            "edited": {"created_at": "2026-01-31T12:00:00Z"},
        },
    }


def test_request_and_response_may_be_json_in_a_text() -> None:
    log = exchange()
    written = {"request": json.dumps(log["request"]), "response": json.dumps(log["response"])}
    assert one(written) == one(log)


def test_stored_completions_are_flat() -> None:
    stored = {**completion(), "metadata": {"team": "a"}, "user": "bo"}
    for key in ("messages", "input"):
        fields = one({**stored, key: ASKED}, {"id": "chatcmpl-1", "edited": "Hi"})
        assert (fields["context"], fields["response"], fields["edit"]) == (ASKED, "Dear Ann,", "Hi")
        assert (fields["user"], fields["policy"]) == ("bo", "model-x")
        assert fields["metadata"] == {"team": "a", "usage": stored["usage"]}


def test_the_last_message_is_the_answer_where_there_are_no_choices() -> None:
    fields = one({"id": 7, "messages": [*ASKED, {"role": "assistant", "content": "Dear"}]}, {"id": 7, "edit": "Hi"})
    assert (fields["id"], fields["context"], fields["response"], fields["edit"]) == ("7", ASKED, "Dear", "Hi")


def test_a_batch_is_joined_with_its_input_in_any_order() -> None:
    requests = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": ASKED}}
        for name in ("a", "b")
    ]
    output = {
        "id": "batch_req_1",
        "custom_id": "b",
        "response": {"status_code": 200, "request_id": "r", "body": completion("chatcmpl-9")},
        "error": None,
    }
    for edit in ({"custom_id": "b", "edit": "Hi"}, {"completion_id": "chatcmpl-9", "edit": "Hi"}):
        fields = one(output, edit, requests=requests)
        assert (fields["id"], fields["context"], fields["edit"]) == ("chatcmpl-9", ASKED, "Hi")
    assert error(output).startswith("the request is not there")
    failed = {"id": "batch_req_2", "custom_id": "c", "response": None, "error": {"code": "batch_expired"}}
    assert error(failed) == "field 'response' holds no completion; leave out the requests that failed"


def test_what_has_no_edit_is_pending_and_what_was_accepted_is_equal() -> None:
    assert "edit" not in one(exchange())
    assert one(exchange(), {"completion_id": "chatcmpl-1", "accepted": True})["edit"] == "Dear Ann,"
    assert one(exchange(), {"completion_id": "chatcmpl-1", "edit": ""})["edit"] == ""


@pytest.mark.parametrize(
    "text",
    [
        "Hi",
        [{"type": "text", "text": "H"}, {"type": "output_text", "text": "i"}],
        {"role": "assistant", "content": "Hi"},
    ],
)
def test_the_edit_may_be_a_text_its_parts_or_a_message(text: Any) -> None:
    assert one(exchange(), {"id": "chatcmpl-1", "content": text})["edit"] == "Hi"


def test_the_latest_edit_counts() -> None:
    late = {"id": "chatcmpl-1", "edit": "late", "created_at": "2026-01-31T13:00:00+01:00"}
    early = {"id": "chatcmpl-1", "edit": "early", "created_at": "2026-01-31T11:59:59Z"}
    assert one(exchange(), late, early)["edit"] == one(exchange(), early, late)["edit"] == "late"
    assert one(exchange(), {"id": "chatcmpl-1", "edit": "1"}, {"id": "chatcmpl-1", "edit": "2"})["edit"] == "2"


def test_messages_keep_what_is_not_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Go"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]
    assert one({"request": {"messages": messages}, "response": completion()})["context"] == [
        {"role": "user", "content": "Go", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]


def test_prompts_and_refusals() -> None:
    old = {"request": {"prompt": "Go"}, "response": {"id": "cmpl-1", "choices": [{"text": "Gone"}]}}
    assert (one(old)["context"], one(old)["response"]) == ("Go", "Gone")
    refusal = {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "No."}}]}
    assert one({"request": {"messages": ASKED}, "response": refusal})["response"] == "No."
    assert one({"request": {"messages": ASKED}, "response": "Dear"})["response"] == "Dear"


def test_bad_rows_name_their_error() -> None:
    choice = completion()["choices"][0]
    call = {"message": {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}}
    request = {"messages": ASKED}
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]}
    for row, said in [
        ({"request": request, "response": {"choices": [choice, choice]}}, "there are 2 choices; keep the one that"),
        ({"request": request, "response": {"choices": [call]}}, "the answer is a tool call, not text"),
        ({"request": request, "response": {"choices": []}}, "field 'choices' is missing"),
        ({"request": request, "response": {"error": {"code": 500}}}, "field 'response' holds no completion"),
        ({"request": request}, "field 'response' holds no completion"),
        ({"request": {}, "response": completion()}, "field 'messages' is missing"),
        ({"request": {"messages": ["Go"]}, "response": completion()}, "a message is not an object with a role"),
        ({"request": image, "response": completion()}, "a message holds a part of type 'image_url'"),
        ({"response": completion()}, "the request is not there"),
    ]:
        assert error(row).startswith(said), row


def test_an_error_names_the_line_of_its_own_file() -> None:
    edits = [
        {"completion_id": "chatcmpl-1", "edit": "Hi"},
        {"completion_id": "gone", "edit": "Hi {name}"},
        {"edit": "Hi"},
        "not JSON",
        {"id": "chatcmpl-1", "edit": "a", "edited": "b"},
        {"id": "chatcmpl-1"},
    ]
    good, errors = read(["broken", exchange()], edits)
    assert [row["edit"] for row in good] == ["Hi"]
    said = [(row.number, str(row.error).removeprefix(f"edits.jsonl, line {row.number}: ")) for row in errors]
    assert said == [
        (3, "field 'completion_id' is missing; it must be the id of the completion that was edited"),
        (4, "not JSON"),
        (5, "fields 'edit' and 'edited' both mean the edit; keep one of them"),
        (6, "give either the edited text as 'edit', or \"accepted\": true"),
        (1, "broken"),
        (2, "there is no completion gone in the log; give the log it was answered in"),
    ]
    assert str(errors[0].error).startswith("edits.jsonl, line 3: ")
    assert errors[-1].raw is not None and json.loads(errors[-1].raw)["edit"] == "Hi {name}"


def test_it_is_the_source_of_its_log() -> None:
    found = build_openai_source(source("log.jsonl", exchange()), source("edits.jsonl"))
    assert (found.name, found.unit, found.has_record_fields, found.progress()) == ("log.jsonl", "line", True, 0.5)
    assert list(found.rows()) == list(found.rows())
