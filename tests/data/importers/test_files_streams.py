import bz2
import gzip
import io
import lzma

import pyarrow as pa
import pytest

from copydesk.data.importers.files import open_decompressed
from copydesk.errors import InputError

TEXT = "".join(f"{number} né😀\n" for number in range(50_000)).encode()


def bzip2(data: bytes) -> bytes:
    return bz2.compress(data, 1)  # small blocks, so that some are whole in half a file


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def read(data: bytes) -> bytes:
    head, stream = open_decompressed(io.BytesIO(data), "log")
    whole = stream.read()
    assert whole.startswith(head)
    assert head or not whole
    return whole


@pytest.mark.parametrize("data", [b"", b"{", TEXT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd, bzip2, lzma.compress])
def test_the_bytes_come_out(data: bytes, pack: type[bytes]) -> None:
    assert read(pack(data)) == data


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bzip2, lzma.compress])
def test_members_one_after_the_other_are_one_stream(pack: type[bytes]) -> None:
    assert read(pack(TEXT[:99]) + pack(b"") + pack(TEXT[99:])) == TEXT


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_left_out(pack: type[bytes]) -> None:
    assert read(pack(b"\xef\xbb\xbf{}")) == b"{}"


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bzip2, lzma.compress])
@pytest.mark.parametrize("cut", [-1, -9, 0.5])
def test_a_file_that_ends_early_says_so_after_the_lines_before(pack: type[bytes], cut: float) -> None:
    packed = pack(TEXT)
    stream = open_decompressed(io.BytesIO(packed[: int(cut * len(packed)) if cut > 0 else int(cut)]), "log.gz")[1]
    assert stream.readline() == TEXT.splitlines(keepends=True)[0]
    with pytest.raises(InputError, match=r"^log.gz: the file ends early; copy it again in full$"):
        stream.read()


def test_a_damaged_file_is_one_line() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError, match=r"^log: cannot be read \(.*\); copy it again$"):
        read(bytes(packed))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_other_encodings_are_named(encoding: str, pack: type[bytes]) -> None:
    with pytest.raises(InputError, match=r"^log: this is UTF-16 or not text at all; save it as UTF-8$"):
        read(pack('{"a": 1}\n'.encode(encoding)))


def test_what_is_there_already_does_not_wait_for_more() -> None:
    class Trickle(io.RawIOBase):
        pieces = (b"x" * 300 + b"\n", b"second\n")
        asked = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            self.asked += 1
            piece = self.pieces[self.asked - 1] if self.asked <= len(self.pieces) else b""
            buffer[: len(piece)] = piece
            return len(piece)

    trickle = Trickle()
    stream = open_decompressed(io.BufferedReader(trickle), "pipe")[1]
    assert stream.readline() == b"x" * 300 + b"\n"
    assert trickle.asked == 1


@pytest.mark.parametrize("pack", [bzip2, lzma.compress])
def test_bytes_after_the_last_stream_are_not_passed_over(pack: type[bytes]) -> None:
    with pytest.raises(InputError, match=r"^log: cannot be read \(.*\); copy it again$"):
        read(pack(TEXT) + b"something else")


@pytest.mark.parametrize("text", [b"BZh,edit\n", b"BZh9 is a header\n"])
def test_text_that_begins_like_a_compressed_file_is_text(text: bytes) -> None:
    assert read(text) == text
