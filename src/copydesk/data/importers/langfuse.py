"""Importer of Langfuse: traces or observations, and the corrections that people made of their outputs.

A row is a trace (`id, input, output, userId, timestamp, name, ...`) or an observation (`id, traceId, input, output,
model, startTime, ...`); the names may also be written as in the export to a bucket (`trace_id`, `start_time`, ...).
A correction is a score of the type CORRECTION on the trace or on the observation: its text is `stringValue` in exports
and in versions 1 and 2 of the API, `value` in version 3, and an empty one is no correction. It may be in the row
(`scores`, `corrections`, or the text alone as `correctedOutput`) or in a file of scores.

`input` is a text, a list of chat messages, `{"messages": [...]}`, or other JSON, which is then the context as text.
`output` is a text, a message, a list of messages that ends with the answer, or a chat completion. Where it is other
JSON, it and its correction are both written with an indent of two spaces, so that only the change has a cost.

https://langfuse.com/docs/evaluation/features/corrections, https://api.reference.langfuse.com
"""

import json
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
from copydesk.data.importers.openai_chat import get_message_role, parse_assistant_text, parse_chat_messages
from copydesk.utils.config import Config, Flag

_CONSUMED_FIELDS = (
    *("id", "input", "output", "observations", "scores", "metadata"),
    *("userId", "user_id", "timestamp", "startTime", "start_time"),
    *("model", "providedModelName", "provided_model_name"),
    *("corrections", "correctedOutput", "corrected_output"),
)


def build_langfuse_source(export: ImportSource, scores: ImportSource | None = None) -> ImportSource:
    """The traces or observations of an export; those without a correction are pending.

    The user is the row's `userId`, the policy its model, else its name; the rest goes to the metadata, with who made
    the correction. The observations within a trace are rows of their own where they were corrected. A correction of a
    trace is also one of its root observation, where only observations were exported. Of several corrections of one
    output the latest counts.

    Args:
        export: the traces or the observations, one a row.
        scores: the scores, one a row, where they are not in the export. They are kept in a temporary file, so that
            memory does not grow with them; scores of other types are skipped, and a correction of something that is
            not in the export is a rejected row that names its line.
    """

    def rows() -> Iterator[SourceRow]:
        if scores is None:
            for row in export.rows():
                yield from translate_row(row, lambda fields: _iter_records(fields, None))
            return
        with RowIndex(scores) as corrections:
            yield from corrections.fill(_parse_correction_row)
            for row in export.rows():
                yield from translate_row(row, lambda fields: _iter_records(fields, corrections))
            yield from corrections.iter_unused(
                "there is no {key} in the export, so its output is unknown; export it as well"
            )

    return replace(export, rows=rows, has_record_fields=True)


def _iter_records(fields: Mapping[str, Any], scores: RowIndex | None) -> Iterator[dict[str, Any]]:
    """One record of each observation within a trace that was corrected, and that of the trace or observation itself."""
    inline = decode_json_text(fields.get("scores"))
    corrected = False
    for observation in decode_json_text(fields.get("observations")) or []:
        if isinstance(observation, dict):
            of_trace = {"traceId": fields.get("id"), "userId": get_first_field(fields, "userId", "user_id")}
            part = {**of_trace, **drop_fields(observation), "scores": observation.get("scores") or inline}
            if correction := _find_latest_correction(part, scores):
                corrected = True
                yield _build_record(part, correction)
    # A trace without an output of its own only holds its observations together.
    if not corrected or fields.get("output") is not None:
        yield _build_record(fields, _find_latest_correction(fields, scores))


def _build_record(fields: Mapping[str, Any], correction: dict[str, Any] | None) -> dict[str, Any]:
    output = decode_json_text(fields.get("output"))
    if output in (None, "") and fields.get("output") != "":
        raise ValueError("field 'output' is missing; it must be what was answered")
    structured = not isinstance(fields["output"], str)
    edit = None if correction is None else _parse_output(correction["text"], structured)
    metadata = decode_json_text(fields.get("metadata"))
    kept = drop_fields(metadata) if isinstance(metadata, dict) else drop_fields({"metadata": metadata})
    return build_record_fields(
        id=get_first_field(fields, "id"),
        context=_parse_input(fields.get("input")),
        response=_parse_output(fields["output"], structured),
        edit=edit,
        user=get_first_field(fields, "userId", "user_id"),
        policy=get_first_field(fields, "model", "providedModelName", "provided_model_name", "name"),
        created_at=get_first_field(fields, "startTime", "start_time", "timestamp"),
        metadata={
            **kept,
            **drop_fields(fields, *_CONSUMED_FIELDS),
            "correction": None if correction is None else correction["rest"],
        },
    )


def _parse_input(value: Any) -> str | list[dict[str, Any]]:
    found = decode_json_text(value)
    if isinstance(found, dict) and isinstance(found.get("messages"), list):
        found = found["messages"]
    elif get_message_role(found) is not None:
        found = [found]
    if isinstance(found, list) and found and all(get_message_role(message) is not None for message in found):
        return parse_chat_messages(found)
    if found is None:
        raise ValueError("field 'input' is missing; it must be the model's input")
    return value if isinstance(value, str) else _dump_indented(value)


def _parse_output(value: Any, structured: bool) -> str:
    """The text of an output or of its correction; `structured` where the output was JSON rather than text."""
    found = decode_json_text(value)
    match found:
        case {"choices": [{"message": message}]}:
            return parse_assistant_text(message)
        case {"messages": [*_, message]} | [*_, message] if get_message_role(message) is not None:
            return parse_assistant_text(message)
        case {"role": str()}:
            return parse_assistant_text(found)
        case {"content": str(content), **others} if not others:
            return content
        case str():
            return found
        case _:
            return _dump_indented(found) if structured else str(value)


def _dump_indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


# -- corrections -------------------------------------------------------------------------------------------------------


def _find_latest_correction(fields: Mapping[str, Any], scores: RowIndex | None) -> dict[str, Any] | None:
    """The latest correction of a trace's or an observation's output."""
    targets = _list_targets(fields)
    given: list[Any] = []
    for key in ("correctedOutput", "corrected_output", "corrections", "scores"):
        value = decode_json_text(fields.get(key))
        given += value if isinstance(value, list) and key in ("corrections", "scores") else [value]
    found = [one for one in (_parse_inline_correction(value, targets) for value in given) if one is not None]
    if scores is not None and (one := scores.take(*targets)):
        found.append(one)
    # `max` keeps the first of equals, and the last one is the later correction.
    return max(reversed(found), key=lambda one: float(one["moment"]), default=None)


def _parse_inline_correction(value: Any, targets: list[str]) -> dict[str, Any] | None:
    """A correction within the row, unless it is of another output."""
    if isinstance(value, str):
        return {"text": value, "moment": 0.0, "rest": {}} if value else None
    if not isinstance(value, dict) or (found := _parse_correction(value)) is None:
        return None
    target = _parse_target(value)
    return found if target is None or target in targets else None


def _parse_correction_row(score: Mapping[str, Any]) -> tuple[str, float, Any] | None:
    """A row of a file of scores: its target, time and correction; `None` where it is not a correction."""
    correction = _parse_correction(score)
    if correction is None:
        return None
    target = _parse_target(score)
    if target is None:
        raise ValueError("field 'traceId' is missing; a correction must name the trace or the observation it corrects")
    return target, correction["moment"], correction


def _parse_correction(score: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = get_first_field(score, "dataType", "data_type")
    text = get_first_field(score, "stringValue", "string_value", "long_string_value", "value")
    if str(kind).upper() != "CORRECTION" and not (kind is None and score.get("name") == "output"):
        return None
    if not isinstance(text, str):
        return None
    made = max(
        parse_timestamp(get_first_field(score, *names)) for names in (("updatedAt", "updated_at"), ("timestamp",))
    )
    author = get_first_field(score, "authorUserId", "author_user_id")
    kept = {"id": score.get("id"), "author": author, "comment": score.get("comment")}
    return {"text": text, "moment": made, "rest": drop_fields(kept)}


def _parse_target(score: Mapping[str, Any]) -> str | None:
    match score.get("subject"):
        case {"kind": "trace" | "observation" as kind, "id": str(name)}:
            return f"{kind} {name}"
    if observation := get_first_field(score, "observationId", "observation_id"):
        return f"observation {observation}"
    trace = get_first_field(score, "traceId", "trace_id")
    return None if trace is None else f"trace {trace}"


def _list_targets(fields: Mapping[str, Any]) -> list[str]:
    """The targets that a correction of this row's output may name."""
    trace = get_first_field(fields, "traceId", "trace_id")
    if trace is None and get_first_field(fields, "startTime", "start_time") is None:
        return [f"trace {fields.get('id')}"]
    parents = [key for key in ("parentObservationId", "parent_observation_id") if key in fields]
    root = fields.get("isRootObservation") is True or any(fields[key] in (None, "") for key in parents)
    return [f"observation {fields.get('id')}", *([f"trace {trace}"] if root and trace else [])]


class LangfuseOptions(Config):
    """Options of `--format langfuse`."""

    edits: Annotated[
        str | None,
        Flag(panel=FORMAT_PANEL),
        Field(description="File with the scores, where they are not in the export."),
    ] = None


def _open(source: str, options: LangfuseOptions) -> ImportSource:
    scores = None if options.edits is None else open_row_source(options.edits)
    return build_langfuse_source(open_row_source(source), scores)


LANGFUSE = Importer("langfuse", "Traces or observations of Langfuse and their corrections.", _open, LangfuseOptions)
