"""The scripts that make the tables we claim."""

import subprocess
from pathlib import Path

import pytest

RUNS = Path(__file__).parents[1] / "runs"


@pytest.mark.parametrize("script", sorted(RUNS.glob("*.sh")), ids=lambda path: path.stem)
def test_a_script_can_be_run_and_is_told_of(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & 0o100
    assert f"`{script.name}`" in (RUNS / "README.md").read_text(encoding="utf-8")
