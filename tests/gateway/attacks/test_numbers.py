"""Numbers that JSON or a database cannot hold are refused wherever they come in, and old ones do not break a store."""

import json
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from tests.support.gateways import Scripted, ask
from typer.testing import CliRunner, Result

from copydesk.cli.app import app
from copydesk.data import EditCost, load_log, write_jsonl
from copydesk.data.importers import IMPORTERS
from copydesk.data.importers.files import open_row_source
from copydesk.data.importers.tables import build_table_row
from copydesk.data.mapping import guess_mapping
from copydesk.data.record import EditRecord
from copydesk.data.strict_json import find_unstorable_number, load_stored_json
from copydesk.errors import InputError
from copydesk.gateway.config import GatewayConfig
from copydesk.store import EditStore, read_edits
from copydesk.store.import_rows import RowParser, parse_rows
from copydesk.training.policy_file import read_policy_file

HUGE = "1" + "0" * 400
BAD = [
    "1e400",
    "-1e400",
    "1E999",
    "NaN",
    "Infinity",
    "-Infinity",
    str(2**64),
    str(-(2**63) - 1),
    HUGE,
    HUGE + ".0",
    "9" * 5_000,
]
GOOD = ["0", "-0.0", "1e308", "5e-324", str(2**64 - 1), str(-(2**63)), "1e-400", "0.1"]
CHAT = '{"model": "copydesk", "messages": [{"role": "user", "content": "hi"%s}]%s}'
JSON_BODY = {"content-type": "application/json"}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def post(client: httpx.Client, path: str, body: str) -> httpx.Response:
    return client.post(path, content=body, headers=JSON_BODY)


def exported(store: EditStore, folder: Path) -> list[EditRecord]:
    """The store's log as `copydesk export` and `GET /v1/edits` write it."""
    with store.begin_read() as connection:
        rows = list(read_edits(connection, pending=True))
    for row in rows:
        json.dumps(row.to_json(), allow_nan=False)
    write_jsonl(folder / "log.jsonl", [row.record for row in rows])
    return load_log(folder / "log.jsonl")


@pytest.mark.parametrize("number", BAD)
def test_every_request_body_refuses_it(serve, store: EditStore, tmp_path: Path, number: str) -> None:
    policy = Scripted("a")
    client = serve(policy)
    completion = ask(client).json()["id"]
    for body in [
        CHAT % ("", f', "temperature": {number}'),
        CHAT % ("", f', "extra": {{"deep": [1, {{"x": {number}}}]}}'),
        CHAT % (f', "weight": {number}', ""),
        CHAT % ("", f', "user": {number}'),
        CHAT % ("", f', "n": {number}'),
    ]:
        answer = post(client, "/v1/chat/completions", body)
        assert answer.status_code == 400, body[:200]
        assert answer.json()["error"]["message"]
    for path, body in [
        ("/v1/edits", f'{{"completion_id": "{completion}", "edit": "x", "cost": {number}}}'),
        ("/v1/edits", f'{{"completion_id": "{completion}", "accepted": {number}}}'),
        ("/v1/edits", number),
        ("/v1/policies", f'{{"name": "b", "spec": "script:b", "user": {number}}}'),
        ("/v1/policies", f'{{"name": {number}, "spec": "script:b"}}'),
        ("/write/cost", f'{{"completion_id": "{completion}", "edit": {number}}}'),
    ]:
        answer = post(client, path, body)
        assert answer.status_code == 400, (path, body[:200])
        assert "not JSON" in answer.text or "not finite" in answer.text, answer.text[:200]
    assert len(policy.asked) == 1
    assert len(exported(store, tmp_path)) == 1


@pytest.mark.parametrize("number", GOOD)
def test_every_other_number_is_taken_and_exported(serve, store: EditStore, tmp_path: Path, number: str) -> None:
    client = serve(Scripted("a"))
    answer = post(client, "/v1/chat/completions", CHAT % (f', "weight": {number}', f', "extra": [{number}]'))
    assert answer.status_code == 200
    (record,) = exported(store, tmp_path)
    assert record.metadata["parameters"]["extra"] == [json.loads(number)]


def test_digits_in_a_text_are_no_number(serve) -> None:
    assert ask(serve(Scripted("a")), text="1e400 and " + HUGE).status_code == 200


@pytest.mark.parametrize("number", BAD)
def test_every_query_string_refuses_it(serve, number: str) -> None:
    client = serve(Scripted("a"))
    for path, name in [("/v1/edits", "limit"), ("/edits", "before"), ("/edits", "pending")]:
        assert client.get(path, params={name: number}).status_code == 400, (path, name)
    for path in (
        "/v1/edits?user=",
        "/v1/edits?after=",
        "/v1/models?user=",
        "/v1/ensemble?user=",
        "/edits/",
        "/edits?q=",
    ):
        assert client.get(path + number).status_code in (200, 400, 404), path


def rejected(path: Path) -> list[str]:
    """The reasons for which the rows of a file are rejected; those that are taken can be exported."""
    source = open_row_source(str(path))
    rows = list(source.rows())
    mapping = guess_mapping([row.fields for row in rows if row.fields] or [{"response": ""}], {}, texts=source.all_text)
    parsed = list(parse_rows(rows, RowParser(mapping, "default"), Counter()))
    for one in parsed:
        if one.record is not None:
            assert find_unstorable_number(one.record.model_dump()) is None
            write_jsonl(path.with_name("taken.jsonl"), [one.record])
    return [one.error for one in parsed if one.record is None]


FIELDS: list[Callable[[str], str]] = [
    lambda number: f'"propensity": {number}',
    lambda number: f'"metadata": {{"x": [{number}]}}',
    lambda number: f'"anything": {number}',
    lambda number: f'"cost": {number}',
    lambda number: f'"created_at": {number}',
    lambda number: f'"id": {number}',
    lambda number: f'"user": {number}',
]


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_every_row_of_json_with_it_is_rejected(tmp_path: Path, number: str, ending: str) -> None:
    rows = [f'{{"context": "c", "response": "r", "edit": "e", {field(number)}}}' for field in FIELDS]
    chat = f'[{{"role": "user", "content": "c", "weight": {number}}}]'
    rows.append(f'{{"context": {chat}, "response": "r"}}')
    file = tmp_path / f"log.{ending}"
    file.write_text("\n".join(rows) if ending == "jsonl" else f"[{','.join(rows)}]")
    reasons = rejected(file)
    assert len(reasons) == len(rows)
    assert all(reason and len(reason) < 300 for reason in reasons)


@pytest.mark.parametrize("number", BAD)
def test_every_row_of_csv_with_it_is_rejected(tmp_path: Path, number: str) -> None:
    chat = json.dumps([{"role": "user", "content": "c", "weight": "@"}]).replace('"@"', number).replace('"', '""')
    file = tmp_path / "log.csv"
    lines = ["messages,response,propensity,cost,metadata"]
    lines += [f"c,r,{number},,", f"c,r,,{number},", f'c,r,,,"{{""x"": {number}}}"', f'"{chat}",r,,,']
    file.write_text("\n".join(lines) + "\n")
    as_float = number == str(2**64)  # a cost of a CSV file is read as a float, which holds it
    assert len(rejected(file)) == 4 - as_float


def test_every_value_of_a_table_with_it_is_rejected(tmp_path: Path) -> None:
    for value in (
        math.inf,
        -math.inf,
        math.nan,
        2**64,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1e1000000"),
        10**40,
    ):
        for held in (value, [value], {"x": {"y": value}}):
            assert build_table_row(1, {"response": "r", "x": held}).error
    file = tmp_path / "log.parquet"
    columns = {
        "response": ["r", "r", "r"],
        "number": [1.0, math.inf, math.nan],
        "n": pa.array([2**64 - 1, 1, 1], pa.uint64()),
    }
    pq.write_table(pa.table(columns), file)
    assert len(rejected(file)) == 2


@pytest.mark.parametrize("number", BAD)
def test_an_exported_file_that_somebody_changed_is_rejected_row_by_row(tmp_path: Path, number: str) -> None:
    chat = f'[{{"role": "user", "content": "c", "weight": {number}}}]'
    columns = {
        "id": ["1", "2"],
        "messages": [chat, None],
        "context": [None, "c"],
        "response": ["r", "r"],
        "metadata": [None, f'{{"x": {number}}}'],
    }
    table = pa.table(columns).replace_schema_metadata({"copydesk": "1"})
    pq.write_table(table, tmp_path / "log.parquet")
    assert len(rejected(tmp_path / "log.parquet")) == 2


@pytest.mark.parametrize("name", ["langfuse", "tensorzero", "openai"])
@pytest.mark.parametrize("number", BAD)
def test_exports_of_other_products_with_it_do_not_end_in_a_traceback(tmp_path: Path, name: str, number: str) -> None:
    assert any(known.startswith(name) for known in IMPORTERS)
    known = next(known for known in IMPORTERS if known.startswith(name))
    file = tmp_path / "export.jsonl"
    row = '{"id": "1", "input": "c", "output": "r", "timestamp": %s, "metadata": {"x": %s}, "name": "n", "value": %s}'
    file.write_text(row % (number, number, number) + "\n")
    done = run("import", str(file), "--format", known, "--store", str(tmp_path / "copydesk.db"))
    assert done.exception is None or isinstance(done.exception, InputError | SystemExit), done.exception


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400])
def test_settings_refuse_it(value: float) -> None:
    for field in ("timeout", "cooldown", "max_cooldown", "client_timeout", "max_connections"):
        with pytest.raises(InputError):
            GatewayConfig(**{field: value})
    if not isinstance(value, int):
        with pytest.raises(InputError):
            EditCost(cap=value)


@pytest.mark.parametrize("number", BAD)
def test_files_refuse_it(tmp_path: Path, number: str) -> None:
    """A log in JSON Lines, and the description of a policy."""
    (tmp_path / "log.jsonl").write_text(f'{{"context": "c", "response": "r", "metadata": {{"x": {number}}}}}\n')
    with pytest.raises(InputError, match=r"log\.jsonl:1"):
        load_log(tmp_path / "log.jsonl")
    (tmp_path / "policy.json").write_text(f'{{"format": 1, "x": {number}}}')
    with pytest.raises(InputError, match=r"policy\.json: not JSON"):
        read_policy_file(tmp_path)


OLD = f'{{"temperature": NaN, "x": [Infinity, -Infinity, 1e400, {HUGE}, 1]}}'


def test_what_an_old_store_holds_is_exported_as_null(serve, store: EditStore, tmp_path: Path) -> None:
    """It can still be served, exported and paged through."""
    client = serve(Scripted("a"))
    completion = ask(client).json()["id"]
    assert client.post("/v1/edits", json={"completion_id": completion, "edit": "x"}).status_code == 200
    context = '[{"role": "user", "content": "c", "weight": NaN}, {"role": "user", "content": "d", "n": 1e400}]'
    with store.begin_write() as tx:
        update = text("UPDATE completions SET parameters = :parameters, context = :context, usage = :usage")
        tx.connection.execute(update, {"parameters": OLD, "context": context, "usage": '{"completion_tokens": 1e400}'})
    (record,) = exported(store, tmp_path)
    assert record.metadata["parameters"] == {"temperature": None, "x": [None, None, None, None, 1]}
    lines = client.get("/v1/edits").text.splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["edit"] for line in lines] == ["x"]
    for path in ("/edits", f"/edits/{completion}", "/ensemble", "/v1/ensemble", "/metrics"):
        assert client.get(path).status_code == 200, path
    for format in ("jsonl", "parquet", "preference"):
        out = tmp_path / f"{format}.{'parquet' if format == 'parquet' else 'jsonl'}"
        done = run("export", "--store", str(tmp_path / "copydesk.db"), "--format", format, "--out", str(out))
        assert done.exit_code == 0, done.output


def test_stored_numbers_are_read_as_they_are() -> None:
    values: Any = [0, -1, 2**64 - 1, -(2**63), 1.5, 1e308, True, None, "1e400"]
    assert load_stored_json(json.dumps(values)) == values
