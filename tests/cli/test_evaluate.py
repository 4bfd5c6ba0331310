import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.commands import error_of
from typer.testing import CliRunner, Result

from copydesk.cli.evaluate import evaluate_command
from copydesk.store import EditStore
from copydesk.store import write as append
from copydesk.store.write import StoredCompletion


def write(path: Path, rounds: int = 320, metrics: tuple[str, ...] = ("metric",)) -> str:
    """A store in which `a` and `b` are chosen with 0.25 and 0.75 and cost about 0.2 and 0.6; the last is pending."""
    store = EditStore.open(str(path))
    with store.begin_write() as tx:
        for arm in ("a", "b"):
            append.append_arm_change(tx, arm, "add", f"no-{arm}@http://127.0.0.1:9/v1", at=0.0)
        for number in range(1, rounds + 1):
            arm, propensity = ("a", 0.25) if number % 4 == 0 else ("b", 0.75)
            name = f"c{number}"
            append.append_pull(
                tx, name, at=number, round=number, arm=arm, propensity=propensity, scope=None, turn=0, without=[]
            )
            completion = StoredCompletion(
                name, float(number), "default", "bob" if number // 4 % 2 else "ann", "copydesk", arm, propensity,
                number, [{"role": "user", "content": "Write [bold]"}], {}, "Dear Ann", "stop", None,
            )  # fmt: skip
            append.append_completion(tx, completion)
            if number < rounds:
                cost = (0.2 if arm == "a" else 0.6) + 0.1 * (number % 3 - 1)
                metric = metrics[number % len(metrics)]
                append.append_edit(tx, f"e{number}", name, "Hi", cost, metric, at=float(number))
    store.close()
    return str(path)


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(evaluate_command)
    return CliRunner().invoke(app, list(arguments))


def error(*arguments: str) -> str:
    return error_of(run(*arguments))


@pytest.fixture
def store(tmp_path: Path) -> str:
    return write(tmp_path / "copydesk.db")


def test_json_holds_every_figure(store: str) -> None:
    result = run("--policy", "a", "--store", store, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["policy"] == "a" and found["weights"] == "choice" and found["rows"] == 319 and found["pending"] == 1
    assert set(found["estimates"]) == set(found["differences"]) == {"ips", "snips", "dr"}
    for estimate in found["estimates"].values():
        assert estimate["low"] < estimate["value"] < estimate["high"]
    assert found["estimates"]["snips"]["value"] == pytest.approx(0.2, abs=0.01)
    assert found["overlap"]["effective"] == pytest.approx(79)
    assert [arm["policy"] for arm in found["arms"]] == ["a", "b"]
    assert found["store"].endswith("copydesk.db")


def test_the_table_shows_the_figures_of_the_json(store: str) -> None:
    found = json.loads(run("--policy", "a", "--store", store, "--json").stdout)
    shown = run("--policy", "a", "--store", store).stdout
    for name, label in (("ips", "IPS"), ("snips", "SNIPS"), ("dr", "doubly robust")):
        (line,) = (line for line in shown.splitlines() if line.strip().startswith(label))
        estimate, less = found["estimates"][name], found["differences"][name]
        assert f"{estimate['value']:.4f}" in line and f"{less['value']:+.4f}" in line
    assert "effective sample size 79.0 of 319 rows" in " ".join(shown.split())
    assert "1 answers have no edit yet" in " ".join(shown.split())


def test_rows_are_chosen(store: str) -> None:
    assert json.loads(run("--policy", "a", "--store", store, "--user", "bob", "--json").stdout)["rows"] == 160
    assert "30 effective rows are needed" in error(
        "--policy", "a", "--store", store, "--since", "1970-01-01T00:04:00", "--json"
    )


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_errors_are_one_line_and_no_figures(store: str, tmp_path: Path, as_json: list[str]) -> None:
    empty = write(tmp_path / "empty.db", 1)
    mixed = write(tmp_path / "mixed.db", 40, ("words", "seconds"))
    few = write(tmp_path / "few.db", 60)
    for policy, where, why in [
        ("a", str(tmp_path / "none.db"), "there is no such file"),
        ("a", empty, "holds no edits of such answers yet (1 are pending)"),
        ("a", mixed, "with 2 metrics"),
        ("a", few, "effective sample size 14.0 of 59 rows): 30 effective rows are needed"),
        ("a=0.5,z=0.5", store, "no policy 'z' answered in this log; those that did are a, b"),
        (str(tmp_path / "nowhere"), store, "there is no such folder"),
        ("embedded", store, "which answered in this log, cannot be opened"),
    ]:
        assert why in error("--policy", policy, "--store", where, *as_json)
    assert "--since soon" in error("--policy", "a", "--store", store, "--since", "soon", *as_json)
    assert "--batch-size: 0 must be at least 1" in error(
        "--policy", "a", "--store", store, "--batch-size", "0", *as_json
    )


def test_an_arm_is_evaluated_without_torch(store: str) -> None:
    code = (
        "import sys, typer\nfrom copydesk.cli.evaluate import evaluate_command\n"
        "app = typer.Typer()\napp.command()(evaluate_command)\n"
        f"app(['--policy', 'a', '--store', {store!r}, '--json'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 319
