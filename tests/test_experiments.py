"""The scripts that make the tables we claim: each exists as its README says, and names only files that exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
FOLDERS = sorted(path for path in EXPERIMENTS.iterdir() if path.is_dir() and path.name != "__pycache__")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_has_a_script_that_can_be_run_and_a_line_in_the_readme(folder: Path) -> None:
    script = folder / "run.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & 0o100
    assert f"| `{folder.name}/` |" in (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "file",
    [*EXPERIMENTS.glob("*/*.sh"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_scripts_that_are_named_exist(file: Path) -> None:
    named = re.findall(r"\b(?:benchmarks|experiments)/[\w/]+\.(?:py|sh|toml)\b", file.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []
