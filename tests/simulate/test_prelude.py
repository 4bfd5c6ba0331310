"""PRELUDE's two tasks: its documents in its order, and a log that keeps away from them."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.support.prelude_files import make_row, write_sources

from copydesk.errors import InputError
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.prelude import PRELUDE_EMAIL, PRELUDE_SUMMARIZATION, PreludeTask

# Sizes that differ, as those of the real sources do, all large enough for 50 documents online and 70 in a log.
SIZES = {
    "cnn_dailymail": 331,
    "slf5k": 260,
    "wikipedia": 197,
    "arxiv": 180,
    "imdb": 149,
    "elsevier": 160,
    "ampere": 131,
    "paper_tweet": 170,
}
SUMMARIZATION_SOURCES = ("cnn_dailymail", "slf5k", "wikipedia", "arxiv", "imdb")
EMAIL_SOURCES = ("slf5k", "elsevier", "ampere", "paper_tweet")
TASKS = [(PRELUDE_SUMMARIZATION, SUMMARIZATION_SOURCES), (PRELUDE_EMAIL, EMAIL_SOURCES)]


def text(source: str, number: int) -> str:
    """The document of that row, as the agent should see it."""
    name = f"{source} {number}"
    return {
        "wikipedia": name + " word" * 500,
        "elsevier": f"My title: {name}. My abstract: A My highlights: H",
        "ampere": f"{name} Good.",
    }.get(source, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("prelude"), SIZES)


@pytest.fixture(autouse=True)
def surroundings(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "hub"))
    monkeypatch.setenv("COPYDESK_PRELUDE", str(folder))


def preludes_run(names: tuple[str, ...], rounds: int, seed: int) -> list[str]:
    """What PRELUDE meets, told plainly: shuffle each list, take the first few of each, shuffle these."""
    generator = np.random.default_rng(seed)
    pools = [[text(name, number) for number in range(SIZES[name])] for name in names]
    for pool in pools:
        generator.shuffle(pool)
    met = []
    for pool in pools:
        met += pool[: rounds // len(names)]
    generator.shuffle(met)
    return met


def texts(documents: list[Document]) -> list[str]:
    """The documents without the instruction."""
    return [document.context.partition("\n")[2] for document in documents]


@pytest.mark.parametrize(("task", "names"), TASKS, ids=["summarization", "email"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_online_phase_meets_preludes_documents_in_its_order(
    task: PreludeTask, names: tuple[str, ...], seed: int
) -> None:
    assert texts(task.draw_online(200, seed, frozenset())) == preludes_run(names, 200, seed)


@pytest.mark.parametrize(("task", "names"), TASKS, ids=["summarization", "email"])
def test_a_log_of_the_same_seed_changes_nothing_about_them(task: PreludeTask, names: tuple[str, ...]) -> None:
    log = task.draw_offline(280, 1)
    known = frozenset(document.context for document in log)
    assert len(known) == 280
    assert texts(task.draw_online(200, 1, known)) == preludes_run(names, 200, 1)
    assert known.isdisjoint(document.context for document in task.draw_online(200, 1, frozenset()))


def test_documents_of_the_log_are_passed_over() -> None:
    plain = PRELUDE_EMAIL.draw_online(40, 0, frozenset())
    unlike = frozenset(document.context for document in plain[:7])
    others = PRELUDE_EMAIL.draw_online(40, 0, unlike)
    assert unlike.isdisjoint(document.context for document in others)
    assert {document.context for document in plain[7:]} < {document.context for document in others}


@pytest.mark.parametrize(("task", "names"), TASKS, ids=["summarization", "email"])
def test_an_equal_number_of_each_kind_from_its_own_source(task: PreludeTask, names: tuple[str, ...]) -> None:
    for documents in (task.draw_online(40, 3, frozenset()), task.draw_offline(40, 3)):
        for kind, name in zip(task.kinds, names, strict=True):
            of_kind = [document for document in documents if document.kind == kind.name]
            assert len(of_kind) == 40 // len(names)
            assert all(name in document.context for document in of_kind)


def test_what_is_left_over_goes_to_the_first_kinds() -> None:
    kinds = [document.kind for document in PRELUDE_EMAIL.draw_online(6, 0, frozenset())]
    assert [kinds.count(kind.name) for kind in PRELUDE_EMAIL.kinds] == [2, 2, 1, 1]
    assert len(PRELUDE_SUMMARIZATION.draw_offline(3, 0)) == 3


def test_a_log_is_its_seed_s() -> None:
    assert PRELUDE_EMAIL.draw_offline(20, 5) == PRELUDE_EMAIL.draw_offline(20, 5)
    assert PRELUDE_EMAIL.draw_offline(20, 5) != PRELUDE_EMAIL.draw_offline(20, 6)


def test_the_agent_sees_an_instruction_and_the_text_alone() -> None:
    for task in (PRELUDE_SUMMARIZATION, PRELUDE_EMAIL):
        for document in task.draw_offline(20, 0):
            assert document.context.startswith(f"{task.instruction}\n")
            assert document.context == document.context.strip()
            assert document.facts == {}


def test_the_preferences_are_preludes_between_its_commas() -> None:
    for task in (PRELUDE_SUMMARIZATION, PRELUDE_EMAIL):
        protocol: Task = task
        for kind in task.kinds:
            assert ", ".join(protocol.list_preferences(Document("", kind.name))) == kind.taste
    assert PRELUDE_SUMMARIZATION.list_preferences(Document("", "movie")) == ("question answering style",)
    assert PRELUDE_EMAIL.list_preferences(Document("", "problem")) == ("informal", "conversational", "no closing")
    assert PRELUDE_EMAIL.list_preferences(Document("", "paper"))[-1] == "professional greeting and closing"


def test_too_few_documents_says_of_which_source() -> None:
    log = frozenset(document.context for document in PRELUDE_EMAIL.draw_offline(400, 0))
    with pytest.raises(
        InputError,
        match=r"prelude-email: 50 documents of ampere are needed, and 32 of its 131 can be used; ask for fewer",
    ):
        PRELUDE_EMAIL.draw_online(200, 0, log)


def test_a_log_longer_than_a_source_repeats_its_back_and_leaves_its_front_to_the_online_phase() -> None:
    log = PRELUDE_EMAIL.draw_offline(1000, 0)
    counts = Counter(document.context for document in log if document.kind == "review")
    assert len(log) == 1000 and sum(counts.values()) == 250
    assert len(counts) == 99 and set(counts.values()) == {2, 3}  # the back three quarters of 131 reviews
    assert set(Counter(one.context for one in log if one.kind == "problem").values()) == {1, 2}
    online = PRELUDE_EMAIL.draw_online(100, 0, frozenset(document.context for document in log))
    assert len(online) == 100 and counts.keys().isdisjoint(document.context for document in online)
    assert texts(online) == preludes_run(EMAIL_SOURCES, 100, 0)


def email_task_with_posts(folder: Path, posts: Sequence[str | None]) -> PreludeTask:
    for source in EMAIL_SOURCES:
        rows = [{"post": post} for post in posts] if source == "slf5k" else [make_row(source, n) for n in range(3)]
        (folder / f"{source}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return PreludeTask(PRELUDE_EMAIL.name, PRELUDE_EMAIL.instruction, PRELUDE_EMAIL.kinds, folder=folder)


def posts_of(log: list[Document]) -> list[str]:
    return sorted(texts([document for document in log if document.kind == "problem"]))


def test_a_log_has_no_empty_documents(tmp_path: Path) -> None:
    task = email_task_with_posts(tmp_path, [" ", "a", None, "b"] * 2 + ["c", "d"])
    for seed in range(5):
        found = posts_of(task.draw_offline(8, seed))
        assert len(found) == 2 and set(found) <= set("abcd")


def test_documents_with_text_are_repeated_and_no_others(tmp_path: Path) -> None:
    assert posts_of(email_task_with_posts(tmp_path, [" ", "a", None]).draw_offline(8, 0)) == ["a", "a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"2 documents of slf5k are needed, and 0 of its 2 can be used"):
        email_task_with_posts(tmp_path / "empty", [" ", None]).draw_offline(8, 0)


def test_the_folder_of_the_task_comes_before_the_variable(tmp_path: Path) -> None:
    task = PreludeTask(
        PRELUDE_EMAIL.name, PRELUDE_EMAIL.instruction, PRELUDE_EMAIL.kinds, folder=tmp_path / "elsewhere"
    )
    with pytest.raises(InputError, match=r"elsewhere: there is no such folder"):
        task.draw_online(4, 0, frozenset())


def test_without_a_folder_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COPYDESK_PRELUDE")
    with pytest.raises(InputError, match=r"slf5k: the hub cannot be reached.*JeremyAlain/SLF5K"):
        PRELUDE_EMAIL.draw_online(4, 0, frozenset())
