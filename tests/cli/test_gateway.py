"""The gateway's commands: serve, keys, policies, ensemble, and training on what was collected."""

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.support.demos import DemoRun
from tests.support.gateways import running, until
from tests.support.processes import Command
from typer.testing import CliRunner

from copydesk import Client
from copydesk.cli._shared import load_records, resolve_spec
from copydesk.cli.app import app
from copydesk.errors import InputError
from copydesk.store import EditStore
from copydesk.training.policy_file import read_policy_file
from copydesk.utils.times import parse_since


def run(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[dict]:
    """`copydesk serve` in a folder; gives what it prints when it is ready."""
    process = Command("serve", "--port", "0", "--json", *words, folder=folder)
    try:
        until(lambda: process.out.endswith("\n}\n") or process.code is not None, 60)
        assert process.code is None, process.err
        yield json.loads(process.out)
    finally:
        process.send(signal.SIGINT)
        assert process.wait(60) == 0, process.err


def fails(folder: Path, *words: str) -> str:
    """What a command that must be refused says on stderr, in one line."""
    refused = Command(*words, folder=folder)
    assert refused.wait() == 2, refused.err
    assert refused.err.count("\n") == 1, refused.err
    return refused.err


@pytest.mark.slow
def test_out_of_the_box_and_round_the_loop(tmp_path: Path) -> None:
    """Serve with nothing given, collect edits, train on them, add the result, and be asked which one answers."""
    with serving(tmp_path) as ready:
        assert ready["policies"] == ["base"]
        assert (tmp_path / "copydesk.db").is_file()
        with Client(ready["url"]) as client:
            for i in range(8):
                reply = client.complete(f"Tell Ada about {i}", user="ann" if i % 2 else "bob", max_tokens=12)
                client.edit(reply.id, f"Hi Ada! It is {i}.")
            pending = client.complete("Tell Ada", max_tokens=4)
        store = str(tmp_path / "copydesk.db")
        assert run("ensemble", "verify", "--store", store, "--url", ready["url"]) == {
            "events": 19,
            "choices": 9,
            "lost": 0,
            "faults": [],
            "live": True,
        }
        out = tmp_path / "sft-1"
        trained = ["train", "--model", "embedded", "--method", "sft", "--max-steps", "2", "--out", str(out)]
        run(*trained, "--store", store, "--user", "ann", "--since", "1h", "--held-out", "0")
        assert read_policy_file(out).data.rows == 4
        added = run("policies", "add", f"sft-1={out}", "--url", ready["url"])
        assert added["added"] is True
        assert run("policies", "add", f"sft-1={out}", "--url", ready["url"])["added"] is False
        with Client(ready["url"]) as client:
            assert client.complete("Tell Ada", max_tokens=4).policy == "sft-1"  # untried
            assert client.accept(pending.id).counted
        arms = {arm["name"]: arm for arm in run("policies", "list", "--url", ready["url"])["arms"]}
        assert (arms["sft-1"]["pulls"], arms["base"]["pulls"]) == (1, 9)
        run("policies", "retire", "base", "--url", ready["url"])
    with serving(tmp_path) as ready:  # goes on where it ended
        assert ready["policies"] == ["sft-1"]
    assert run("ensemble", "verify", "--store", store)["choices"] == 10


@pytest.mark.slow
def test_answers_are_trimmed_where_they_begin_to_repeat(tmp_path: Path) -> None:
    def answer(request: Request) -> JSONResponse:
        return JSONResponse({"choices": [{"message": {"content": "round and " * 9}, "finish_reason": "length"}]})

    with running(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as upstream:
        for options, text in (([], "round and " * 9), (["--trim-repeats", "20"], "round and ")):
            policy = f"a=model@{upstream}/v1"
            with serving(tmp_path, "--policy", policy, *options) as ready, Client(ready["url"]) as client:
                assert client.complete("Write in circles").text == text


@pytest.mark.slow
def test_the_policies_of_a_demo_are_served(small_demo: DemoRun, tmp_path: Path) -> None:
    shutil.copytree(small_demo.folder, tmp_path / "demo")
    with serving(tmp_path, "--from", "demo", "--rule", "thompson", "--alpha", "0.3") as ready:
        assert ready["policies"] == ["dpo", "early", "rl", "sft"]
        settings = httpx.get(f"{ready['url']}/v1/ensemble").json()["settings"]
        assert (settings["rule"], settings["alpha"]) == ("thompson", 0.3)
    with serving(tmp_path / "demo", "--store", "../copydesk.db", "--alpha", "0.2") as ready:  # from another folder
        assert ready["policies"] == ["dpo", "early", "rl", "sft"]
        settings = httpx.get(f"{ready['url']}/v1/ensemble").json()["settings"]
        assert (settings["rule"], settings["alpha"], settings["expiry"]) == ("thompson", 0.2, 604800.0)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    store = str(tmp_path / "copydesk.db")
    made = run("keys", "create", "--name", "app", "--tenant", "acme", "--scope", "complete", "--store", store)
    assert made["key"].startswith(f"ck-{made['id']}-")
    assert (made["tenant"], made["scopes"]) == ("acme", ["complete"])
    usual = run("keys", "create", "--name", "other", "--store", store)
    assert usual["scopes"] == ["read", "complete", "edit"]
    listed = run("keys", "list", "--store", store)
    assert [key["name"] for key in listed["keys"]] == ["app", "other"]
    assert made["key"] not in json.dumps(listed)
    assert run("keys", "revoke", made["id"], "--store", store)["revoked"] is True  # the other one is left
    assert run("keys", "list", "--store", store)["keys"][0]["revoked_at"] is not None


def test_with_a_key_it_may_listen_to_others_and_without_it_may_not(tmp_path: Path) -> None:
    assert "copydesk keys create" in fails(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    key = run("keys", "create", "--name", "app", "--store", str(tmp_path / "copydesk.db"))["key"]
    with serving(tmp_path, "--host", "0.0.0.0") as ready:
        url = ready["url"].replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_log_that_was_changed_is_found_out(tmp_path: Path) -> None:
    with serving(tmp_path) as ready, Client(ready["url"]) as client:
        client.add_policy("twin", "embedded")
        for _ in range(4):
            client.accept(client.complete("Hi", max_tokens=2).id)
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with store.begin_write() as tx:
        tx.connection.execute(text("UPDATE pulls SET arm = 'base'"))
    assert "was logged, the log says" in fails(tmp_path, "ensemble", "verify")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serve", "--policy", "x"), "write NAME=SPEC"),
        (("serve", "--policy", "x=nosuch/folder/here"), "there is no such folder"),
        (("serve", "--store", "nowhere/x.db"), "there is no folder"),
        (("serve", "--rule", "fixed", "--share", "a"), "write NAME=NUMBER"),
        (("serve", "--alpha", "-1"), "alpha"),
        (("serve", "--expiry", "-1"), "--expiry"),
        (("serve", "--timeout", "0"), "--timeout"),
        (("serve", "--trim-repeats", "-1"), "--trim-repeats: -1 must be at least 0"),
        (("serve", "--from", "nothing"), "no policies there"),
        (("serve", "--tokenizer", "no/such/tokenizer"), "cannot be loaded"),
        (("keys", "create", "--name", "a b"), "--name"),
        (("keys", "revoke", "x"), "no such file"),
        (("policies", "list", "--url", "http://127.0.0.1:9"), "cannot be reached"),
        (("policies", "add", "x", "--url", "http://127.0.0.1:9"), "write NAME=SPEC"),
        (("ensemble", "verify"), "no such file"),
        (("train", "--model", "embedded", "--out", "p"), "either as --data FILE or as --store URL"),
        (("train", "--model", "embedded", "--out", "p", "--store", "x.db"), "no such file"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(tmp_path: Path, words, says) -> None:
    assert says in fails(tmp_path, *words)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "cannot listen" in fails(tmp_path, "serve", "--port", port)


def test_a_store_that_is_not_a_database_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"context": "x"}\n' * 99)
    assert "not a database" in fails(tmp_path, "serve", "--store", "log.jsonl")
    assert file.read_text() == '{"context": "x"}\n' * 99


def test_where_a_log_comes_from(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"context": "a", "response": "b", "edit": "c"}\n')
    assert load_records(log, None, None, None, None)[0][0].edit == "c"
    for wrong in ((None, None, None), (log, "x.db", None), (log, None, "ann")):
        with pytest.raises(InputError):
            load_records(wrong[0], wrong[1], None, wrong[2], None)
    EditStore.open(str(tmp_path / "empty.db")).close()
    with pytest.raises(InputError, match="no such edits yet"):
        load_records(None, str(tmp_path / "empty.db"), None, None, None)


def test_moments() -> None:
    assert parse_since("2026-01-31").isoformat() == "2026-01-31T00:00:00+00:00"
    assert parse_since("2026-01-31T12:00:00+02:00").isoformat() == "2026-01-31T12:00:00+02:00"
    assert abs((parse_since("24h") - parse_since("1d")).total_seconds()) < 5
    with pytest.raises(InputError, match="--since"):
        parse_since("yesterday")


def test_paths_are_found_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "early").mkdir()
    assert resolve_spec("early") == str(tmp_path / "early")
    assert resolve_spec("vllm:early@http://h/v1") == f"vllm:{tmp_path / 'early'}@http://h/v1"
    for same in ("embedded", "Qwen/Qwen3-0.6B", "m@http://h/v1"):
        assert resolve_spec(same) == same


def test_it_is_killed_while_it_starts_and_starts_again(tmp_path: Path) -> None:
    process = Command("serve", "--port", "0", "--json", folder=tmp_path)
    until((tmp_path / "copydesk.db").exists)
    process.kill()
    with serving(tmp_path) as ready:
        assert httpx.get(f"{ready['url']}/readyz").status_code == 200
