from pathlib import Path

import pytest

from copydesk.errors import InputError
from copydesk.training.policy_file import POLICY_FILE
from copydesk.utils.atomic import atomic_folder


def write(target: Path, text: str = "new", *, overwrite: bool = False) -> None:
    with atomic_folder(target, overwrite=overwrite, marker=POLICY_FILE) as folder:
        (folder / "policy.json").write_text(text)
        assert not (target / "policy.json").is_file() or overwrite


def test_the_folder_appears_whole_and_nothing_else_does(tmp_path: Path) -> None:
    write(tmp_path / "policies" / "one")
    assert (tmp_path / "policies" / "one" / "policy.json").read_text() == "new"
    assert [entry.name for entry in (tmp_path / "policies").iterdir()] == ["one"]
    assert (tmp_path / "policies" / "one").stat().st_mode == (tmp_path / "policies").stat().st_mode


def test_an_empty_folder_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write(tmp_path / "one")
    assert (tmp_path / "one" / "policy.json").is_file()


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "a" / "b" / "one", marker=POLICY_FILE) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_policy_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "one", "old")
    with pytest.raises(InputError, match="not written over"):
        write(tmp_path / "one")
    assert (tmp_path / "one" / "policy.json").read_text() == "old"
    write(tmp_path / "one", "new", overwrite=True)
    assert (tmp_path / "one" / "policy.json").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_an_error_while_replacing_keeps_the_old_policy(tmp_path: Path) -> None:
    write(tmp_path / "one", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "one", overwrite=True, marker=POLICY_FILE):
        raise RuntimeError
    assert (tmp_path / "one" / "policy.json").read_text() == "old"


def test_somebody_elses_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="other things"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_with_the_name_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("x")
    with pytest.raises(InputError, match="this is a file"):
        write(tmp_path / "one")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "one" / "two")


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(InputError, match="permission denied"),
        atomic_folder(tmp_path / "new" / "one", marker=POLICY_FILE),
    ):
        pytest.fail("the work must not begin")
    assert list(tmp_path.iterdir()) == []
