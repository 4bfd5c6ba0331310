"""Files at URLs are read and uploaded through fsspec, and errors are one line without passwords."""

import builtins
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.web import serve_files

from copydesk.errors import InputError
from copydesk.utils import remote
from copydesk.utils.atomic import atomic_write, open_to_read, staged_file
from copydesk.utils.remote import get_read_share, hide_url_credentials, is_url, url_exists

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    yield file_system
    file_system.store.clear()


def message(*, url: str, seekable: bool = False) -> str:
    with pytest.raises(InputError) as raised, open_to_read(url, seekable=seekable) as file:
        file.read()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("log.jsonl", "log.jsonl"),
        ("s3://bucket/log.jsonl", "s3://bucket/log.jsonl"),
        ("https://ann:secret@host:8/log.csv?key=secret#secret", "https://ann:***@host:8/log.csv?***"),
        ("https://secret@host/log.csv", "https://***@host/log.csv"),
        ("hf://datasets/owner/name@main/log.csv", "hf://datasets/owner/name@main/log.csv"),
    ],
)
def test_urls_are_shown_without_what_is_secret(name: str, shown: str) -> None:
    assert hide_url_credentials(name) == shown
    assert is_url(name) == (name != "log.jsonl")


def test_a_path_object_is_never_a_url() -> None:
    assert not is_url(Path("s3://bucket/log"))
    assert not is_url("C:\\log.jsonl")


def test_what_is_written_to_a_url_is_read_from_it(memory: Any) -> None:
    with atomic_write("memory://logs/log.txt") as file:
        file.write("né\n")
        assert not url_exists("memory://logs/log.txt")
    assert url_exists("memory://logs/log.txt")
    with open_to_read("memory://logs/log.txt") as stored:
        assert get_read_share(stored) == 0
        assert stored.read() == "né\n".encode()
        assert get_read_share(stored) == 1
        assert stored.seek(3) == stored.tell() == 3
    assert list(memory.store) == ["/logs/log.txt"]


def test_a_block_that_raises_uploads_nothing(memory: Any) -> None:
    with pytest.raises(RuntimeError), atomic_write("memory://logs/log.txt") as file:
        file.write("half")
        raise RuntimeError
    assert not memory.store


@pytest.mark.parametrize("step", ["put_file", "mv"])
def test_an_upload_that_fails_leaves_the_old_file_and_no_other(
    memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    memory.pipe_file("/logs/log.txt", b"old")

    def fail(source: str, target: str) -> None:
        memory.pipe_file(target if step == "put_file" else source, b"ha")
        raise OSError("quota of memory://ann:secret@logs exceeded")

    monkeypatch.setattr(type(memory), step, lambda _, source, target: fail(source, target))
    failed = (
        r"^memory://logs/log.txt: the upload failed \(quota .*exceeded\) and nothing was changed there; .*run again$"
    )
    with pytest.raises(InputError, match=failed) as raised, atomic_write("memory://logs/log.txt") as file:
        file.write("new")
    assert "secret" not in str(raised.value)
    assert memory.cat_file("/logs/log.txt") == b"old"
    assert list(memory.store) == ["/logs/log.txt"]
    assert not list(tmp_path.iterdir())


def test_an_object_store_gets_the_file_under_its_own_name(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There an object appears once it is whole, and a rename would be a second copy."""
    monkeypatch.setattr(remote, "_ATOMIC_UPLOADS", {"memory"})
    monkeypatch.setattr(type(memory), "mv", None)
    with staged_file("memory://logs/log.txt") as temporary:
        temporary.write_bytes(b"new")
    assert memory.cat_file("/logs/log.txt") == b"new"


def test_a_web_server_is_read_without_range_requests() -> None:
    data = bytes(range(256)) * 40_000
    with serve_files({"logs/log.bin": data}) as server:
        with open_to_read(f"{server}/logs/log.bin?key=1") as file:
            assert file.read(1000) == data[:1000]
            assert file.read() == data[1000:]
        with open_to_read(f"{server}/logs/log.bin", seekable=True) as file:
            file.seek(-10, 2)
            assert file.read() == data[-10:]
        assert message(url=f"{server}/missing.bin?key=secret") == (
            f"{server}/missing.bin?***: there is no such file; check the URL"
        )


def test_a_connection_that_breaks_off_is_one_line() -> None:
    data = bytes(3_000_000)
    with serve_files({"log.bin": data}, cut=2_000_000) as server:
        for seekable in (False, True):
            told = message(url=f"{server}/log.bin", seekable=seekable)
            assert told.startswith(f"{server}/log.bin: reading broke off after ")
            assert told.endswith("; run again")


def test_a_password_is_sent_and_never_shown() -> None:
    with serve_files({"log.bin": b"data"}, password="secret") as server:
        given = server.replace("http://", "http://ann:secret@")
        with open_to_read(f"{given}/log.bin") as file:
            assert file.read() == b"data"
        wrong = message(url=server.replace("http://", "http://ann:not-it@") + "/log.bin?sig=not-it")
        assert "not-it" not in wrong
        assert wrong.endswith("cannot be opened (401 Unauthorized); check the URL, your permissions and the connection")
        missing = message(url=f"{given}/missing.bin")
        assert "secret" not in missing
    gone = message(url=f"{given}/log.bin")
    assert "cannot be opened" in gone
    assert "secret" not in gone


@pytest.mark.parametrize(
    ("url", "package"), [("s3://bucket/log", "s3fs"), ("gs://bucket/log", "gcsfs"), ("https://host/log", "aiohttp")]
)
def test_a_protocol_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch, url: str, package: str) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    protocol = url.partition(":")[0]
    assert message(url=url) == f"{url}: {protocol}:// needs a package that is missing; pip install {package}"


def test_protocols_that_are_not_there_or_only_read_are_named() -> None:
    assert message(url="gopher://host/log").startswith("gopher://host/log: no files are known under gopher://; use a")
    with pytest.raises(InputError, match=r"^https://ann:\*\*\*@host/log: https:// can only be read; write to a path"):
        atomic_write("https://ann:secret@host/log").__enter__()


def test_files_and_folders_that_are_not_there(memory: Any) -> None:
    memory.pipe_file("/logs/log.txt", b"")
    assert message(url="memory://missing") == "memory://missing: there is no such file; check the URL"
    assert message(url="memory://logs").startswith("memory://logs: ")
