"""Files at a URL (`s3://`, `gs://`, `hf://`, `https://`, `memory://`, ...), read and uploaded through fsspec.

Everything that goes wrong is an `InputError` of one line that shows the URL without its password and its query, which
may be a signature.
"""

import contextlib
import io
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit, urlunsplit

from copydesk.errors import InputError

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_ANY_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>)]+")
_BUFFER_SIZE = 1 << 20
_READ_TIMEOUT = 60.0  # seconds without a byte; a whole file may take as long as it needs

_HTTP = {"http", "https"}
_ATOMIC_UPLOADS = {"s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "abfss", "adl", "oss", "oci"}
"""Stores where an object appears under its name only once all of it is there."""

_PACKAGES = {"http": "aiohttp", "https": "aiohttp"}


def is_url(name: Path | str) -> bool:
    """Whether a name is a URL rather than a path."""
    return isinstance(name, str) and _URL.match(name) is not None


def hide_url_credentials(name: Path | str) -> str:
    """A URL as it may be printed: without password, token and query. A path stays as it is."""
    if not is_url(name):
        return str(name)
    parts = urlsplit(str(name))
    userinfo, at, host = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}:***@{host}" if colon else f"***@{host}" if at else host
    return urlunsplit((parts.scheme, shown, parts.path, "***" if parts.query else "", ""))


def get_url_file_name(url: str) -> str:
    """The last part of a URL's path: `log.jsonl.gz` of `https://host/logs/log.jsonl.gz?key=1`."""
    parts = urlsplit(url)
    return (parts.path.rstrip("/") or parts.netloc).rpartition("/")[2]


class _RemoteFile(io.RawIOBase):
    """A file at a URL, opened for reading; an error of the network is an `InputError` that names the URL."""

    def __init__(self, file: Any, name: str, size: int | None) -> None:
        self._file = file
        self._name = name
        self.size = size
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.size is not None

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = int(self._file.seek(offset, whence))
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except Exception as exc:  # each file system has its own errors
            raise InputError(
                f"{self._name}: reading broke off after {self.position} bytes ({_describe(exc)}); run again"
            ) from None
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(Exception):
                self._file.close()
        super().close()


def open_url(url: str, *, seekable: bool = False) -> BinaryIO:
    """Open a URL for reading bytes as they are; nothing is decompressed.

    Args:
        url: of a protocol that fsspec knows.
        seekable: whether `seek` is needed. Then a file of a web server is downloaded to a temporary file first.

    Raises:
        InputError: there is no such file, no such protocol, or its package is not installed. Reading raises one, too.
    """
    file_system, path = _open_file_system(url)
    shown = hide_url_credentials(url)
    http = _get_protocol(url) in _HTTP
    try:
        # Without a block size a web server is asked once, and need not be able to send parts of a file.
        file = file_system.open(path, "rb", **({"block_size": 0} if http else {}))
    except Exception as exc:
        raise _explain_open_error(exc, shown) from None
    size = getattr(file, "size", None)
    reader = io.BufferedReader(_RemoteFile(file, shown, size), _BUFFER_SIZE)
    if not (seekable and http):
        return cast(BinaryIO, reader)
    with reader:
        copy = tempfile.TemporaryFile()  # noqa: SIM115
        shutil.copyfileobj(reader, copy, _BUFFER_SIZE)
    copy.seek(0)
    return cast(BinaryIO, copy)


def get_read_share(file: BinaryIO) -> float | None:
    """The share of an open file that was read so far, from 0 to 1; `None` where the size is not known."""
    raw = getattr(file, "raw", None)
    if isinstance(raw, _RemoteFile):
        return min(1.0, raw.position / raw.size) if raw.size else None
    return min(1.0, file.tell() / max(1, os.fstat(file.fileno()).st_size))


def url_exists(url: str) -> bool:
    """Whether there is a file at a URL.

    Raises:
        InputError: that cannot be found out.
    """
    file_system, path = _open_file_system(url)
    try:
        return bool(file_system.exists(path))
    except Exception as exc:
        raise _explain_open_error(exc, hide_url_credentials(url)) from None


def check_url_writable(url: str) -> None:
    """Refuse a URL that no file can be uploaded to.

    Raises:
        InputError: the protocol only reads, is not known, or its package is not installed.
    """
    if (protocol := _get_protocol(url)) in _HTTP:
        raise InputError(
            f"{hide_url_credentials(url)}: {protocol}:// can only be read; write to a path, s3://, gs:// or hf://"
        )
    _open_file_system(url)


def upload_file(file: Path, url: str) -> None:
    """Upload a file so that the URL holds either all of it or what it held before.

    Object stores show an object once it is whole. Elsewhere the file is uploaded under a temporary name and renamed;
    where that fails the temporary file is removed.

    Raises:
        InputError: the upload failed.
    """
    check_url_writable(url)
    file_system, path = _open_file_system(url)
    folder = path.rpartition("/")[0]
    atomic = _get_protocol(url) in _ATOMIC_UPLOADS
    temporary = path if atomic else f"{folder}/.copydesk-{secrets.token_hex(8)}.tmp"
    try:
        file_system.put_file(str(file), temporary)
        if not atomic:
            file_system.mv(temporary, path)
    except BaseException as exc:
        if not atomic:
            with contextlib.suppress(Exception):
                file_system.rm_file(temporary)
        if not isinstance(exc, Exception):
            raise
        raise InputError(
            f"{hide_url_credentials(url)}: the upload failed ({_describe(exc)}) and nothing was changed there; check "
            "your permission to write there, and run again"
        ) from None


def _get_protocol(url: str) -> str:
    found = _URL.match(url)
    return found[1].lower() if found else ""


def _open_file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec  # only where there is a URL
    from fsspec.registry import known_implementations

    protocol, shown = _get_protocol(url), hide_url_credentials(url)
    if protocol not in fsspec.available_protocols():
        raise InputError(
            f"{shown}: no files are known under {protocol}://; use a path, s3://, gs://, hf:// or https://"
        )
    options: dict[str, Any] = {}
    try:
        if protocol in _HTTP:
            import aiohttp

            # aiohttp's own limit is five minutes for the whole file.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_READ_TIMEOUT, sock_read=_READ_TIMEOUT)
            options = {"client_kwargs": {"timeout": timeout}}
        file_system, path = fsspec.core.url_to_fs(url, **options)
        return file_system, str(path)
    except ImportError:
        known = known_implementations.get(protocol, {"class": protocol})
        package = _PACKAGES.get(protocol, known["class"].partition(".")[0])
        raise InputError(f"{shown}: {protocol}:// needs a package that is missing; pip install {package}") from None
    except Exception as exc:
        raise _explain_open_error(exc, shown) from None


def _explain_open_error(exc: Exception, shown: str) -> InputError:
    cause = exc.__cause__ if isinstance(exc, FileNotFoundError) else None
    if isinstance(exc, IsADirectoryError):
        return InputError(f"{shown}: this is a folder, not a file; name a file in it")
    # fsspec gives every error of a web server as a missing file, and the real one as its cause.
    missing = cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404
    if isinstance(exc, FileNotFoundError) and missing:
        return InputError(f"{shown}: there is no such file; check the URL")
    reason = _describe(exc if cause is None else cause)
    return InputError(f"{shown}: cannot be opened ({reason}); check the URL, your permissions and the connection")


def _describe(exc: BaseException) -> str:
    """The first line of an error, without the passwords of URLs in it."""
    status, message = getattr(exc, "status", None), getattr(exc, "message", None)
    if isinstance(status, int) and isinstance(message, str):
        return f"{status} {message}"
    text = getattr(exc, "strerror", None) or str(exc)
    line = next(iter(text.strip().splitlines()), "") or type(exc).__name__
    return _ANY_URL.sub(lambda url: hide_url_credentials(url[0]), line)
