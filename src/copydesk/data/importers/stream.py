"""The output of a command, read while the command runs."""

from typing import IO


class CommandOutput:
    """The output of a command, taken piece by piece."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._buffer = b""
        self._position = 0

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to the next mark, which is taken but not given."""
        searched = self._position
        while (end := self._buffer.find(mark, searched)) < 0:
            searched = len(self._buffer) - self._position
            if not self._fill_buffer():
                raise EOFError
        taken, self._position = self._buffer[self._position : end], end + len(mark)
        return taken

    def starts_with(self, text: bytes) -> bool:
        """Whether the next bytes are these."""
        while len(self._buffer) - self._position < len(text) and self._fill_buffer():
            pass
        return self._buffer.startswith(text, self._position)

    def is_at_end(self) -> bool:
        """Whether there is nothing left."""
        return self._position == len(self._buffer) and not self._fill_buffer()

    def read_rest(self) -> bytes:
        """Everything that is left."""
        while self._fill_buffer():
            pass
        return self._buffer[self._position :]

    def _fill_buffer(self) -> bool:
        read = self._pipe.read(1 << 20)
        self._buffer, self._position = self._buffer[self._position :] + read, 0
        return bool(read)
