"""Attacks on the keys of upstream servers: each key goes to the origin it is bound to, and to no other."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.support.gateways import SETTINGS, Scripted, ask, running
from typer.testing import CliRunner

from copydesk.cli.app import app as cli
from copydesk.errors import InputError
from copydesk.gateway.app import create_app
from copydesk.gateway.backends.proxy import ProxyBackend
from copydesk.gateway.backends.vllm import load_adapter
from copydesk.policies import OpenAIPolicy, Sampling
from copydesk.policy_spec import UpstreamKeys
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.llm_users import UserPool
from copydesk.simulate.run_folder import RunFolder
from copydesk.store import EditStore

OPENAI = "https://api.openai.com/v1"
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}


class Recorder:
    """A server that notes the paths and keys it is sent."""

    def __init__(self, answer: Callable[[Request], Response] | None = None) -> None:
        self.answer = answer or (lambda request: JSONResponse(ANSWER))
        self.seen: list[tuple[str, str | None]] = []

    async def handle(self, request: Request) -> Response:
        await request.body()
        self.seen.append((request.url.path, request.headers.get("authorization")))
        return self.answer(request)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.handle, methods=["GET", "POST"])])


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(running(server.app() if isinstance(server, Recorder) else server))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("COPYDESK_UPSTREAM_KEY", raising=False)


def post(client: httpx.Client, name: str, spec: str) -> httpx.Response:
    return client.post("/v1/policies", json={"name": name, "spec": spec})


def test_a_policy_added_over_http_may_not_name_another_server(
    store: EditStore, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COPYDESK_UPSTREAM_KEY", "sk-shared")
    monkeypatch.setenv("COPYDESK_KEY_EVIL", "sk-evil")
    ours, theirs = Recorder(), Recorder()
    good, evil = start(ours), start(theirs)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "a.safetensors").write_text("")
    gateway = create_app(store, {"a": f"m@{good}/v1"}, SETTINGS)
    with httpx.Client(base_url=start(gateway)) as client:
        for spec in (
            f"m@{evil}/v1",
            f"vllm:{tmp_path}@{evil}/v1",
            f"m@{evil.replace('127.0.0.1', 'localhost')}/v1",
            f"m@{good}@{evil.removeprefix('http://')}/v1",
            f"m@{good.replace('http:', 'https:')}/v1",
            f"m@{good}\\@{evil.removeprefix('http://')}/v1",
            f"m@{good}/v1@{evil}/v1",
        ):
            refused = post(client, "evil", spec)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "spec"), spec
        assert "--upstream" in post(client, "evil", f"m@{evil}/v1").json()["error"]["message"]
        assert post(client, "b", f"m2@{good}/other").status_code == 201
        assert ask(client, "b").status_code == 200
    assert theirs.seen == []
    assert ours.seen == [("/other/chat/completions", "Bearer sk-shared")]


def test_an_origin_that_is_allowed_gets_its_own_key_and_nothing_else(
    store: EditStore, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("COPYDESK_UPSTREAM_KEY", "COPYDESK_KEY_A", "COPYDESK_KEY_B", "PLUS", "OPENAI_API_KEY"):
        monkeypatch.setenv(variable, f"key-of-{variable}")
    first, plus, bare = Recorder(), Recorder(), Recorder()
    arms = {"a": f"m@{start(first)}/v1"}
    plus_url, bare_url = start(plus), start(bare)
    config = SETTINGS.replace(upstreams=(f"{plus_url}=PLUS", bare_url))
    with httpx.Client(base_url=start(create_app(store, arms, config))) as client:
        assert post(client, "b", f"m@{plus_url}/v1").status_code == 201
        assert post(client, "c", f"m@{bare_url}/v1").status_code == 201
        assert {ask(client, name).status_code for name in "abc"} == {200}
    assert [key for _, key in first.seen] == ["Bearer key-of-COPYDESK_KEY_A"]
    assert [key for _, key in plus.seen] == ["Bearer key-of-PLUS"]
    assert [key for _, key in bare.seen] == ["Bearer key-of-COPYDESK_UPSTREAM_KEY"]


def test_a_policy_in_the_log_gets_no_key_for_its_name(
    store: EditStore, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Recorder()
    url = start(server)
    with httpx.Client(base_url=start(create_app(store, {"a": f"m@{url}/v1"}, SETTINGS))):
        pass
    monkeypatch.setenv("COPYDESK_KEY_A", "sk-a")
    with caplog.at_level(logging.WARNING, "copydesk"):
        with httpx.Client(base_url=start(create_app(store, {}, SETTINGS))) as client:
            assert ask(client, "a").status_code == 200
        assert [key for _, key in server.seen] == [None]
        warnings = [record.getMessage() for record in caplog.records if "COPYDESK_KEY_A" in record.getMessage()]
    assert len(warnings) == 1 and f"--upstream {url}=COPYDESK_KEY_A" in warnings[0] and "sk-a" not in warnings[0]
    for config, arms in (
        (SETTINGS.replace(upstreams=(f"{url}=COPYDESK_KEY_A",)), {}),
        (SETTINGS, {"a": f"m@{url}/v1"}),
    ):
        with httpx.Client(base_url=start(create_app(store, arms, config))) as client:
            assert ask(client, "a").status_code == 200
        assert server.seen[-1][1] == "Bearer sk-a"


def test_two_names_that_read_one_variable_are_refused(serve: Any) -> None:
    specs = {"gpt-4": f"m@{OPENAI}", "GPT.4": "m@http://127.0.0.1:9/v1"}
    with pytest.raises(InputError, match="COPYDESK_KEY_GPT_4"):
        UpstreamKeys(specs, (), {})
    config = SETTINGS.replace(upstreams=("http://127.0.0.1:9",))
    client = serve(Scripted("a"), config=config)
    assert post(client, "gpt-4", "m@http://127.0.0.1:9/v1").status_code == 201
    for spec in ("m@http://127.0.0.1:9/v1", "m2@http://127.0.0.1:9/v1"):
        refused = post(client, "GPT.4", spec)
        assert refused.status_code == 400 and "COPYDESK_KEY_GPT_4" in refused.json()["error"]["message"]
    assert post(client, "GPT.4", "embedded").status_code == 201  # it has no key
    assert post(client, "gpt-4", "m@http://127.0.0.1:9/v1").json()["added"] is False
    assert client.delete("/v1/policies/gpt-4").status_code == 200
    assert post(client, "gpt_4", "m@http://127.0.0.1:9/v1").status_code == 400  # a retired name too


def test_the_shared_key_belongs_to_one_origin() -> None:
    specs = {"a": "m@http://one:1/v1", "b": "m@http://two:2/v1"}
    environ = {"COPYDESK_UPSTREAM_KEY": "shared"}
    with pytest.raises(InputError, match=r"http://one:1 and http://two:2.*--upstream http://one:1="):
        UpstreamKeys(specs, (), environ)
    keys = UpstreamKeys(specs, (), environ | {"COPYDESK_KEY_A": "own"})
    assert (keys.find("a", "http://one:1/v1"), keys.find("b", "http://two:2/v1")) == ("own", "shared")
    assert keys.find("c", "http://two:2/else") == "shared" and keys.find("c", "http://one:1/v1") is None
    keys = UpstreamKeys(specs, ("http://two:2=COPYDESK_UPSTREAM_KEY",), environ)
    assert (keys.find("a", "http://one:1/v1"), keys.find("b", "http://two:2/v1")) == (None, "shared")
    assert UpstreamKeys({}, (), environ).find("a", "http://one:1/v1") is None
    keys = UpstreamKeys({"a": f"m@{OPENAI}", "b": "m@http://two:2/v1"}, (), environ | {"OPENAI_API_KEY": "openai"})
    assert (keys.find("a", OPENAI), keys.find("b", "http://two:2/v1")) == ("openai", "shared")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com",
        "https://xapi.openai.com/v1",
        "http://localhost/v1",
    ],
)
def test_the_key_of_openai_is_sent_to_openai_only(url: str) -> None:
    keys = UpstreamKeys({"a": f"m@{url}"}, (), {"OPENAI_API_KEY": "sk-1"})
    assert keys.find("a", url) is None
    assert keys.find("a", "https://API.openai.com:443/v1") == "sk-1"


def test_a_policy_s_own_key_is_not_sent_to_another_origin_under_its_name() -> None:
    keys = UpstreamKeys({"a": "m@https://good/v1"}, (), {"COPYDESK_KEY_A": "own"})
    assert keys.find("a", "https://good:443/v2") == "own"
    for url in ("http://good/v1", "https://good:8443/v1", "https://evil/v1", "https://good.evil/v1"):
        assert keys.find("a", url) is None
    assert keys.find("A", "https://good/v1") is None  # another name with the same variable


@pytest.mark.parametrize(
    "word",
    [
        "http://h/v1",
        "h",
        "ftp://h",
        "http://h=",
        "http://ann:pw@h",
        "http://h=NOT_SET",
        "http://h=sk-live-1",
        "http://h?x",
    ],
)
def test_a_malformed_upstream_is_refused_without_showing_a_secret(word: str) -> None:
    if word == "http://h=":
        assert UpstreamKeys({}, (word,), {}).find("a", "http://h/v1") is None
        return
    with pytest.raises(InputError, match="--upstream") as caught:
        UpstreamKeys({}, (word,), {})
    assert "sk-live-1" not in str(caught.value) and "pw@" not in str(caught.value)


def test_an_upstream_with_two_keys_or_a_key_no_header_may_hold_is_refused() -> None:
    with pytest.raises(InputError, match="two variables"):
        UpstreamKeys({}, ("http://h=A", "http://H:80=B"), {"A": "1", "B": "2"})
    for environ in ({"A": "sk-1\nHost: x"}, {"A": "sk\u00e9"}, {"A": "a b"}):
        with pytest.raises(InputError, match="key in A holds") as caught:
            UpstreamKeys({}, ("http://h=A",), environ)
        assert environ["A"] not in str(caught.value)


def test_serve_refuses_ambiguous_keys_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_UPSTREAM_KEY", "sk-shared")
    words = ["serve", "--store", str(tmp_path / "s.db"), "--port", "0"]
    words += ["--policy", "a=m@http://127.0.0.1:9/v1", "--upstream", "http://127.0.0.1:10"]
    with pytest.raises(InputError, match="COPYDESK_UPSTREAM_KEY is the key of one server") as caught:
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "sk-shared" not in str(caught.value)


def test_users_of_an_experiment_share_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_UPSTREAM_KEY", "sk-shared")
    config = ExperimentConfig(users={"strong": "m@http://127.0.0.1:1/v1", "weak": "m@http://127.0.0.1:2/v1"})
    folder = RunFolder(tmp_path / "out")
    folder.prepare(config, resume=False)
    with pytest.raises(InputError, match="COPYDESK_UPSTREAM_KEY is the key of one server"):
        UserPool(config, folder)


def write_adapter(folder: Path) -> str:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return str(folder)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_neither_the_key_nor_the_prompt_along(
    start: Callable[..., str], tmp_path: Path, status: int
) -> None:
    evil = Recorder()
    target = start(evil)
    server = Recorder(lambda request: RedirectResponse(target + request.url.path, status))
    url = start(server) + "/v1"

    async def through_the_proxy() -> None:
        policy = ProxyBackend("p", "m", url, api_key="sk-1", retries=0)
        try:
            await policy.check()
            with pytest.raises(Exception, match=f"answered {status}"):
                await policy.complete({"messages": []})
            with pytest.raises(Exception, match=f"answered {status}"):
                await anext(policy.stream({"messages": []}))  # type: ignore[call-overload]
        finally:
            await policy.close()

    asyncio.run(through_the_proxy())
    with pytest.raises(InputError):
        load_adapter("early", write_adapter(tmp_path), url, "sk-1", timeout=5)
    with pytest.raises(InputError):
        OpenAIPolicy("p", "m", url, api_key="sk-1", retries=0).respond(["secret"], [(0,)], Sampling(max_new_tokens=1))
    assert len(server.seen) == 5
    assert evil.seen == []


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_that_the_server_echoes_reaches_neither_clients_nor_the_log(
    store: EditStore, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("COPYDESK_KEY_A", "sk-echo-1")
    error = JSONResponse({"error": {"message": "bad key sk-echo-1", "code": "sk-echo-1", "param": "sk-echo-1"}}, status)
    url = start(Recorder(lambda request: error))
    app = create_app(store, {"a": f"m@{url}/v1"}, SETTINGS.replace(retries=0))
    with httpx.Client(base_url=start(app)) as client:
        answer = ask(client)
    assert answer.status_code >= 400 and "bad key ***" in answer.text
    assert "sk-echo-1" not in answer.text
    with store.begin_read() as connection:
        assert "sk-echo-1" not in str(connection.exec_driver_sql("SELECT * FROM withdrawals").all())


def test_a_netrc_file_is_not_sent(start: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Recorder()
    url = start(server) + "/v1"

    async def run() -> None:
        policy = ProxyBackend("p", "m", url)
        try:
            await policy.complete({"messages": []})
        finally:
            await policy.close()

    asyncio.run(run())
    assert server.seen == [("/v1/chat/completions", None)]
