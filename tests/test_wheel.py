"""The wheel works by itself: in an empty environment that has only the core dependencies, and no torch."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run_pip("wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    [path] = folder.glob("*.whl")
    return path


def run_pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment with the wheel and, as links, the core dependencies of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    for found in find_core_distributions().values():
        for name in {path.parts[0] for path in found.files or [] if path.parts[0] not in ("..", "__pycache__")}:
            if not (packages / name).exists():
                (packages / name).symlink_to(found.locate_file(name))  # type: ignore[arg-type]
    run_pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    return folder / "bin"


def find_core_distributions() -> dict[str, Distribution]:
    """What `pip install copydesk` brings along, by name: everything its dependencies need, without extras."""
    found: dict[str, Distribution] = {}
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name not in found:
            found[name] = distribution(name)
            needed = map(Requirement, found[name].requires or [])
            names += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def run_command(environment: Path, folder: Path, *words: str, program: str = "copydesk") -> str:
    done = subprocess.run(
        [str(environment / program), *words],
        cwd=folder,
        env={"PATH": f"{environment}{os.pathsep}{os.defpath}", "HOME": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = ROOT / "src" / "copydesk"
    files = {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == files
    for part in ("templates/base.html", "static/page.css", "versions/m0001_log.py", "model.safetensors", "py.typed"):
        assert any(name.endswith(part) for name in packed)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    assert f"\nVersion: {PROJECT['version']}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
    for name, address in PROJECT["urls"].items():
        assert f"\nProject-URL: {name}, {address}\n" in text


def test_the_environment_has_the_core_dependencies_and_nothing_else(environment: Path, tmp_path: Path) -> None:
    program = (
        "import copydesk, importlib.util as u; print(copydesk.__file__);"
        "print([n for n in ('torch', 'transformers', 'fastapi', 'matplotlib', 'pytest') if u.find_spec(n)])"
    )
    where, others = run_command(environment, tmp_path, "-c", program, program="python").splitlines()
    assert Path(where).is_relative_to(environment.parent)
    assert not where.startswith(sysconfig.get_path("purelib"))
    assert others == "[]"


def test_the_version_is_printed(environment: Path, tmp_path: Path) -> None:
    assert run_command(environment, tmp_path, "--version") == f"copydesk {PROJECT['version']}\n"


def test_edits_are_imported_costed_and_exported(environment: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "1", "context": "Say hello.", "response": "Hello!", "edit": "Hello, Ann!"},
        {"id": "2", "context": "Say goodbye.", "response": "Goodbye!", "edit": "Goodbye!"},
    ]
    (tmp_path / "edits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    cost = json.loads(run_command(environment, tmp_path, "cost", "edits.jsonl", "--json"))
    imported = json.loads(
        run_command(environment, tmp_path, "import", "edits.jsonl", "--store", "copydesk.db", "--json")
    )
    run_command(environment, tmp_path, "export", "--store", "copydesk.db", "--out", "out.jsonl")
    run_command(environment, tmp_path, "export", "--store", "copydesk.db", "--out", "out.parquet")

    assert cost["rows"] == 2 and cost["mean"] > 0
    assert imported["added"] == 2
    exported = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    fields = ("context", "response", "edit")
    assert [[row[field] for field in fields] for row in exported] == [[row[field] for field in fields] for row in rows]
    assert (tmp_path / "out.parquet").read_bytes()[:4] == b"PAR1"


def test_a_command_that_needs_an_extra_says_which_to_install(environment: Path, tmp_path: Path) -> None:
    command = [str(environment / "copydesk"), "train", "--data", "edits.jsonl", "--model", "embedded", "--out", "x"]
    (tmp_path / "edits.jsonl").write_text('{"context": "c", "response": "r", "edit": "e"}\n' * 20, encoding="utf-8")
    done = subprocess.run(
        command, cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "copydesk[train]" in line
