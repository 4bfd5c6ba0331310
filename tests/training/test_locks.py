"""Two runs never write one folder, and the lock of a run that was killed is released."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.commands import error_of
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.utils.atomic import lock_folder

HOLD = """
import sys
from pathlib import Path
from copydesk.utils.atomic import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes to `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


LOG = '{"context": "c", "response": "r", "edit": "e"}\n' * 12


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "log.jsonl", "--model", "embedded", "--out", "out"],
        ["train", "--data", "log.jsonl", "--model", "embedded", "--out", "out", "--force"],
        ["train", "--data", "log.jsonl", "--model", "embedded", "--out", "out", "--resume"],
        ["bench", "paper", "--out", "out", "--force"],
        ["bench", "paper", "--out", "out", "--resume"],
        ["demo", "--out", "out", "--force"],
        ["simulate", "--policy", "a=embedded", "--out", "out"],
    ],
    ids=" ".join,
)
def test_a_second_run_into_one_folder_is_refused_at_once(
    words: list[str], holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.jsonl").write_text(LOG)
    before = sorted(Path().iterdir())
    assert "out: another run is writing there" in error_of(CliRunner().invoke(app, words))
    assert sorted(Path().iterdir()) == before


def test_the_lock_of_a_killed_run_is_free_and_leaves_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock_folder(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_no_folders_behind(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
