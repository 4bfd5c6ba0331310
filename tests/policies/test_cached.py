import multiprocessing
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from tests.support.gateways import running
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import Context, Message
from copydesk.data.repetition import trim_repeats
from copydesk.errors import InputError, Interrupted
from copydesk.policies import CachedPolicy, LocalPolicy, OpenAIPolicy, PolicyResponse, Sampling, collect_responses

SAMPLING = Sampling(temperature=0.5, max_new_tokens=7)
CONTEXTS = [f"question {i}" for i in range(10)]
SEEDS = [(0, i) for i in range(10)]


class Counting:
    """Answers with its context and seed; fails when it meets one context."""

    name = "counting"

    def __init__(self, fails_at: str | None = None, error: BaseException | None = None) -> None:
        self.fails_at = fails_at
        self.error = error or InputError("it went wrong")
        self.asked: list[Context] = []

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        if self.fails_at in contexts:
            raise self.error
        self.asked += contexts
        return [f"{context} {tuple(seed)}" for context, seed in zip(contexts, seeds, strict=True)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


def test_a_cached_answer_is_not_requested_again(file: Path) -> None:
    inner = Counting()
    first = CachedPolicy(inner, "model-1", file)
    wanted = inner.respond(CONTEXTS, SEEDS, SAMPLING)
    inner.asked.clear()
    assert first.respond(CONTEXTS[:6], SEEDS[:6], SAMPLING) == wanted[:6]
    assert (first.name, first.hits, first.misses) == ("counting", 0, 6)
    again = CachedPolicy(inner, "model-1", file)
    assert again.respond(CONTEXTS, SEEDS, SAMPLING) == wanted
    assert (again.hits, again.misses) == (6, 4)
    assert inner.asked == CONTEXTS
    assert again.respond([], [], SAMPLING) == []


def test_every_part_of_a_question_counts(file: Path) -> None:
    def ask(context: Context = "hello", seed: tuple[int, ...] = (1, 2), identity: str = "m", **more: float) -> int:
        policy = CachedPolicy(Counting(), identity, file)
        policy.respond([context], [seed], Sampling(**{"temperature": 1, "max_new_tokens": 7, **more}))  # type: ignore[arg-type]
        return policy.misses

    assert ask() == 1 and ask() == 0
    assert ask(temperature=1.0, batch_size=2) == 0  # no part of it
    user = Message(role="user", content="hello")
    assert ask("hullo") == ask([user]) == ask([user, user]) == 1
    assert ask([user]) == 0
    assert ask(seed=(2, 1)) == ask(seed=(12,)) == ask(identity="n") == 1
    assert ask(temperature=0.5) == ask(max_new_tokens=8) == 1


def test_the_same_question_twice_in_a_batch_is_asked_once(file: Path) -> None:
    inner = Counting()
    policy = CachedPolicy(inner, "m", file)
    assert policy.respond(["a", "b", "a"], [(1,), (1,), (1,)], SAMPLING) == ["a (1,)", "b (1,)", "a (1,)"]
    assert sorted(map(str, inner.asked)) == ["a", "b"] and (policy.hits, policy.misses) == (1, 2)


@pytest.mark.parametrize("error", [InputError("it went wrong"), KeyboardInterrupt(), Interrupted(15)])
def test_answers_that_arrived_before_an_error_are_kept(file: Path, error: BaseException) -> None:
    sampling = Sampling(temperature=0.5, max_new_tokens=7, batch_size=2)
    broken = CachedPolicy(Counting("question 7", error), "m", file, commit_every=2)
    with pytest.raises(type(error)):
        broken.respond(CONTEXTS, SEEDS, sampling)
    assert broken.misses == 6
    inner = Counting()
    assert len(CachedPolicy(inner, "m", file, commit_every=2).respond(CONTEXTS, SEEDS, sampling)) == 10
    assert inner.asked == CONTEXTS[6:]


def test_a_server_that_fails_midway_is_asked_only_for_what_is_missing(file: Path) -> None:
    app, asked, broken = FastAPI(), list[str](), [True]

    @app.post("/v1/chat/completions")
    async def complete(request: dict) -> JSONResponse:  # type: ignore[type-arg]
        text = request["messages"][0]["content"]
        if broken and text == "question 4":
            return JSONResponse({"error": {"message": "no"}}, 400)
        asked.append(text)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        return JSONResponse({"choices": [choice]})

    with running(app) as url:
        policy = CachedPolicy(OpenAIPolicy("r", "m", f"{url}/v1", concurrency=1), "m", file)
        with pytest.raises(InputError, match=r"answered 400"):
            policy.respond(CONTEXTS, SEEDS, SAMPLING)
        assert asked == CONTEXTS[:4]
        broken.clear()
        # That they were cut off is kept as well.
        assert policy.collect_responses(CONTEXTS, SEEDS, SAMPLING) == [
            PolicyResponse(context, True) for context in CONTEXTS
        ]
        assert asked == CONTEXTS and (policy.hits, policy.misses) == (4, 10)
        assert policy.collect_responses(CONTEXTS, SEEDS, SAMPLING) == [
            PolicyResponse(context, True) for context in CONTEXTS
        ]
        assert asked == CONTEXTS


def test_a_local_model_reports_truncated_answers(
    file: Path, tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    local = LocalPolicy("tiny", tiny_model, chat_tokenizer)
    written = collect_responses(local, CONTEXTS, SEEDS, SAMPLING)
    assert [answer.text for answer in written] == local.respond(CONTEXTS, SEEDS, SAMPLING)
    assert [answer.truncated for answer in written].count(True) >= 5  # of 320 tokens one ends a response
    cached = CachedPolicy(local, "tiny", file)
    assert (
        collect_responses(cached, CONTEXTS, SEEDS, SAMPLING)
        == written
        == collect_responses(cached, CONTEXTS, SEEDS, SAMPLING)
    )
    end = chat_tokenizer.convert_tokens_to_ids("<|end|>")
    with torch.no_grad():  # a model that wants nothing but to end its turn
        tiny_model.lm_head.weight.zero_()
        tiny_model.lm_head.bias = torch.nn.Parameter(torch.zeros(tiny_model.lm_head.out_features))
        tiny_model.lm_head.bias[end] = 100.0
    assert collect_responses(local, CONTEXTS[:1], SEEDS[:1], SAMPLING) == [PolicyResponse("", False)]


def test_other_policies_answers_count_as_complete() -> None:
    assert collect_responses(Counting(), ["a"], [(1,)], SAMPLING) == [PolicyResponse("a (1,)", False)]


def test_every_policys_answers_are_trimmed_where_they_begin_to_repeat() -> None:
    sampling = replace(SAMPLING, trim_repeats=4)
    answers = collect_responses(Counting(), ["round and round and round", "once"], [(1,), (2,)], sampling)
    assert answers == [PolicyResponse("round and ", False, True), PolicyResponse("once (2,)", False, False)]


def test_the_cache_holds_untrimmed_answers_and_trims_them_when_read(file: Path) -> None:
    inner = Counting()
    policy = CachedPolicy(inner, "m", file)
    context, trimmed = "round and round and round", PolicyResponse("round and ", False, True)
    for _ in range(2):
        assert collect_responses(policy, [context], [(1,)], replace(SAMPLING, trim_repeats=4)) == [trimmed]
    assert policy.respond([context], [(1,)], replace(SAMPLING, trim_repeats=10)) == ["round and "]
    assert policy.respond([context], [(1,)], SAMPLING) == [f"{context} (1,)"]
    assert inner.asked == [context]


def test_a_local_models_answers_are_trimmed(
    file: Path, tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    local = LocalPolicy("tiny", tiny_model, chat_tokenizer)
    whole = replace(SAMPLING, temperature=0.0, max_new_tokens=60)
    texts, sampling = local.respond(CONTEXTS, SEEDS, whole), replace(whole, trim_repeats=8)
    wanted = [trim_repeats(text, 8) for text in texts]
    assert wanted != texts
    for policy in (local, CachedPolicy(local, "tiny", file)):
        assert policy.respond(CONTEXTS, SEEDS, sampling) == wanted
        answers = collect_responses(policy, CONTEXTS, SEEDS, sampling)
        assert [answer.text for answer in answers] == wanted
        assert [answer.trimmed for answer in answers] == [a != b for a, b in zip(texts, wanted, strict=True)]


def ask_much(file: Path, ready: Barrier) -> None:
    ready.wait()
    policy = CachedPolicy(Counting(), "m", file, commit_every=1)
    for start in range(0, 60, 3):
        contexts = [f"question {i}" for i in range(start, start + 6)]
        found = policy.respond(contexts, [(0,)] * 6, Sampling(batch_size=1))
        assert found == [f"{context} (0,)" for context in contexts]


def test_several_processes_share_a_file(file: Path) -> None:
    forking = multiprocessing.get_context("fork")  # a process of its own would import torch first
    ready = forking.Barrier(3)
    processes = [forking.Process(target=ask_much, args=(file, ready)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (63,)
        CachedPolicy(Counting(), "m", file)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("content", [b"Dear diary", b'{"context": "x"}\n' * 1000])
def test_a_file_that_is_no_database_stays_as_it_is(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"answers\.db: cannot be used as a cache of answers \(.+\); name another"):
        CachedPolicy(Counting(), "m", file)
    assert file.read_bytes() == content


def test_another_programs_database_stays_as_it_is(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE answers (key, text, cut)")
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"answers\.db: this is another program's database"):
        CachedPolicy(Counting(), "m", file)
    assert file.read_bytes() == before


def test_a_damaged_file_says_so_in_one_line(file: Path) -> None:
    policy = CachedPolicy(Counting(), "m", file)
    policy.respond(CONTEXTS, SEEDS, SAMPLING)
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\x5a" * (len(content) - 4096))
    with pytest.raises(InputError, match=r"answers\.db: cannot be used") as found:
        CachedPolicy(Counting(), "m", file).respond(CONTEXTS, SEEDS, SAMPLING)
    assert "\n" not in str(found.value)


def test_a_folder_that_is_not_there_and_rows_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.+unable to open"):
        CachedPolicy(Counting(), "m", tmp_path / "nowhere" / "answers.db")
    with pytest.raises(InputError, match=r"commit_every: 0"):
        CachedPolicy(Counting(), "m", tmp_path / "answers.db", commit_every=0)
