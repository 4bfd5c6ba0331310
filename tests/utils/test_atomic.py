import os
import stat
from pathlib import Path

import pytest

from copydesk.errors import InputError
from copydesk.utils.atomic import atomic_write, open_to_read


def test_the_text_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with atomic_write(target) as file:
        file.write("é\n\u2028\r\n")
        file.flush()
        assert target.read_text() == "before"
    assert target.read_bytes() == "é\n\u2028\r\n".encode()
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_half_of_a_surrogate_pair_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="surrogate"), atomic_write(tmp_path / "a.txt") as file:
        file.write("a\ud83d")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as file:
        file.write("after")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt"):
        pass
    (tmp_path / "b.txt").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")]
    assert modes[0] == modes[1]


def test_folders_that_cannot_take_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"), atomic_write(tmp_path / "missing" / "a.txt"):
        pass
    with pytest.raises(InputError, match="is a folder"), atomic_write(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="permission denied"), atomic_write(tmp_path / "a.txt"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: writing failed"), atomic_write(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "says"), [("missing", "no such file"), (".", "is a folder"), ("a\0b", "null byte")])
def test_files_that_cannot_be_read(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        open_to_read(f"{tmp_path}/{name}")
    assert "\n" not in str(raised.value)
