"""The output of a command, read while the command runs."""

from typing import IO


class Stream:
    """The output of a command, taken piece by piece."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._held = b""
        self._at = 0

    def until(self, mark: bytes) -> bytes:
        """Everything up to the next mark, which is taken but not given."""
        searched = self._at
        while (end := self._held.find(mark, searched)) < 0:
            searched = len(self._held) - self._at
            if not self._more():
                raise EOFError
        taken, self._at = self._held[self._at : end], end + len(mark)
        return taken

    def starts(self, text: bytes) -> bool:
        """Whether the next bytes are these."""
        while len(self._held) - self._at < len(text) and self._more():
            pass
        return self._held.startswith(text, self._at)

    def ended(self) -> bool:
        """Whether there is nothing left."""
        return self._at == len(self._held) and not self._more()

    def rest(self) -> bytes:
        """Everything that is left."""
        while self._more():
            pass
        return self._held[self._at :]

    def _more(self) -> bool:
        read = self._pipe.read(1 << 20)
        self._held, self._at = self._held[self._at :] + read, 0
        return bool(read)
