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

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from copydesk.log.sources.source import Row, Source
from copydesk.log.strict_json import parse_object

_EDITS = ("edit", "edited", "correction", "content")
_TEXT_PARTS = {"text", "input_text", "output_text"}


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
            yield from edited.unused("there is no completion {key} in the log; give the log it was answered in")

    return replace(log, rows=rows, mapped=True)


def _record(fields: Mapping[str, Any], edited: "Lookup", asked: "Lookup") -> dict[str, Any]:
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
    if choices is None and isinstance(asked, list) and asked and _role(asked[-1]) == "assistant":
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


# -- what the sources of other products share --------------------------------------------------------------------------


class Lookup:
    """The rows of a smaller file by key, in a temporary file, so that memory does not grow with them.

    Of several rows with one key the latest is kept. What no row of the larger file asked for is known at the end.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        # The empty name is a file that SQLite removes by itself, however this process ends.
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(
            "CREATE TABLE rows (key TEXT PRIMARY KEY, place INTEGER, rank REAL, value TEXT, taken INTEGER DEFAULT 0)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def fill(self, read: Callable[[Mapping[str, Any]], tuple[str, float, Any] | None]) -> Iterator[Row]:
        """Take in the file, and yield the rows that are faulty.

        Args:
            read: gives a row's key, how late it is, and its JSON value; `None` where the row is of another kind;
                ValueError where it is faulty.
        """
        for row in self._source.rows():
            if row.fields is None:
                yield self._faulty(row.place, row.fault or "", row.raw)
                continue
            try:
                found = read(row.fields)
            except ValueError as fault:
                yield self._faulty(row.place, str(fault), as_json(row.fields))
                continue
            if found is not None:
                key, rank, value = found
                self._rows.execute(
                    "INSERT INTO rows (key, place, rank, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " place = excluded.place, rank = excluded.rank, value = excluded.value"
                    " WHERE excluded.rank >= rank",
                    (key, row.place, rank, as_json(value)),
                )

    def take(self, *keys: str) -> Any | None:
        """The latest value under any of these keys."""
        asked = ", ".join("?" * len(keys))
        found = self._rows.execute(
            f"SELECT value FROM rows WHERE key IN ({asked}) ORDER BY rank DESC, place DESC", keys
        )
        row = found.fetchone()
        if row is None:
            return None
        self._rows.execute(f"UPDATE rows SET taken = 1 WHERE key IN ({asked})", keys)
        return json.loads(row[0])

    def unused(self, fault: str) -> Iterator[Row]:
        """A faulty row for each that was never taken; `{key}` in the text stands for its key."""
        for key, place, value in self._rows.execute(
            "SELECT key, place, value FROM rows WHERE NOT taken ORDER BY place"
        ):
            yield self._faulty(place, fault.format(key=key), value)

    def _faulty(self, place: int, fault: str, raw: str | None) -> Row:
        return Row(place, fault=f"{self._source.name}, {self._source.unit} {place}: {fault}", raw=raw)


def translated(row: Row, translate: Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]) -> Iterator[Row]:
    """The records that one row holds, or the row with what is wrong with it."""
    if row.fields is None:
        yield row
        return
    try:
        for fields in translate(row.fields):
            yield Row(row.place, fields)
    except ValueError as fault:
        yield Row(row.place, fault=str(fault), raw=row.raw or as_json(row.fields))


def record(metadata: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The fields that are known; what is empty in the metadata is left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    kept = rest(metadata)
    return {**known, "metadata": kept} if kept else known


def messages_of(messages: list[Any]) -> list[dict[str, Any]]:
    """Chat messages whose content is text; their other keys are kept.

    Raises:
        ValueError: one is not a message, or holds something that is not text.
    """
    chat = []
    for message in messages:
        if _role(message) is None:
            raise ValueError('a message is not an object with a role; write {"role": "user", "content": "..."}')
        others = {key: value for key, value in message.items() if value is not None}
        chat.append({**others, "content": text_of(message.get("content"))})
    return chat


def answer_of(message: Any) -> str:
    """The text of an assistant's message.

    Raises:
        ValueError: it holds none.
    """
    if not isinstance(message, dict):
        raise ValueError('the answer is not a message; write {"role": "assistant", "content": "..."}')
    if message.get("content") is not None:
        return text_of(message["content"])
    if isinstance(message.get("refusal"), str):
        return str(message["refusal"])
    what = "a tool call" if message.get("tool_calls") or message.get("function_call") else "empty"
    raise ValueError(f"the answer is {what}, not text; leave the row out")


def text_of(content: Any) -> str:
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
            return "".join(_part(part) for part in content)
        case _:
            raise ValueError("the content of a message must be text or a list of parts")


def _part(part: Any) -> str:
    match part:
        case str():
            return part
        case {"type": str(kind), "text": str(text)} if kind in _TEXT_PARTS:
            return text
        case {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": str(kind)}:
            raise ValueError(
                f"a message holds a part of type {kind!a}; only text can be learnt from, leave the row out"
            )
        case _:
            raise ValueError("a part of a message has no type; only text can be learnt from, leave the row out")


def _role(message: Any) -> str | None:
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else None


def decoded(value: Any) -> Any:
    """An object or a list that was written as JSON into a text; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            row = parse_object(f'{{"value": {value}}}'.encode())
        except ValueError:
            return value
        return row["value"] if len(row) == 1 else value
    return value


def first(fields: Mapping[str, Any], *names: str) -> Any | None:
    """The first of these fields that is neither null nor the empty text."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def rest(fields: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """The other fields, those that are empty left out."""
    return {key: value for key, value in fields.items() if key not in used and value not in (None, "", [], {})}


def moment(value: Any) -> float:
    """Seconds since 1970 of a time written as a number or in ISO 8601; 0 where it is neither."""
    if isinstance(value, int | float):
        return float(value)
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return 0.0
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def as_json(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)
