"""Importer of chat logs in OpenAI's format, joined with a file of edits by the id of the completion.

A row of the log is one of these; `request` and `response` may also be JSON in a text:

- a proxy's log: `{"id"?, "request": {"messages", ...}, "response": {"id", "choices", "model", "created"}}`;
- a stored completion: `{"id", "messages" or "input", "choices", "model", "created"}`, or without `choices` and with the
  answer as the last message;
- a line of a batch's output: `{"id", "custom_id", "response": {"body": {...}}}`, whose request is in the batch's input,
  `{"custom_id", "body": {"messages", ...}}`.

A row of edits: `{"completion_id" or "custom_id" or "id", "edit" or "edited" or "correction" or "content"}`, with `user`
and `created_at` where they are known; `"accepted": true` in place of the text means that the answer was kept.

Messages are read strictly: content that is not text is an error of its row, since nothing can be learned from it. The
store, which must keep whatever was answered, skips such content instead (`copydesk.store.read.extract_text`).

https://platform.openai.com/docs/api-reference/chat/object, https://platform.openai.com/docs/guides/batch
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from copydesk.data.importers.base import (
    FORMAT_PANEL,
    Importer,
    ImportSource,
    RowIndex,
    SourceRow,
    build_record_fields,
    decode_json_text,
    drop_fields,
    get_first_field,
    parse_timestamp,
    translate_row,
)
from copydesk.data.importers.files import open_row_source
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag

_TEXT_PARTS = {"text", "input_text", "output_text"}


def parse_chat_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Chat messages whose content is text; their other keys are kept.

    Raises:
        ValueError: one is not a message, or holds something that is not text.
    """
    chat = []
    for message in messages:
        if get_message_role(message) is None:
            raise ValueError('a message is not an object with a role; write {"role": "user", "content": "..."}')
        others = {key: value for key, value in message.items() if value is not None}
        chat.append({**others, "content": parse_text_content(message.get("content"))})
    return chat


def parse_assistant_text(message: Any) -> str:
    """The text of an assistant's message.

    Raises:
        ValueError: it holds none.
    """
    if not isinstance(message, dict):
        raise ValueError('the answer is not a message; write {"role": "assistant", "content": "..."}')
    if message.get("content") is not None:
        return parse_text_content(message["content"])
    if isinstance(message.get("refusal"), str):
        return str(message["refusal"])
    what = "a tool call" if message.get("tool_calls") or message.get("function_call") else "empty"
    raise ValueError(f"the answer is {what}, not text; leave the row out")


def parse_text_content(content: Any) -> str:
    """The text of a message's content, which may be in parts; null is the empty text.

    Raises:
        ValueError: a part is not text.
    """
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "".join(_parse_part(part) for part in content)
        case _:
            raise ValueError("the content of a message must be text or a list of parts")


def _parse_part(part: Any) -> str:
    match part:
        case str():
            return part
        case {"type": str(kind), "text": str(text)} if kind in _TEXT_PARTS:
            return text
        case {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": str(kind)}:
            raise ValueError(
                f"a message holds a part of type {kind!a}; only text can be learned from, leave the row out"
            )
        case _:
            raise ValueError("a part of a message has no type; only text can be learned from, leave the row out")


def get_message_role(message: Any) -> str | None:
    """The role of a message; `None` where it is not a message."""
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else None


_EDIT_KEYS = ("edit", "edited", "correction", "content")


def build_openai_source(
    log: ImportSource, edits: ImportSource, *, requests: ImportSource | None = None
) -> ImportSource:
    """The rows of a chat log with their edits; completions without an edit are pending.

    The log is read once, row by row. The edits, and the requests of a batch, are kept by id in temporary files (in
    `SQLITE_TMPDIR` or `TMPDIR`), so that memory grows with none of the three. Of several edits of one completion the
    latest counts: by `created_at`, else the last of the file. An edit of a completion that is not in the log is a
    rejected row that names its line.

    Args:
        log: the completions, in one of the formats above.
        edits: the edits of the completions.
        requests: the input file of a batch, where `log` is its output.
    """

    def rows() -> Iterator[SourceRow]:
        with RowIndex(edits) as edited, RowIndex(requests or edits) as asked:
            yield from edited.fill(_parse_edit)
            if requests is not None:
                yield from asked.fill(_parse_request)
            for row in log.rows():
                yield from translate_row(row, lambda fields: [_build_record(fields, edited, asked)])
            yield from edited.iter_unused("there is no completion {key} in the log; give the log it was answered in")

    return replace(log, rows=rows, has_record_fields=True)


def _build_record(fields: Mapping[str, Any], edited: RowIndex, asked: RowIndex) -> dict[str, Any]:
    """An edit record's fields, by name."""
    completion_id, custom_id = fields.get("completion_id"), fields.get("custom_id")
    request, response = decode_json_text(fields.get("request")), decode_json_text(fields.get("response"))
    kept = drop_fields(fields, "id", "completion_id", "custom_id", "request", "response", "user", "user_id", "metadata")
    if response is None and request is None and not fields.get("error"):
        request = response = fields
        kept = drop_fields(kept, "messages", "input", "prompt", "choices", "model", "created", "created_at", "object")
    elif isinstance(response, dict) and "body" in response:
        response = decode_json_text(response["body"])
    if isinstance(response, str):
        response = {"choices": [{"message": {"content": response}}]}
    if not isinstance(response, Mapping) or response.get("error"):
        raise ValueError("field 'response' holds no completion; leave out the requests that failed")
    if request is None and custom_id is not None and (found := asked.take(str(custom_id))):
        request = found
    if not isinstance(request, Mapping):
        raise ValueError(
            "the request is not there, so its messages are unknown; log it as 'request', or give the batch's input file"
        )
    context, answer = _parse_exchange(request, response)
    keys = [str(key) for key in (completion_id, response.get("id"), fields.get("id"), custom_id) if key is not None]
    edit = edited.take(*keys) or {}
    if request is not fields:
        kept["request"] = drop_fields(request, "messages", "input", "prompt", "model", "user")
        kept["response"] = drop_fields(response, "id", "choices", "model", "created", "object")
    metadata = fields.get("metadata")
    return build_record_fields(
        id=keys[0] if keys else None,
        context=context,
        response=answer,
        edit=answer if edit.get("accepted") else edit.get("edit"),
        user=get_first_field(edit, "user")
        or get_first_field(fields, "user", "user_id")
        or get_first_field(request, "user", "safety_identifier"),
        policy=get_first_field(response, "model") or get_first_field(request, "model"),
        created_at=get_first_field(response, "created", "created_at")
        or get_first_field(fields, "created_at", "timestamp"),
        metadata={**(metadata if isinstance(metadata, dict) else {}), **kept, "edited": edit.get("rest")},
    )


def _parse_exchange(request: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[str | list[dict[str, Any]], str]:
    """The context and the response."""
    asked = next((request[key] for key in ("messages", "input", "prompt") if request.get(key) is not None), None)
    choices = response.get("choices")
    if choices is None and isinstance(asked, list) and asked and get_message_role(asked[-1]) == "assistant":
        asked, choices = asked[:-1], [{"message": asked[-1]}]
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("field 'choices' is missing; it must hold the answer, as in a chat completion")
    if len(choices) > 1:
        raise ValueError(f"there are {len(choices)} choices; keep the one that the person saw")
    choice = choices[0]
    answer = parse_assistant_text(choice["message"]) if "message" in choice else parse_text_content(choice.get("text"))
    if isinstance(asked, str):
        return asked, answer
    if not isinstance(asked, list) or not asked:
        raise ValueError("field 'messages' is missing; it must be the list of messages that was sent")
    return parse_chat_messages(asked), answer


def _parse_edit(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    """The id of the edited completion, the time of the edit, and its content."""
    named = next((key for key in ("completion_id", "custom_id", "id") if fields.get(key) is not None), None)
    if named is None:
        raise ValueError("field 'completion_id' is missing; it must be the id of the completion that was edited")
    found = [key for key in _EDIT_KEYS if fields.get(key) is not None]
    if len(found) > 1:
        raise ValueError(f"fields '{found[0]}' and '{found[1]}' both mean the edit; keep one of them")
    accepted = fields.get("accepted") is True
    if accepted == bool(found):
        raise ValueError("give either the edited text as 'edit', or \"accepted\": true")
    value = None
    if found:
        content = fields[found[0]]
        value = parse_assistant_text(content) if isinstance(content, dict) else parse_text_content(content)
    kept = drop_fields(fields, named, *_EDIT_KEYS, "user", "accepted")
    content_of_edit = {"edit": value, "accepted": accepted, "user": fields.get("user"), "rest": kept}
    return str(fields[named]), parse_timestamp(fields.get("created_at")), content_of_edit


def _parse_request(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    body = decode_json_text(fields.get("body"))
    if fields.get("custom_id") is None or not isinstance(body, dict):
        raise ValueError("fields 'custom_id' and 'body' are expected, as in the input file of a batch")
    return str(fields["custom_id"]), 0.0, body


class OpenAIOptions(Config):
    """Options of `--format openai`."""

    edits: Annotated[
        str | None, Flag(panel=FORMAT_PANEL), Field(description="File with the edits of the completions.")
    ] = None
    requests: Annotated[str | None, Flag(panel=FORMAT_PANEL), Field(description="Input file of a batch.")] = None


def _open(source: str, options: OpenAIOptions) -> ImportSource:
    if options.edits is None:
        raise InputError("--format openai: name the file with the edits of the completions with --edits FILE")
    requests = None if options.requests is None else open_row_source(options.requests)
    return build_openai_source(open_row_source(source), open_row_source(options.edits), requests=requests)


OPENAI = Importer("openai", "Chat completions in OpenAI's format, joined with a file of edits.", _open, OpenAIOptions)
