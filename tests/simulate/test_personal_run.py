import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.policies import LocalPolicy
from copydesk.report import summarize_rounds
from copydesk.simulate.presets import make_personal_config
from copydesk.simulate.protocol import draw_online_documents, generate_responses
from copydesk.simulate.tasks import EMAIL
from copydesk.training.policy_file import read_policy_file

pytestmark = pytest.mark.slow

PEOPLE = ["ann", "ben", "cleo", "dan", "eve", "finn"]
SMALL = ["demo", "--personal", "--edits", "24", "--rounds", "4", "--seed", "3", "--jobs", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = CliRunner().invoke(app, [*SMALL, "--out", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return folder, result.stdout


def rounds_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]


def results_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def test_it_prints_what_everybody_pays_and_where_the_report_is(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    for words in (*PEOPLE, "everybody", "Shared policy", "Own adapter", "Late ensemble", "simulated people"):
        assert words in printed
    assert str(folder / "report.html") in printed.replace("\n", "")
    assert "Each person" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_results_are_computed_from_the_rounds(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results = results_in(folder)
    assert summarize_rounds(rounds_in(folder), results["settings"], results["seconds"]) == results
    assert results["columns"] == [f"email/{name}" for name in PEOPLE]
    assert results["methods"] == ["base", "shared", "own", "late"]
    assert [person["edits"] for person in results["settings"]["people"].values()] == [8, 3, 1, 8, 3, 1]
    assert {"log", "train.shared", "train.own-finn", "play.base", "play.own-ann", "total"} <= set(results["seconds"])


def test_each_policy_learned_from_the_edits_it_should(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    log = load_log(folder / "log.jsonl")
    given = {name: sum(record.user == name for record in log) for name in PEOPLE}
    assert len({record.id for record in log}) == len({record.context for record in log}) == 24
    rows = {name: read_policy_file(folder / "policies" / f"own-{name}").data.rows for name in PEOPLE}
    assert rows == given
    assert read_policy_file(folder / "policies" / "shared").data.rows == 24
    for name in ("shared", "own-finn"):
        record = read_policy_file(folder / "policies" / name)
        assert (record.settings["full"], record.settings["seed"]) == (False, 3)
        load_model(str(folder / "policies" / name))


def test_all_meet_the_same_documents_and_shared_policies_write_the_same_for_all(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    rounds = rounds_in(folder)
    assert len(rounds) == len(PEOPLE) * 4 * 4
    for method, differ in (("base", False), ("shared", False), ("own", True)):
        texts = {
            who: [(one["context"], one["response"]) for one in rounds if (one["user"], one["method"]) == (who, method)]
            for who in PEOPLE
        }
        assert all([c for c, _ in own] == [c for c, _ in texts["ann"]] for own in texts.values())
        assert any(own != texts["ann"] for own in texts.values()) == differ
    assert not {record.context for record in load_log(folder / "log.jsonl")} & {one["context"] for one in rounds}


def test_people_want_different_things_of_the_same_text(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    edits = {
        who: [one["edit"] for one in rounds_in(folder) if (one["user"], one["method"]) == (who, "base")]
        for who in PEOPLE
    }
    assert edits["ann"] == edits["ben"] == edits["cleo"]
    assert len({str(edits[who]) for who in ("ann", "dan", "eve", "finn")}) == 4


def test_the_ensemble_plays_the_shared_policy_or_the_persons_own(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    rounds = rounds_in(folder)
    alone = {(one["user"], one["policy"], one["t"]): one for one in rounds if one["method"] != "late"}
    for one in rounds:
        if one["method"] == "late":
            assert one["policy"] in ("shared", f"own-{one['user']}")
            assert one["cost"] == alone[one["user"], one["policy"], one["t"]]["cost"]


def test_an_adapter_that_was_saved_writes_what_it_wrote_in_the_run(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    settings = make_personal_config(edits=24, rounds=4, seed=3)
    contexts = draw_online_documents(EMAIL, settings.rounds, 3, load_log(folder / "log.jsonl"))
    model, tokenizer, _ = load_model(str(folder / "policies" / "own-ann"))
    texts = generate_responses(LocalPolicy("own-ann", model, tokenizer), contexts, 3, settings.sampling())
    assert texts == [one["response"] for one in rounds_in(folder) if (one["user"], one["method"]) == ("ann", "own")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--task", "poetry"], r"email, summarization"),
        (["--task", "prelude-email"], r"--task: prelude-email: people with different tastes"),
        (["--user", "nobody"], r"strong, weak"),
        (["--edits", "23"], r"--edits: 23 must be at least 24"),
        (["--rounds", "0"], r"--rounds"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(wrong: list[str], words: str, tmp_path: Path) -> None:
    command = ["demo", "--personal", *wrong, "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match=words) as error:
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())
