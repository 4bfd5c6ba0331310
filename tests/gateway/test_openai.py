"""The official `openai` package against a running gateway, with three kinds of policy behind it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from tests.support.gateways import running, until

from copydesk.gateway.app import create_app
from copydesk.policies import Sampling, open_policy
from copydesk.store import EditStore

pytestmark = pytest.mark.slow

PROMPT = "Write an email. Notes: thank Ann for the parcel."
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with the embedded model; gives `MODEL@URL`."""
    from copydesk import embedded

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(embedded.path()), "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as file:
        server = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=file, stderr=file, env=environment)
    try:

        def alive() -> bool:
            assert server.poll() is None, log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.HTTPError:
                return False

        until(alive, 120)
        yield f"{embedded.path()}@http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module", params=["in process", "behind another server"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    spec = "embedded" if request.param == "in process" else request.getfixturevalue("upstream")
    store = EditStore.open(str(tmp_path_factory.mktemp("store") / "copydesk.db"))
    with running(create_app(store, {"policy": spec})) as url:
        yield url
    store.close()


def edited(gateway: str, completion_id: str, edit: str) -> dict:
    answer = httpx.post(f"{gateway}/v1/edits", json={"completion_id": completion_id, "edit": edit})
    assert answer.status_code == 200
    return answer.json()


def test_asking_and_editing(gateway: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none")
    completion = client.chat.completions.create(
        model="copydesk", messages=MESSAGES, max_tokens=24, temperature=0.7, user="ann", seed=1
    )
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason in ("stop", "length")
    assert 0 < completion.usage.completion_tokens <= 24
    assert completion.copydesk == {"policy": "policy", "propensity": 1.0, "round": completion.copydesk["round"]}
    done = edited(gateway, completion.id, "Hi Ann, thanks!")
    assert done["counted"]
    assert done["cost"] > 0


def test_a_stream(gateway: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none")
    chunks = list(
        client.chat.completions.create(model="policy", messages=MESSAGES, max_tokens=24, temperature=0, stream=True)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].copydesk["policy"] == "policy"
    whole = client.chat.completions.create(model="policy", messages=MESSAGES, max_tokens=24, temperature=0)
    assert whole.choices[0].message.content == text
    assert edited(gateway, chunks[0].id, text)["cost"] == 0.0


def test_many_at_once(gateway: str) -> None:
    async def ask() -> list[openai.types.chat.ChatCompletion]:
        async with openai.AsyncOpenAI(base_url=f"{gateway}/v1", api_key="none") as client:
            asked = [
                client.chat.completions.create(model="copydesk", messages=MESSAGES, max_tokens=8, user=f"user-{i}")
                for i in range(6)
            ]
            found = list(await asyncio.gather(*asked))
            stream = await client.chat.completions.create(
                model="copydesk", messages=MESSAGES, max_tokens=8, stream=True
            )
            assert [chunk async for chunk in stream]
            return found

    answers = asyncio.run(ask())
    assert len({answer.id for answer in answers}) == 6


def test_models_and_errors_are_those_the_package_knows(gateway: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["copydesk", "policy"]
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.chat.completions.create(model="gpt-9", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="copydesk", messages=[])
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="copydesk", messages=MESSAGES, n=3)
    assert error.value.param == "n"


def test_a_key_that_is_needed(tmp_path: Path, monkeypatch) -> None:
    from tests.support.gateways import Scripted, app_of

    from copydesk.gateway import auth
    from copydesk.store.api_keys import create_key

    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with store.begin_write() as tx:
        _, key = create_key(tx.connection, "app", scopes=["complete"])
    with running(app_of(store, Scripted("a"))) as url:
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").models.list()
        assert openai.OpenAI(base_url=f"{url}/v1", api_key=key).models.list().data


def test_the_embedded_model_answers_as_it_does_offline(tmp_path: Path) -> None:
    """What is trained on is what is served: the same context, token for token."""
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with running(create_app(store, {"policy": "embedded"})) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        served = client.chat.completions.create(model="policy", messages=MESSAGES, max_tokens=40, temperature=0)
    (alone,) = open_policy("policy", "embedded").respond([PROMPT], [[0]], Sampling(0.0, 40, 1))
    assert served.choices[0].message.content == alone
    store.close()
