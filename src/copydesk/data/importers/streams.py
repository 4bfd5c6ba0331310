"""The bytes of a file or of a pipe: unpacked where they are packed, without a byte-order mark."""

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from copydesk.errors import InputError

_CODEC_BY_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_SIZE = 256
_BUFFER_SIZE = 64 * 1024


def open_decompressed(file: BinaryIO, name: str) -> tuple[bytes, BinaryIO]:
    """Read a stream of text, or a packed one, from where it is.

    What is packed is known by its first bytes; several gzip members or zstd frames in a row are one stream.

    Args:
        file: can be read once; need not be seekable.
        name: what messages call it.

    Returns:
        The first bytes, and a stream of all of them.

    Raises:
        InputError: it is not in UTF-8. Reading from the stream raises one too, where the file is damaged or ends early.
    """
    head, whole = _peek_head(_CallbackStream(_get_read_function(file), name), _HEAD_SIZE)
    for magic, codec in _CODEC_BY_MAGIC.items():
        if head.startswith(magic):
            import pyarrow as pa  # slow to load, and not always needed

            packed = pa.CompressedInputStream(pa.PythonFile(whole, mode="r"), codec)
            head, whole = _peek_head(_CallbackStream(packed.read, name), _HEAD_SIZE)
            break
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(f"{name}: this is UTF-16 or no text at all; save it as UTF-8")
    if head.startswith(_BYTE_ORDER_MARK):
        whole.read(len(_BYTE_ORDER_MARK))
        head = head.removeprefix(_BYTE_ORDER_MARK)
    return head, whole


class _CallbackStream(io.RawIOBase):
    """A stream made of a function that gives the next bytes, at most so many and none at the end."""

    def __init__(self, pull: Callable[[int], bytes], name: str) -> None:
        self._pull = pull
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._pull(len(buffer))
        except OSError as fault:
            reason = str(fault).lower()
            if "truncated" in reason:
                raise InputError(f"{self._name}: the file ends early; copy it again in full") from None
            raise InputError(f"{self._name}: cannot be read ({reason}); copy it again") from None
        buffer[: len(data)] = data
        return len(data)


def _get_read_function(file: BinaryIO) -> Callable[[int], bytes]:
    """What is there already, so that rows that trickle through a pipe are not held back."""
    return file.read1 if isinstance(file, io.BufferedReader) else file.read


def _peek_head(raw: _CallbackStream, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, fewer only where it ends, and the stream with them still to come."""
    buffered = io.BufferedReader(raw, _BUFFER_SIZE)
    head = buffered.read(size)
    left = head

    def pull(most: int) -> bytes:
        nonlocal left
        if not left:
            return buffered.read1(most)
        piece, left = left[:most], left[most:]
        return piece

    return head, cast(BinaryIO, io.BufferedReader(_CallbackStream(pull, ""), _BUFFER_SIZE))
