"""Chat logs in OpenAI's format, joined with a file of edits by the id of the completion.

A row of the log is one of these; `request` and `response` may also be JSON in a text:

- a proxy's log: `{"id"?, "request": {"messages", ...}, "response": {"id", "choices", "model", "created"}}`;
- a stored completion: `{"id", "messages" or "input", "choices", "model", "created"}`, or without `choices` and with the
  answer as the last message;
- a line of a batch's output: `{"id", "custom_id", "response": {"body": {...}}}`, whose request is in the batch's input,
  `{"custom_id", "body": {"messages", ...}}`.

A row of edits: `{"completion_id" or "custom_id" or "id", "edit" or "edited" or "correction" or "content"}`, with `user`
and `created_at` where they are known; `"accepted": true` in place of the text says that the answer was kept.

https://platform.openai.com/docs/api-reference/chat/object, https://platform.openai.com/docs/guides/batch
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from copydesk.log.sources.fields import decoded, first, moment, record, rest, translated
from copydesk.log.sources.lookup import Lookup
from copydesk.log.sources.messages import answer_of, messages_of, role_of, text_of
from copydesk.log.sources.source import Row, Source

_EDITS = ("edit", "edited", "correction", "content")


def openai_source(log: Source, edits: Source, *, requests: Source | None = None) -> Source:
    """The rows of a chat log with what people made of them; completions without an edit are pending.

    The log is read once, row by row. The edits, and the requests of a batch, are kept by id in temporary files (where
    `SQLITE_TMPDIR` or `TMPDIR` says), so that memory grows with none of the three. Of several edits of one completion
    the latest counts: by `created_at`, else the last of the file. An edit of a completion that is not in the log is a
    faulty row that names its line.

    Args:
        log: the completions, in one of the formats above.
        edits: what people made of them.
        requests: the input file of a batch, where `log` is its output.
    """

    def rows() -> Iterator[Row]:
        with Lookup(edits) as edited, Lookup(requests or edits) as asked:
            yield from edited.fill(_edit)
            if requests is not None:
                yield from asked.fill(_request)
            for row in log.rows():
                yield from translated(row, lambda fields: [_record(fields, edited, asked)])
            yield from edited.iter_unused("there is no completion {key} in the log; give the log it was answered in")

    return replace(log, rows=rows, has_record_fields=True)


def _record(fields: Mapping[str, Any], edited: Lookup, asked: Lookup) -> dict[str, Any]:
    """An edit record's fields, by name."""
    completion_id, custom_id = fields.get("completion_id"), fields.get("custom_id")
    request, response = decoded(fields.get("request")), decoded(fields.get("response"))
    kept = rest(fields, "id", "completion_id", "custom_id", "request", "response", "user", "user_id", "metadata")
    if response is None and request is None and not fields.get("error"):
        request = response = fields
        kept = rest(kept, "messages", "input", "prompt", "choices", "model", "created", "created_at", "object")
    elif isinstance(response, dict) and "body" in response:
        response = decoded(response["body"])
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
    context, answer = _exchange(request, response)
    keys = [str(key) for key in (completion_id, response.get("id"), fields.get("id"), custom_id) if key is not None]
    edit = edited.take(*keys) or {}
    if request is not fields:
        kept["request"] = rest(request, "messages", "input", "prompt", "model", "user")
        kept["response"] = rest(response, "id", "choices", "model", "created", "object")
    metadata = fields.get("metadata")
    return record(
        id=keys[0] if keys else None,
        context=context,
        response=answer,
        edit=answer if edit.get("accepted") else edit.get("edit"),
        user=first(edit, "user") or first(fields, "user", "user_id") or first(request, "user", "safety_identifier"),
        policy=first(response, "model") or first(request, "model"),
        created_at=first(response, "created", "created_at") or first(fields, "created_at", "timestamp"),
        metadata={**(metadata if isinstance(metadata, dict) else {}), **kept, "edited": edit.get("rest")},
    )


def _exchange(request: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[str | list[dict[str, Any]], str]:
    """What was asked, and what was answered."""
    asked = next((request[key] for key in ("messages", "input", "prompt") if request.get(key) is not None), None)
    choices = response.get("choices")
    if choices is None and isinstance(asked, list) and asked and role_of(asked[-1]) == "assistant":
        asked, choices = asked[:-1], [{"message": asked[-1]}]
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("field 'choices' is missing; it must hold the answer, as in a chat completion")
    if len(choices) > 1:
        raise ValueError(f"there are {len(choices)} choices; keep the one that the person saw")
    choice = choices[0]
    answer = answer_of(choice["message"]) if "message" in choice else text_of(choice.get("text"))
    if isinstance(asked, str):
        return asked, answer
    if not isinstance(asked, list) or not asked:
        raise ValueError("field 'messages' is missing; it must be the list of messages that was answered")
    return messages_of(asked), answer


def _edit(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    """Of which completion it is an edit, how late it was made, and what it says."""
    named = next((key for key in ("completion_id", "custom_id", "id") if fields.get(key) is not None), None)
    if named is None:
        raise ValueError("field 'completion_id' is missing; it must be the id of the completion that was edited")
    found = [key for key in _EDITS if fields.get(key) is not None]
    if len(found) > 1:
        raise ValueError(f"fields '{found[0]}' and '{found[1]}' both mean the edit; keep one of them")
    accepted = fields.get("accepted") is True
    if accepted == bool(found):
        raise ValueError("give either the edited text as 'edit', or \"accepted\": true")
    value = None
    if found:
        content = fields[found[0]]
        value = answer_of(content) if isinstance(content, dict) else text_of(content)
    kept = rest(fields, named, *_EDITS, "user", "accepted")
    says = {"edit": value, "accepted": accepted, "user": fields.get("user"), "rest": kept}
    return str(fields[named]), moment(fields.get("created_at")), says


def _request(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    body = decoded(fields.get("body"))
    if fields.get("custom_id") is None or not isinstance(body, dict):
        raise ValueError("fields 'custom_id' and 'body' are expected, as in the input file of a batch")
    return str(fields["custom_id"]), 0.0, body
