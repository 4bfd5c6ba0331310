import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from copydesk.data import EditRecord
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.files import open_row_source
from copydesk.data.importers.langfuse import build_langfuse_source

ASKED = [{"role": "user", "content": "Write to Ann."}]
ANSWER = {"role": "assistant", "content": "Dear Ann,"}


def source(name: str, *given: Mapping[str, Any]) -> ImportSource:
    def rows() -> Any:
        yield from (SourceRow(place, row) for place, row in enumerate(given, start=1))

    return ImportSource(name, rows, "line", Path(f"{name}.rejected.jsonl"))


def observation(**others: Any) -> dict[str, Any]:
    return {
        "id": "obs-1",
        "traceId": "trace-1",
        "projectId": "p",
        "type": "GENERATION",
        "name": "write",
        "startTime": "2026-01-31T12:00:00.000Z",
        "parentObservationId": "obs-0",
        "input": ASKED,
        "output": ANSWER,
        "model": "model-x",
        "modelParameters": {},
        "userId": "ann",
        **others,
    }


def trace(**others: Any) -> dict[str, Any]:
    return {
        "id": "trace-1",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "name": "assistant",
        "input": {"messages": ASKED},
        "output": "Dear Ann,",
        "userId": "ann",
        "metadata": {"team": "a"},
        "tags": ["mail"],
        "release": None,
        **others,
    }


def score(text: Any = "Hi Ann,", **others: Any) -> dict[str, Any]:
    return {
        "id": "score-1",
        "traceId": "trace-1",
        "observationId": None,
        "name": "output",
        "dataType": "CORRECTION",
        "value": 0,
        "stringValue": text,
        "source": "ANNOTATION",
        "authorUserId": "editor",
        "timestamp": "2026-01-31T13:00:00.000Z",
        "updatedAt": "2026-01-31T13:00:00.000Z",
        **others,
    }


def read(export: list[Any], scores: list[Any] | None = None) -> tuple[list[dict[str, Any]], list[SourceRow]]:
    given = None if scores is None else source("scores.jsonl", *scores)
    found = list(build_langfuse_source(source("export.jsonl", *export), given).rows())
    good = [dict(row.fields) for row in found if row.fields is not None]
    for fields in good:
        EditRecord.model_validate(fields)
    return good, [row for row in found if row.fields is None]


def one(row: Any, *scores: Any) -> dict[str, Any]:
    [fields], errors = read([row], list(scores) if scores else None)
    assert not errors
    return fields


def test_a_trace_with_its_correction() -> None:
    assert one(trace(scores=[score()])) == {
        "id": "trace-1",
        "context": ASKED,
        "response": "Dear Ann,",
        "edit": "Hi Ann,",
        "user": "ann",
        "policy": "assistant",
        "created_at": "2026-01-31T12:00:00.000Z",
        "metadata": {
            "team": "a",
            "name": "assistant",
            "tags": ["mail"],
            "correction": {"id": "score-1", "author": "editor"},
        },
    }


def test_an_observation_with_a_file_of_scores() -> None:
    fields = one(
        observation(),
        score("is of another type", dataType="TEXT"),
        score(observationId="obs-1"),
    )
    assert (fields["id"], fields["edit"], fields["policy"]) == ("obs-1", "Hi Ann,", "model-x")
    assert fields["metadata"]["traceId"] == "trace-1"


@pytest.mark.parametrize(
    "given",
    [
        {"corrections": [score(observationId="obs-1")]},
        {"corrections": ["early", "Hi Ann,"]},
        {"correctedOutput": "Hi Ann,"},
        {"corrected_output": ANSWER | {"content": "Hi Ann,"} | {"dataType": "CORRECTION", "stringValue": "Hi Ann,"}},
        {"scores": json.dumps([score(observationId="obs-1")])},
        {"scores": [score(json.dumps(ANSWER | {"content": "Hi Ann,"}))]},
        {"scores": [score("of the trace's", traceId="trace-1", observationId="obs-0"), score()]},
        {"scores": [{"dataType": "CORRECTION", "value": "Hi Ann,", "subject": {"kind": "observation", "id": "obs-1"}}]},
    ],
)
def test_a_correction_may_stand_in_the_row(given: dict[str, Any]) -> None:
    # A score that names only the trace corrects an observation where that is the trace's root.
    fields = one(observation(**given, parentObservationId=None))
    assert (fields["response"], fields["edit"]) == ("Dear Ann,", "Hi Ann,")


def test_exports_as_files(tmp_path: Path) -> None:
    array, table, scores = tmp_path / "export.json.gz", tmp_path / "export.csv", tmp_path / "scores.jsonl"
    array.write_bytes(gzip.compress(json.dumps([trace(), trace(id="trace-2")], indent=1).encode()))
    scores.write_text(json.dumps(score()) + "\n")
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "timestamp", "name", "input", "output", "userId", "metadata", "scores"])
        for name, given in (("trace-1", json.dumps([score()])), ("trace-2", "")):
            asked = json.dumps({"messages": ASKED})
            writer.writerow([name, "2026-01-31T12:00:00.000Z", "a", asked, json.dumps(ANSWER), "", '{"t":1}', given])
    for export, given in ((array, open_row_source(str(scores))), (table, None)):
        found = [row.fields or {} for row in build_langfuse_source(open_row_source(str(export)), given).rows()]
        assert [(row["context"], row["response"], row.get("edit")) for row in found] == [
            (ASKED, "Dear Ann,", "Hi Ann,"),
            (ASKED, "Dear Ann,", None),
        ]


def test_names_as_in_the_export_to_a_bucket() -> None:
    row = {
        "id": "obs-1",
        "trace_id": "trace-1",
        "start_time": "2026-01-31 12:00:00",
        "user_id": "ann",
        "provided_model_name": "model-x",
        "input": json.dumps(ASKED),
        "output": json.dumps(ANSWER),
        "metadata": json.dumps({"team": "a"}),
    }
    correction = {
        "trace_id": "trace-1",
        "observation_id": "obs-1",
        "data_type": "CORRECTION",
        "string_value": "Hi Ann,",
        "author_user_id": "editor",
    }
    fields = one(row, correction)
    assert fields == {
        "id": "obs-1",
        "context": ASKED,
        "response": "Dear Ann,",
        "edit": "Hi Ann,",
        "user": "ann",
        "policy": "model-x",
        "created_at": "2026-01-31 12:00:00",
        "metadata": {"team": "a", "trace_id": "trace-1", "correction": {"author": "editor"}},
    }


def test_a_correction_of_a_trace_is_one_of_its_root_only() -> None:
    root, inner = observation(id="root", parentObservationId=None), observation(id="inner")
    good, errors = read([root, inner], [score()])
    assert [row.get("edit") for row in good] == ["Hi Ann,", None]
    assert not errors
    assert one(observation(isRootObservation=True), score())["edit"] == "Hi Ann,"


def test_observations_within_a_trace_are_rows_where_they_were_corrected() -> None:
    inner = [observation(id="a", userId=None), observation(id="b", scores=[score(observationId="b")])]
    row = trace(observations=inner, scores=[score("Hello", observationId="a")])
    good, _ = read([row])
    assert [(row["id"], row.get("edit"), row["user"]) for row in good] == [
        ("a", "Hello", "ann"),
        ("b", "Hi Ann,", "ann"),
        ("trace-1", None, "ann"),
    ]
    good, errors = read([trace(output=None, observations=inner)])
    assert [row["id"] for row in good] == ["b"]
    assert not errors


def test_without_a_correction_or_with_an_empty_one_it_is_pending() -> None:
    assert "edit" not in one(trace())
    assert "edit" not in one(trace(scores=[score("")]))
    assert "edit" not in one(trace(scores=[score("", value="")], correctedOutput=None))
    assert "edit" not in one(trace(scores=[score("good", dataType="CATEGORICAL", name="tone")]))


def test_the_latest_correction_counts() -> None:
    late = score("late", updatedAt="2026-02-01T00:00:00Z")
    assert one(trace(scores=[late, score()]))["edit"] == "late"
    assert one(trace(scores=[score(), late]))["edit"] == "late"
    assert one(trace(), late, score())["edit"] == "late"
    assert one(trace(scores=[score()]), late)["edit"] == one(trace(scores=[late]), score())["edit"] == "late"
    assert one(trace(scores=[score("1"), score("2")]))["edit"] == "2"


@pytest.mark.parametrize(
    ("output", "response"),
    [
        ("text", "text"),
        ("", ""),
        ("[not JSON", "[not JSON"),
        ('{"a": 1}', '{"a": 1}'),
        (ANSWER, "Dear Ann,"),
        ([*ASKED, ANSWER], "Dear Ann,"),
        ({"messages": [*ASKED, ANSWER]}, "Dear Ann,"),
        ({"content": "Dear Ann,"}, "Dear Ann,"),
        ({"choices": [{"message": ANSWER}]}, "Dear Ann,"),
        ({"role": "assistant", "content": [{"type": "text", "text": "Dear Ann,"}]}, "Dear Ann,"),
        (17, "17"),
    ],
)
def test_outputs(output: Any, response: str) -> None:
    assert one(trace(output=output))["response"] == response


@pytest.mark.parametrize(
    ("given", "context"),
    [
        ("Go", "Go"),
        ("{Go}", "{Go}"),
        (ASKED, ASKED),
        (ASKED[0], ASKED),
        (json.dumps({"messages": ASKED, "tools": []}), ASKED),
        ({"question": "Why?"}, '{\n  "question": "Why?"\n}'),
        (["Why?"], '[\n  "Why?"\n]'),
        ("", ""),
    ],
)
def test_inputs(given: Any, context: Any) -> None:
    assert one(trace(input=given))["context"] == context


def test_json_costs_only_what_was_changed() -> None:
    fields = one(trace(output={"tone": "warm", "to": ["Ann"]}, scores=[score('{"tone":"cool", "to":["Ann"]}')]))
    assert fields["response"].replace("warm", "cool") == fields["edit"]
    assert '\n  "tone": "warm",' in fields["response"]


def test_bad_rows_name_their_error() -> None:
    tool = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    good, errors = read([trace(output=None), trace(input=None), trace(output=tool)], [])
    assert not good
    assert [(row.number, row.error) for row in errors] == [
        (1, "field 'output' is missing; it must be what was answered"),
        (2, "field 'input' is missing; it must be the model's input"),
        (3, "the answer is a tool call, not text; leave the row out"),
    ]


def test_a_correction_of_what_is_not_there_names_its_line() -> None:
    scores = [score(), score(traceId="gone"), score(traceId=None, sessionId="s")]
    good, errors = read([trace()], scores)
    assert len(good) == 1
    assert [(row.number, row.error) for row in errors] == [
        (
            3,
            "scores.jsonl, line 3: field 'traceId' is missing; a correction must name the trace or the observation it"
            " corrects",
        ),
        (
            2,
            "scores.jsonl, line 2: there is no trace gone in the export, so its output is unknown; export it as well",
        ),
    ]
