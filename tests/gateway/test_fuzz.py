"""Whatever is sent, the gateway answers with what its OpenAPI document says, and never with a 5xx."""

import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.gateways import Scripted, app_of, arms_of, running

from copydesk.store import EditStore

CASES = 5_000
HOSTILE = [
    "'; DROP TABLE edits; --",
    "1) UNION SELECT hash FROM keys --",
    '" OR ""="',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}%s%n%x",
    "../../../etc/passwd",
    "line\r\nSet-Cookie: a=b",
    "\x01\x7f\u202e\ufeff",
    "𝕏🙂é" * 50,
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = EditStore.open(str(tmp_path_factory.mktemp("fuzz") / "copydesk.db"))
    with running(app_of(store, Scripted("a"), Scripted("b"))) as url:
        yield url
    store.close()


def operations(url: str) -> list:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.slow
def test_thousands_of_cases_from_the_openapi_document(gateway: str) -> None:
    found = operations(gateway)
    takes_input = [one for one in found if one.body or one.query or one.path_parameters]
    statuses: Counter[int] = Counter()
    while sum(statuses.values()) < CASES:  # what is generated twice is not sent twice, so there may be a few less
        for operation in found:
            missing = CASES - sum(statuses.values())
            fuzz(operation, gateway, statuses, 900 if operation in takes_input and missing > 0 else 1)
    assert statuses[200] > 100
    assert not [status for status in statuses if status >= 500]


def fuzz(operation, url: str, statuses: Counter[int], cases: int) -> None:
    """Send so many cases of an operation, of the kind the document allows and of others."""
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    strategies = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(case=st.one_of(strategies))
    @settings(max_examples=cases, database=None, suppress_health_check=list(HealthCheck))
    def one(case: schemathesis.Case) -> None:
        answer = case.call(base_url=url)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    one()


@pytest.mark.parametrize("text", HOSTILE)
def test_sql_and_html_in_every_text_field(gateway: str, text: str) -> None:
    with httpx.Client(base_url=gateway) as client:
        before = len(arms_of(client))
        message = {"role": "user", "content": text, "name": text}
        base = {"model": "copydesk", "messages": [message]}
        good = client.post("/v1/chat/completions", json=base | {"user": text, text: text, "stop": text})
        assert good.status_code == 200
        for body in (base | {"model": text}, base | {"messages": [message | {"role": text}]}):
            assert client.post("/v1/chat/completions", json=body).status_code in (200, 400, 404)
        name = good.json()["id"]
        assert client.post("/v1/edits", json={"completion_id": name, "edit": text}).status_code == 200
        assert client.post("/v1/edits", json={"completion_id": text, "edit": text}).status_code in (400, 404)
        for path, query in [("/v1/edits", "user"), ("/v1/edits", "after"), ("/v1/ensemble", "user")]:
            assert client.get(path, params={query: text}).status_code in (200, 400, 404)
        assert client.post("/v1/policies", json={"name": text, "spec": text}).status_code == 400
        assert client.request("DELETE", f"/v1/policies/{text.encode().hex()}").status_code in (400, 404)
        rows = [json.loads(line) for line in client.get("/v1/edits", params={"user": text}).text.splitlines()]
        assert [(row["context"], row["edit"]) for row in rows] == [(text, text)]
        assert len(arms_of(client)) == before


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/edits", "/v1/policies"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"{",
        b"nul",
        b"[]",
        b'"text"',
        b"{}" * 2,
        b"\xff\xfe{}",
        '{"edit": "é"}'.encode("latin-1"),
        '{"edit": "x"}'.encode("utf-32"),
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"[" * 200_000,
        b'{"edit": "' + b"x" * 1_200_000 + b'"}',
        b'{"n": ' + b"9" * 100_000 + b"}",
        b'{"edit": "\\ud83d", "completion_id": "\\udc00", "model": "\\ud800"}',
        b'{"edit": 1e999, "seed": NaN}',
    ],
)
def test_bodies_that_are_malformed_huge_deep_or_in_another_encoding(gateway: str, path: str, body: bytes) -> None:
    answer = httpx.post(gateway + path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["type"] == "invalid_request_error"
