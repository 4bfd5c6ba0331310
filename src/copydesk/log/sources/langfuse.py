"""What Langfuse exports: traces or observations, and the corrections that people made of their outputs.

A row is a trace (`id, input, output, userId, timestamp, name, ...`) or an observation (`id, traceId, input, output,
model, startTime, ...`); the names may also be written as in the export to a bucket (`trace_id`, `start_time`, ...).
A correction is a score of the type CORRECTION on the trace or on the observation: its text is `stringValue` in exports
and in versions 1 and 2 of the API, `value` in version 3, and an empty one is none. It may stand in the row (`scores`,
`corrections`, or the text alone as `correctedOutput`) or in a file of scores.

`input` is a text, a list of chat messages, `{"messages": [...]}`, or other JSON, which is then the context as text.
`output` is a text, a message, a list of messages that ends with the answer, or a chat completion. Where it is other
JSON, it and its correction are both written with an indent of two spaces, so that only what was changed costs.

https://langfuse.com/docs/evaluation/features/corrections, https://api.reference.langfuse.com
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from copydesk.log.sources.fields import decoded, first, moment, record, rest, translated
from copydesk.log.sources.lookup import Lookup
from copydesk.log.sources.messages import answer_of, messages_of, role_of
from copydesk.log.sources.source import Row, Source

_READ = (
    *("id", "input", "output", "observations", "scores", "metadata"),
    *("userId", "user_id", "timestamp", "startTime", "start_time"),
    *("model", "providedModelName", "provided_model_name"),
    *("corrections", "correctedOutput", "corrected_output"),
)


def langfuse_source(export: Source, scores: Source | None = None) -> Source:
    """The traces or observations of an export; those without a correction are pending.

    The user is the row's `userId`, the policy its model, else its name; the rest goes to the metadata, with who made
    the correction. The observations within a trace are rows of their own where they were corrected. A correction of a
    trace is also one of its root observation, where only observations were exported. Of several corrections of one
    output the latest counts.

    Args:
        export: the traces or the observations, one a row.
        scores: the scores, one a row, where they are not in the export. They are kept in a temporary file, so that
            memory does not grow with them; scores of other types are passed over, and a correction of what is not in
            the export is a faulty row that names its line.
    """

    def rows() -> Iterator[Row]:
        if scores is None:
            for row in export.rows():
                yield from translated(row, lambda fields: _records(fields, None))
            return
        with Lookup(scores) as corrections:
            yield from corrections.fill(_correction_of)
            for row in export.rows():
                yield from translated(row, lambda fields: _records(fields, corrections))
            yield from corrections.iter_unused(
                "there is no {key} in the export, so its output is unknown; export it as well"
            )

    return replace(export, rows=rows, has_record_fields=True)


def _records(fields: Mapping[str, Any], scores: Lookup | None) -> Iterator[dict[str, Any]]:
    """One record of each observation within a trace that was corrected, and that of the trace or observation itself."""
    inline = decoded(fields.get("scores"))
    corrected = False
    for observation in decoded(fields.get("observations")) or []:
        if isinstance(observation, dict):
            of_trace = {"traceId": fields.get("id"), "userId": first(fields, "userId", "user_id")}
            part = {**of_trace, **rest(observation), "scores": observation.get("scores") or inline}
            if correction := _latest(part, scores):
                corrected = True
                yield _record(part, correction)
    # A trace without an output of its own only holds its observations together.
    if not corrected or fields.get("output") is not None:
        yield _record(fields, _latest(fields, scores))


def _record(fields: Mapping[str, Any], correction: dict[str, Any] | None) -> dict[str, Any]:
    output = decoded(fields.get("output"))
    if output in (None, "") and fields.get("output") != "":
        raise ValueError("field 'output' is missing; it must be what was answered")
    structured = not isinstance(fields["output"], str)
    edit = None if correction is None else _output(correction["text"], structured)
    metadata = decoded(fields.get("metadata"))
    kept = rest(metadata) if isinstance(metadata, dict) else rest({"metadata": metadata})
    return record(
        id=first(fields, "id"),
        context=_input(fields.get("input")),
        response=_output(fields["output"], structured),
        edit=edit,
        user=first(fields, "userId", "user_id"),
        policy=first(fields, "model", "providedModelName", "provided_model_name", "name"),
        created_at=first(fields, "startTime", "start_time", "timestamp"),
        metadata={**kept, **rest(fields, *_READ), "correction": None if correction is None else correction["rest"]},
    )


def _input(value: Any) -> str | list[dict[str, Any]]:
    found = decoded(value)
    if isinstance(found, dict) and isinstance(found.get("messages"), list):
        found = found["messages"]
    elif role_of(found) is not None:
        found = [found]
    if isinstance(found, list) and found and all(role_of(message) is not None for message in found):
        return messages_of(found)
    if found is None:
        raise ValueError("field 'input' is missing; it must be what was asked")
    return value if isinstance(value, str) else _indented(value)


def _output(value: Any, structured: bool) -> str:
    """The text of an output or of its correction; `structured` says that the output was JSON and not a text."""
    found = decoded(value)
    match found:
        case {"choices": [{"message": message}]}:
            return answer_of(message)
        case {"messages": [*_, message]} | [*_, message] if role_of(message) is not None:
            return answer_of(message)
        case {"role": str()}:
            return answer_of(found)
        case {"content": str(content), **others} if not others:
            return content
        case str():
            return found
        case _:
            return _indented(found) if structured else str(value)


def _indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


# -- corrections -------------------------------------------------------------------------------------------------------


def _latest(fields: Mapping[str, Any], scores: Lookup | None) -> dict[str, Any] | None:
    """The latest correction of a trace's or an observation's output."""
    targets = _targets(fields)
    given: list[Any] = []
    for key in ("correctedOutput", "corrected_output", "corrections", "scores"):
        value = decoded(fields.get(key))
        given += value if isinstance(value, list) and key in ("corrections", "scores") else [value]
    found = [one for one in (_inline(value, targets) for value in given) if one is not None]
    if scores is not None and (one := scores.take(*targets)):
        found.append(one)
    # Of equals `max` keeps the first, and the last is the later one.
    return max(reversed(found), key=lambda one: float(one["moment"]), default=None)


def _inline(value: Any, targets: list[str]) -> dict[str, Any] | None:
    """A correction that stands in the row, unless it is one of another output."""
    if isinstance(value, str):
        return {"text": value, "moment": 0.0, "rest": {}} if value else None
    if not isinstance(value, dict) or (found := _correction(value)) is None:
        return None
    target = _target(value)
    return found if target is None or target in targets else None


def _correction_of(score: Mapping[str, Any]) -> tuple[str, float, Any] | None:
    """A score of a file of scores: what it corrects, when, and how; `None` where it is no correction."""
    correction = _correction(score)
    if correction is None:
        return None
    target = _target(score)
    if target is None:
        raise ValueError("field 'traceId' is missing; a correction must name the trace or the observation it corrects")
    return target, correction["moment"], correction


def _correction(score: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = first(score, "dataType", "data_type")
    text = first(score, "stringValue", "string_value", "long_string_value", "value")
    if str(kind).upper() != "CORRECTION" and not (kind is None and score.get("name") == "output"):
        return None
    if not isinstance(text, str):
        return None
    made = max(moment(first(score, *names)) for names in (("updatedAt", "updated_at"), ("timestamp",)))
    author = first(score, "authorUserId", "author_user_id")
    kept = {"id": score.get("id"), "author": author, "comment": score.get("comment")}
    return {"text": text, "moment": made, "rest": rest(kept)}


def _target(score: Mapping[str, Any]) -> str | None:
    match score.get("subject"):
        case {"kind": "trace" | "observation" as kind, "id": str(name)}:
            return f"{kind} {name}"
    if observation := first(score, "observationId", "observation_id"):
        return f"observation {observation}"
    trace = first(score, "traceId", "trace_id")
    return None if trace is None else f"trace {trace}"


def _targets(fields: Mapping[str, Any]) -> list[str]:
    """What a correction of this row's output may name."""
    trace = first(fields, "traceId", "trace_id")
    if trace is None and first(fields, "startTime", "start_time") is None:
        return [f"trace {fields.get('id')}"]
    parents = [key for key in ("parentObservationId", "parent_observation_id") if key in fields]
    root = fields.get("isRootObservation") is True or any(fields[key] in (None, "") for key in parents)
    return [f"observation {fields.get('id')}", *([f"trace {trace}"] if root and trace else [])]
