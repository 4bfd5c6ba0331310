"""The estimate of what the paper's run costs: its sums by hand, and the table in the documentation."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "experiments" / "paper")
    return importlib.import_module("estimate_cost")


def estimate(script: ModuleType, capsys: pytest.CaptureFixture[str], *words: str) -> Mapping[str, Mapping[str, float]]:
    script.main([*words, "--json"])
    return {stage["name"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}


def test_the_documentation_has_the_table_as_it_is_printed(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    script.main([])
    assert capsys.readouterr().out.strip() in page
    for words in (["--grid", "4"], ["--thinking-tokens", "0"]):
        assert f" {estimate(script, capsys, *words)['Sum']['gpu_hours']:,.1f}" in page


def test_the_sums_of_the_paper(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    found = estimate(script, capsys)
    rows = 2 * (20_200 + 10_200)  # of two users, with 200 held-out edits each
    assert found["Logs: responses of π_ref"]["requests"] == 4 * rows
    assert found["Logs: edits of the users"]["requests"] == pytest.approx(4 * rows * (1 + 0.9) * 1.05)
    assert found["Training: the table's policies"]["requests"] == 3 * 3 * 3 * 60_000
    assert found["Training: the grid"]["requests"] == 8 * 3 * 3 * 60_000
    # Base, SFT, DPO and Early answer; Late plays what they did.
    assert found["Online: responses of the policies"]["requests"] == 3 * 4 * 4 * 200
    assert found["Online: edits of the strong user"]["requests"] == pytest.approx(3 * 4 * 4 * 200 * 1.9 * 1.05)


def test_tokens_and_hours_by_hand(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--grid-seeds", "0", "--response-tokens", "100", "--edit-tokens", "50", "--epochs", "1", "--retried", "0"]
    found = estimate(script, capsys, *words, "--accepted", "1", "--thinking-tokens", "9", "--peak", "1000")
    responses = found["Logs: responses of π_ref"]
    read = 3 * 2 * (20_200 * 528 + 10_200 * 340)
    assert responses["prompt_tokens"] == read and responses["new_tokens"] == 3 * 2 * 30_400 * 100
    seconds = 2 * 8e9 * read / (1000e12 * 0.4) + 3 * 2 * 30_400 * 100 / 1500
    assert responses["gpu_hours"] == pytest.approx(seconds / 3600)
    assert found["Logs: edits of the users"]["new_tokens"] == 3 * 2 * 30_400 * 10  # thinking and one word
    training = found["Training: the table's policies"]
    tokens = 3 * 2 * sum(n * (2 * (at + 150) + at + 50) for n, at in ((20_000, 528), (10_000, 340)))
    assert training["prompt_tokens"] == tokens
    assert training["gpu_hours"] == pytest.approx(6 * 8e9 * tokens / (1000e12 * 0.35) / 3600)
    assert found["Training: the grid"]["gpu_hours"] == 0


def test_a_small_run_costs_less(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 < estimate(script, capsys, "--quick")["Sum"]["gpu_hours"] < 3
