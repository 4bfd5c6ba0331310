"""One small `copydesk demo` that many tests read."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from copydesk.cli.app import app

EDITS, HELD_OUT, ROUNDS, SEED = 12, 50, 6, 3
ARGUMENTS = ["demo", "--edits", str(EDITS), "--rounds", str(ROUNDS), "--seed", str(SEED), "--jobs", "1"]


@dataclass(frozen=True)
class DemoRun:
    """What a demo wrote, and what it printed."""

    folder: Path
    printed: str


def run_demo_once(root: Path) -> DemoRun:
    """The demo in this folder, which whoever asks first runs while the others wait."""
    printed = root / "printed.txt"
    with FileLock(f"{root}.lock"):
        if not printed.is_file():
            root.mkdir()
            with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as cache:
                patch.setenv("COPYDESK_CACHE", cache)
                result = CliRunner().invoke(app, [*ARGUMENTS, "--out", str(root / "demo")], catch_exceptions=False)
            assert result.exit_code == 0
            printed.write_text(result.stdout, encoding="utf-8")
    return DemoRun(root / "demo", printed.read_text(encoding="utf-8"))
