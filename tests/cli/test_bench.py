import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import copydesk.simulate.run
from copydesk.cli.app import app
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.simulate.config import ExperimentConfig

EXAMPLES = [*sorted((Path(__file__).parents[2] / "experiments").glob("*/*.toml"))]
SMALL = ["--columns", "email/strong", "--methods", "base", "--seeds", "0", "--rounds", "3", "--edits", "2"]
SMALL += ["--held-out-edits", "0"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ExperimentConfig, dict[str, Any]]]:
    """The settings that would have been run."""
    seen: list[tuple[ExperimentConfig, dict[str, Any]]] = []

    def run(settings: ExperimentConfig, path: Path, **options: Any) -> dict[str, Any]:
        seen.append((settings, options))
        return {}

    monkeypatch.setattr(copydesk.simulate.run, "run_experiment", run)
    return seen


def paper(*words: str) -> str:
    return CliRunner().invoke(app, ["bench", "paper", *words], catch_exceptions=False).stdout


@pytest.mark.slow
def test_it_plays_prints_the_table_and_says_where_the_report_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = paper(*SMALL, "--jobs", "1", "--out", str(out))
    assert "Base" in printed and str(out / "report.html") in printed.replace("\n", "")
    again = json.loads(paper(*SMALL, "--jobs", "1", "--out", str(out), "--resume", "--json"))
    assert again == json.loads((out / "results.json").read_text(encoding="utf-8"))
    with pytest.raises(InputError, match=r"there is a run already"):
        paper(*SMALL, "--out", str(out))
    (out / "rounds.jsonl").unlink()
    paper(*SMALL, "--jobs", "1", "--out", str(out), "--force")
    assert (out / "rounds.jsonl").exists()


def test_force_removes_nothing_that_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"holds other things"):
        paper(*SMALL, "--out", str(tmp_path), "--force")
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_the_command_line_goes_before_the_file(tmp_path: Path, asked: list[tuple[ExperimentConfig, Any]]) -> None:
    config = tmp_path / "a.toml"
    config.write_text('rounds = 7\nedits = 9\nseeds = [5]\n[users]\nann = "a@http://h/v1"\n')
    paper("--config", str(config), "--rounds", "3", "--user", "bob=b@http://h/v1", "--seeds", "1, 2", "--json")
    settings, options = asked[0]
    assert (settings.rounds, settings.edits, settings.seeds) == (3, 9, (1, 2))
    assert settings.users == {"ann": "a@http://h/v1", "bob": "b@http://h/v1"}
    assert settings.columns == ExperimentConfig().columns  # neither in the file nor on the command line
    assert options == {"jobs": 1, "resume": False, "overwrite": False}  # LLM users are asked by one process


def test_harder_adds_columns_and_rules(asked: list[tuple[ExperimentConfig, Any]]) -> None:
    paper("--columns", "email/strong,email/weak", "--harder", "--jobs", "2", "--resume", "--json")
    settings, options = asked[0]
    assert settings.columns[:2] == ("email/strong", "email/weak") and "email/strong-then-other" in settings.columns
    assert "email/erring-0.30" in settings.columns
    assert settings.rules == ("late-discounted-ucb", "late-thompson")
    assert options == {"jobs": 2, "resume": True, "overwrite": False}


def test_beyond_adds_every_method_as_a_row_and_not_as_an_arm(asked: list[tuple[ExperimentConfig, Any]]) -> None:
    paper("--beyond", "--shift", "--json")
    settings = asked[0][0]
    assert set(METHODS) <= set(settings.methods) and settings.ensemble_arms == ("sft", "dpo", "early")
    assert "email/strong-to-other" in settings.columns  # the flag's name before it was --harder


def test_a_sweep_takes_its_values(asked: list[tuple[ExperimentConfig, Any]]) -> None:
    paper("--columns", "email/strong", "--sweep", "strength", "--values", "0.1,0.9", "--json")
    assert asked[0][0].columns == ("email/weak-0.1-to-strong", "email/weak-0.9-to-strong")


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda path: path.stem)
def test_the_settings_of_our_own_experiments_are_valid(config: Path, asked: list[tuple[ExperimentConfig, Any]]) -> None:
    paper("--config", str(config), "--json")
    assert asked[0][0].columns


def test_an_error_names_the_file_or_the_flag_it_came_from(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("rounds = 0\nedits = 9\n")
    with pytest.raises(InputError, match=r"a\.toml, field rounds: 0 must be at least 1"):
        paper("--config", str(config))
    with pytest.raises(InputError, match=r"^--edits: 1 must be at least 2"):
        paper("--config", str(config), "--rounds", "3", "--edits", "1")


def test_help_shows_the_defaults_of_the_settings() -> None:
    text = CliRunner().invoke(app, ["bench", "paper", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for words in ("[default: (0,1,2)]", "[default: (base,sft,dpo,early,late)]", "[default: (the paper's two tables)]"):
        assert words in text
    assert "--user-tokens" not in text and "--recipe" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--harder", "--sweep", "n"], r"--harder: a sweep has columns of its own"),
        (["--values", "1,2"], r"--values: .* give --sweep"),
        (["--sweep", "n", "--values", "many"], r"--values many: write numbers"),
        (["--seeds", "one"], r"--seeds one: write numbers"),
        (["--jobs", "0"], r"--jobs: 0 must be at least 1"),
        (["--resume", "--force"], r"give one"),
        (["--user", "strong"], r"--user strong: write NAME=SPEC"),
        (["--columns", "email/nobody"], r"no user 'nobody'"),
        (["--methods", "magic"], r"no method 'magic'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        paper(*words, "--out", str(tmp_path / "out"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
