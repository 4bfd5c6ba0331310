import json
from pathlib import Path

import pytest
from tests.support.demos import ROUNDS, SEED, DemoRun
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.errors import InputError
from copydesk.report import summarize_rounds

pytestmark = pytest.mark.slow

SMALL = ["simulate", "--rounds", "8", "--seed", "3"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*SMALL, *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_policies_of_a_demo_and_best_of_n_play_and_an_ensemble_chooses_among_them(
    small_demo: DemoRun, tmp_path: Path
) -> None:
    demo = small_demo.folder
    best = f"best=best-of-2:{demo / 'policies' / 'sft'}@{demo / 'policies' / 'rl' / 'cost_model'}"
    words = [
        "--from",
        str(demo),
        "--policy",
        "base=embedded",
        "--policy",
        best,
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    results = json.loads(run(*words))
    assert set(results["methods"]) == {"base", "sft", "dpo", "rl", "early", "best", "late"}
    rounds = [json.loads(line) for line in (tmp_path / "out" / "rounds.jsonl").read_text().splitlines()]
    assert len(rounds) == 7 * 8
    assert summarize_rounds(rounds, results["settings"], results["seconds"]) == results
    assert {one["policy"] for one in rounds if one["method"] == "late"} <= set(results["methods"]) - {"late"}
    assert results["settings"]["policies"]["base"] == "embedded"
    assert results["columns"] == ["email/strong"]
    assert results["settings"]["temperature"] == 0.7  # greedy drafts would all be the same
    assert (tmp_path / "out" / "report.html").is_file()
    alone = {(one["method"], one["t"]): one for one in rounds}
    assert all(alone[one["policy"], one["t"]]["cost"] == one["cost"] for one in rounds if one["method"] == "late")


def test_with_the_seed_of_the_demo_they_play_its_rounds(small_demo: DemoRun, tmp_path: Path) -> None:
    demo = small_demo.folder
    words = [
        "simulate",
        "--from",
        str(demo),
        "--rounds",
        str(ROUNDS),
        "--seed",
        str(SEED),
        "--out",
        str(tmp_path / "out"),
    ]
    assert CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")], catch_exceptions=False).exit_code == 0
    played, before = (
        {
            (one["method"], one["t"]): one | {"user": "strong"}
            for one in map(json.loads, (folder / "rounds.jsonl").read_text().splitlines())
            if one["method"] not in ("base", "late")
        }
        for folder in (tmp_path / "out", demo)
    )
    assert played == before


def test_one_policy_needs_no_ensemble(tmp_path: Path) -> None:
    printed = run("--policy", "base=embedded", "--out", str(tmp_path / "out"))
    assert "Base" in printed and "Late ensemble" not in printed
    assert str(tmp_path / "out" / "report.html") in printed.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--policy"),
        (["--policy", "embedded"], "NAME=SPEC"),
        (["--policy", "a=embedded", "--policy", "a=embedded"], "two policies named 'a'"),
        (["--policy", "late=embedded"], "late"),
        (["--from", "nowhere"], "--from nowhere"),
        (["--policy", "a=embedded", "--rounds", "0"], "--rounds"),
        (["--policy", "a=embedded", "--met-by", "nobody"], "--user: there is no user"),
        (["--policy", "a=./no-such-folder"], "no such folder"),
        (["--policy", "a=best-of-2:embedded@x"], r"cost_model\.json"),
        (["--policy", "a=best-of-0:embedded@x"], "N is '0'"),
        (["--policy", "a=vllm:early@http://h/v1"], "`copydesk simulate` does not take vllm:FOLDER@URL"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as error:
        CliRunner().invoke(app, ["simulate", *words, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())
