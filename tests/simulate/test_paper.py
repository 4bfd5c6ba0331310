"""examples/paper.toml: it is the paper's experiment, and all of it runs with small stand-ins for models and servers."""

import json
import re
import threading
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from tests.support.gateways import running
from tests.support.prelude_files import write_sources
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.simulate.config import ExperimentConfig, parse_scenario_arg
from copydesk.simulate.tasks.prelude import PRELUDE_EMAIL, PRELUDE_SUMMARIZATION
from copydesk.utils.config import merge_config, read_toml

EXAMPLE = Path(__file__).parents[2] / "examples" / "paper.toml"
TASTES = {kind.taste for task in (PRELUDE_SUMMARIZATION, PRELUDE_EMAIL) for kind in task.kinds}
# Fewer reviews than an email log needs, as of AMPERE for the paper's 10,000 emails.
SIZES = {
    **dict.fromkeys(("cnn_dailymail", "slf5k", "wikipedia", "arxiv", "imdb", "elsevier", "paper_tweet"), 16),
    "ampere": 4,
}
USERS = {"strong": "Qwen/Qwen3-32B", "weak": "Qwen/Qwen3-32B", "transfer": "meta-llama/Llama-3.3-70B-Instruct"}


def test_the_example_is_the_papers_experiment() -> None:
    settings = merge_config(ExperimentConfig, EXAMPLE, read_toml(EXAMPLE), {})
    tasks = ("prelude-summarization", "prelude-email")
    first = [f"{task}/{meeting}" for task in tasks for meeting in ("strong", "weak-to-strong")]
    second = [f"{task}/{meeting}" for task in tasks for meeting in ("strong-to-transfer", "weak-to-transfer")]
    assert list(settings.columns) == first + second
    assert settings.methods == ("base", "sft", "dpo", "early", "late")
    assert settings.ensemble_arms == ("sft", "dpo", "early")
    assert (settings.rounds, settings.seeds, settings.max_new_tokens) == (200, (0, 1, 2), 1000)
    assert settings.model == "meta-llama/Llama-3.1-8B-Instruct"
    assert {name: spec.partition("@")[0] for name, spec in settings.users.items()} == USERS
    assert [settings.count_edits(column) for column in map(parse_scenario_arg, settings.columns[:4])] == [
        20_000,
        20_000,
        10_000,
        10_000,
    ]
    assert (settings.temperature, settings.log_temperature, settings.cost_unit) == (0, 0, "word")
    assert (settings.selection, settings.held_out_edits, settings.trim_repeats) == ("log-loss", 200, 200)


class UserServer:
    """Plays every user: it accepts some texts and puts the preferences that it is given before the others.

    The users are known by their API keys. The stand-in for Qwen 3 thinks; the one for Llama 3.3 does not.
    """

    def __init__(self) -> None:
        self.asked: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._lock = threading.Lock()

    def reply(self, user: str, request: dict[str, Any]) -> str:
        with self._lock:
            self.asked[user].append(request)
        prompt = request["messages"][0]["content"]
        if is_question(prompt):
            words = "Yes" if request["seed"] % 4 == 0 else "No"
        else:
            response = prompt.partition("<answer>\n")[2].partition("\n</answer>")[0]
            words = f"{find_taste(prompt).capitalize()}: {response or 'nothing'}"
        return f"<think>\nI thought of it.\n</think>\n\n{words}" if "Qwen3" in request["model"] else words


def is_question(prompt: str) -> bool:
    return prompt.endswith("nothing else.")


def find_taste(prompt: str) -> str:
    """The preferences that a prompt names, as one text."""
    found = re.search(r"(?:this is that style|a style of your own): (.*)\.\n", prompt)
    assert found is not None
    return found[1]


@pytest.fixture
def server() -> Iterator[tuple[UserServer, str]]:
    played, served = UserServer(), FastAPI()

    @served.post("/v1/chat/completions")
    async def complete(request: Request) -> JSONResponse:
        user = request.headers["Authorization"].removeprefix("Bearer key-of-")
        message = {"role": "assistant", "content": played.reply(user, await request.json())}
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    with running(served) as url:
        yield played, f"{url}/v1"


@pytest.fixture
def llama(tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A folder with a Llama of random weights, whose greedy text is made of words it knows."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(chat_tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=chat_tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
        initializer_range=0.5,
    )
    folder = tmp_path / "llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    chat_tokenizer.save_pretrained(folder)
    return folder


def write_toml(path: Path, values: Mapping[str, Any]) -> None:
    """Numbers, texts, lists and tables; JSON's notation of the first three is TOML's too."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items() if not isinstance(value, dict)]

    def add(head: str, table: Mapping[str, Any]) -> None:
        lines.append(f"[{head}]\n")
        lines.extend(f"{name} = {json.dumps(value)}\n" for name, value in table.items() if not isinstance(value, dict))
        for name, value in table.items():
            if isinstance(value, dict):
                add(f"{head}.{name}", value)

    for name, value in values.items():
        if isinstance(value, dict):
            add(name, value)
    path.write_text("".join(lines))


@pytest.mark.slow
def test_the_experiment_runs_with_small_stand_ins(
    server: tuple[UserServer, str], llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, url = server
    (tmp_path / "prelude").mkdir()
    monkeypatch.setenv("COPYDESK_PRELUDE", str(write_sources(tmp_path / "prelude", SIZES)))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    for user in USERS:
        monkeypatch.setenv(f"COPYDESK_KEY_{user.upper()}", f"key-of-{user}")
    values = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    values |= {"model": str(llama), "seeds": [0], "rounds": 5, "edits": 16, "max_new_tokens": 12, "max_length": 256}
    values |= {"task_edits": {"prelude-summarization": 20}, "held_out_edits": 4}
    values["users"] = {user: f"{spec.partition('@')[0]}@{url}" for user, spec in values["users"].items()}
    values["recipe"] = {method: own | {"max_steps": 1} for method, own in values["recipe"].items()}
    write_toml(tmp_path / "paper.toml", values)

    words = ["bench", "paper", "--config", str(tmp_path / "paper.toml"), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results == json.loads(done.stdout) and (tmp_path / "out" / "report.html").exists()

    assert results["columns"] == values["columns"] and results["methods"] == values["methods"]
    cells = results["cells"]
    assert all(cells[column][method]["rounds"] == 5 for column in values["columns"] for method in values["methods"])
    for task in ("prelude-summarization", "prelude-email"):  # the same documents, texts and user, whoever made the log
        assert cells[f"{task}/strong"]["base"] == cells[f"{task}/weak-to-strong"]["base"]
        assert cells[f"{task}/strong-to-transfer"]["base"] == cells[f"{task}/weak-to-transfer"]["base"]
        for user in ("strong", "weak"):
            edits = {"prelude-summarization": 20, "prelude-email": 16}[task]
            log = tmp_path / "out" / "logs" / f"{task}-{user}-n{edits}-0.jsonl"
            assert len(log.read_text(encoding="utf-8").splitlines()) == edits
    rounds = (tmp_path / "out" / "rounds.jsonl").read_text(encoding="utf-8")
    assert {"subtoken_cost", "trimmed"} <= json.loads(rounds.splitlines()[0]).keys()
    assert "I thought" not in rounds and "think>" not in rounds

    check_prompts(played)
    usage = results["settings"]["usage"]
    assert usage.keys() == set(USERS) and all(own["requests"] > 0 for own in usage.values())
    assert all(own["unasked"] == own["gave_up"] == 0 for own in usage.values())
    assert usage["strong"]["unwrapped"] > 0 == usage["transfer"]["unwrapped"]  # what Qwen thinks is taken off


def check_prompts(played: UserServer) -> None:
    """The weak user's prompts name two preferences, those of both others all; and all are sent greedily."""
    for user, model in USERS.items():
        asked = played.asked[user]
        assert {(one["model"], one["temperature"], one["max_tokens"]) for one in asked} == {(model, 0, 8192)}
        prompts = [one["messages"][0]["content"] for one in asked]
        assert {is_question(prompt) for prompt in prompts} == {True, False}
        named = [find_taste(prompt) for prompt in prompts]
        if user != "weak":
            assert set(named) == TASTES
            continue
        two = [one for one in named if one != "question answering style"]  # the one kind with a single preference
        assert {one.count(",") for one in two} == {1} and len(set(two)) > len(TASTES)
        assert all(any(set(one.split(", ")) < set(taste.split(", ")) for taste in TASTES) for one in two)
        # A revision names the preferences of its question, which has the same request and answer in it.
        parts = {
            kind: Counter(
                (prompt.partition("</answer>")[0], find_taste(prompt))
                for prompt in prompts
                if is_question(prompt) == (kind == "question")
            )
            for kind in ("question", "revision")
        }
        assert not parts["revision"] - parts["question"]
