"""Importer of TensorZero: inferences, and the demonstrations that people gave of a better output.

An inference is a row of the tables `ChatInference` or `JsonInference`, dumped as JSON Lines (`id, function_name,
variant_name, episode_id, input, output, tags`; there `input` and `output` are JSON in a text), or one that the client
lists (`inference_id` in place of `id`). Feedback is a row of `DemonstrationFeedback`: `id, inference_id, value, tags`.
Listed with `output_source="demonstration"`, an inference has its demonstration as `output`, and what it answered itself
in `dispreferred_outputs`; it needs no file of feedback.

The output of a chat function is a list of blocks: texts are joined, thoughts are left out, and a tool call is an error,
since only text can be learned from. The output of a JSON function is its `raw` text. In the input, the arguments of a
template are kept as JSON, because only TensorZero can render the template.

https://www.tensorzero.com/docs/gateway/data-model
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

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
    dump_json_line,
    get_first_field,
    parse_timestamp,
    translate_row,
)
from copydesk.data.importers.files import open_row_source
from copydesk.utils.config import Config, Flag

_CONSUMED_FIELDS = ("inference_id", "id", "input", "output", "dispreferred_outputs", "timestamp", "type")


def build_tensorzero_source(
    inferences: ImportSource, feedback: ImportSource | None = None, *, user_tag: str = "user_id"
) -> ImportSource:
    """The inferences of a dump with their demonstrations; those without one are pending.

    The policy is `function_name/variant_name`; all else goes to the metadata. Without a `timestamp` the time is read
    from the id, which holds it. Of several demonstrations of one inference the latest counts.

    Args:
        inferences: one a row.
        feedback: the demonstrations, one a row, unless the inferences were listed with theirs. They are kept in a
            temporary file, so that memory does not grow with them; one of an inference that is not there is a
            rejected row that names its line.
        user_tag: the tag that names the user, on the demonstration or else on the inference.
    """

    def rows() -> Iterator[SourceRow]:
        if feedback is None:
            for row in inferences.rows():
                yield from translate_row(row, lambda fields: [_build_record(fields, None, user_tag)])
            return
        with RowIndex(feedback) as demonstrations:
            yield from demonstrations.fill(_parse_demonstration)
            for row in inferences.rows():
                yield from translate_row(row, lambda fields: [_build_record(fields, demonstrations, user_tag)])
            yield from demonstrations.iter_unused("there is no inference {key} in the dump; dump it as well")

    return replace(inferences, rows=rows, has_record_fields=True)


def _build_record(fields: Mapping[str, Any], demonstrations: RowIndex | None, user_tag: str) -> dict[str, Any]:
    name = get_first_field(fields, "inference_id", "id")
    output, edit = fields.get("output"), None
    given: dict[str, Any] = {}
    dispreferred = decode_json_text(fields.get("dispreferred_outputs"))
    if isinstance(dispreferred, list) and dispreferred:
        output, edit = dispreferred[0], _parse_output(output)
    if demonstrations is not None and name is not None and (given := demonstrations.take(str(name)) or {}):
        edit = given["edit"]
    tags = {**_parse_tags(fields), **_parse_tags(given)}
    function, variant = fields.get("function_name"), fields.get("variant_name")
    return build_record_fields(
        id=name,
        context=_parse_input(decode_json_text(fields.get("input"))),
        response=_parse_output(output),
        edit=edit,
        user=tags.get(user_tag),
        policy="/".join(str(part) for part in (function, variant) if part) or None,
        created_at=get_first_field(fields, "timestamp") or _parse_uuid7_time(name),
        metadata={
            **drop_fields(fields, *_CONSUMED_FIELDS),
            "tags": _parse_tags(fields),
            "demonstration": drop_fields(given, "edit"),
        },
    )


def _parse_demonstration(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    """The id of the inference, the time of the demonstration, and its content."""
    inference = get_first_field(fields, "inference_id")
    if inference is None:
        raise ValueError("field 'inference_id' is missing; it must be the id of the inference it is a demonstration of")
    name = get_first_field(fields, "id", "feedback_id")
    content = {"edit": _parse_output(fields.get("value")), "id": name, "tags": _parse_tags(fields)}
    return str(inference), parse_timestamp(_parse_uuid7_time(name) or fields.get("timestamp")), content


def _parse_output(value: Any) -> str:
    """The text of an output: the texts of a chat function's blocks, or a JSON function's raw text."""
    match decode_json_text(value):
        case str(text):
            return text
        case list(blocks):
            return "".join(_parse_output_block(block) for block in blocks)
        case {"raw": str(raw)}:
            return raw
        case {"raw": None, "parsed": None} | None:
            raise ValueError("field 'output' is missing; it must be the model's output")
        case {"parsed": parsed}:
            return dump_json_line(parsed)
        case _:
            raise ValueError("field 'output' must be a list of content blocks, or an object with the text as 'raw'")


def _parse_output_block(block: Any) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "thought"}:
            return ""
        case {"type": str(kind)}:
            raise ValueError(
                f"the output holds a block of type {kind!a}; only text can be learned from, leave the row out"
            )
        case _:
            raise ValueError("the output holds a block without a type; it must be a list of content blocks")


def _parse_input(given: Any) -> list[dict[str, Any]]:
    """The messages of an input, in OpenAI's format: the system's first, and a message for each result of a tool."""
    if not isinstance(given, dict):
        raise ValueError("field 'input' must be an object with 'system' and 'messages'")
    chat: list[dict[str, Any]] = []
    if system := given.get("system"):
        chat.append({"role": "system", "content": system if isinstance(system, str) else dump_json_line(system)})
    for message in given.get("messages") or []:
        if not isinstance(message, dict):
            raise ValueError("a message of the input is not an object with 'role' and 'content'")
        chat += _parse_turn(message.get("role"), message.get("content"))
    if not chat:
        raise ValueError("the input holds no messages; it must hold the conversation")
    return chat


def _parse_turn(role: Any, content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str | dict):
        content = [{"type": "text", "text": content}]
    texts, calls, results = [], [], []
    for block in content if isinstance(content, list) else [None]:
        match block:
            case {"type": "text", "text": str(text)} | {"type": "text" | "raw_text", "value": str(text)}:
                texts.append(text)
            case {"type": "text", "text": filled} | {"type": "text", "value": filled}:
                texts.append(dump_json_line(filled))
            case {"type": "template" | "text", "arguments": filled}:
                texts.append(dump_json_line(filled))
            case {"type": "tool_call", "id": call, "name": name, "arguments": filled}:
                written = filled if isinstance(filled, str) else dump_json_line(filled)
                calls.append({"id": call, "type": "function", "function": {"name": name, "arguments": written}})
            case {"type": "tool_result", "id": call, "result": str(result)}:
                results.append({"role": "tool", "content": result, "tool_call_id": call})
            case {"type": "thought"}:
                pass
            case {"type": str(kind)}:
                raise ValueError(f"the input holds a block of type {kind!a}; only text can be learned from")
            case _:
                raise ValueError("the content of a message must be text or a list of content blocks")
    turn = {"role": role, "content": "".join(texts), **({"tool_calls": calls} if calls else {})}
    return [*results, turn] if texts or calls or not results else results


def _parse_tags(fields: Mapping[str, Any]) -> dict[str, Any]:
    tags = decode_json_text(fields.get("tags"))
    return tags if isinstance(tags, dict) else {}


def _parse_uuid7_time(name: Any) -> str | None:
    """The time in an id of UUID version 7, whose first 48 bits are the milliseconds since 1970."""
    try:
        made = UUID(name)
    except (AttributeError, TypeError, ValueError):
        return None
    return datetime.fromtimestamp((made.int >> 80) / 1000, UTC).isoformat() if made.version == 7 else None


class TensorZeroOptions(Config):
    """Options of `--format tensorzero`."""

    edits: Annotated[
        str | None,
        Flag(panel=FORMAT_PANEL),
        Field(description="File with the demonstrations, unless the inferences were listed with theirs."),
    ] = None
    user_tag: Annotated[str, Flag(panel=FORMAT_PANEL), Field(description="Tag that names the user.")] = "user_id"


def _open(source: str, options: TensorZeroOptions) -> ImportSource:
    demonstrations = None if options.edits is None else open_row_source(options.edits)
    return build_tensorzero_source(open_row_source(source), demonstrations, user_tag=options.user_tag)


TENSORZERO = Importer("tensorzero", "Inferences of TensorZero and their demonstrations.", _open, TensorZeroOptions)
