"""Cut a text where it begins to repeat itself, at once or while it arrives.

A text begins to repeat at the first position p > 0 whose next `length` characters, text[p : p + length], also begin at
an earlier position; the two may overlap. A text that loops is cut after the first loop. The paper (section 5) cuts the
output of every method where it begins to repeat 200 characters.

Positions count code points. What is kept is an exact beginning of the text: whitespace at its end stays, so that a
stream, which may have shown it already, and the whole text are cut alike.
"""

from collections.abc import Callable

from copydesk.errors import InputError

DEFAULT_REPEAT_LENGTH = 200
"""The paper's length of a repeat, in characters."""

_GRAM_SIZES = (4, 12)


def trim_repeats(text: str, length: int = DEFAULT_REPEAT_LENGTH) -> str:
    """Cut a text at the first position whose next `length` characters occurred earlier.

    Takes time and memory linear in the text: about a second for a million characters.

    Args:
        text: any text.
        length: the characters of a repeat; 0 returns every text unchanged.

    Returns:
        The text before that position; the whole text if there is none.

    Raises:
        InputError: `length` is negative.
    """
    check_repeat_length(length)
    return text[: _find_repeat(text, 0, length, {}, lambda: text)] if length else text


class RepeatTrimmer:
    """Cuts a stream as `trim_repeats` cuts the whole text, however the stream is split.

    The end of what has arrived is held back while a repeat may have begun there: at least the longest suffix that
    occurred earlier. The length of that suffix is bounded by substrings of k = 4 and of 12 characters: if the last r of
    them occurred earlier and the one before did not, the suffix has at most k - 1 + r characters. In ordinary text
    about six characters are held back, and never `length` or more.

    Args:
        length: the characters of a repeat; 0 passes everything on.

    Attributes:
        repeating: whether the text is cut; what is fed from then on is dropped.

    Raises:
        InputError: `length` is negative.
    """

    def __init__(self, length: int = DEFAULT_REPEAT_LENGTH) -> None:
        check_repeat_length(length)
        self.length = length
        self.repeating = False
        self._pieces: list[str] = []
        self._held = ""
        self._recent = ""  # the last characters, where windows begin that end in the next piece
        self._recent_start = 0
        self._first_positions: dict[int, int] = {}
        self._grams = [_GramRun(size) for size in _GRAM_SIZES if size < length]

    def feed(self, delta: str) -> str:
        """Add the next piece of the stream.

        Returns:
            What can be shown now: no cut that is still possible lies before its end.
        """
        if self.repeating or not self.length:
            return "" if self.repeating else delta
        self._pieces.append(delta)
        text, start = self._recent + delta, self._recent_start
        waiting = self._held + delta
        cut = _find_repeat(text, start, self.length, self._first_positions, lambda: "".join(self._pieces))
        if cut is not None:
            self.repeating = True
            self._held = ""
            return waiting[: cut - (start + len(text) - len(waiting))]
        for gram in self._grams:
            gram.read(text, len(self._recent))
        read = max(len(text) - self.length + 1, 0)  # windows that were looked up
        self._recent, self._recent_start = text[read:], start + read
        shown = max(len(waiting) - min([self.length - 1, *(gram.bound for gram in self._grams)]), 0)
        self._held = waiting[shown:]
        return waiting[:shown]

    def finish(self) -> str:
        """End the stream.

        Returns:
            What was held back.
        """
        held, self._held = self._held, ""
        return held


class _GramRun:
    """Counts how many of the latest substrings of `size` characters, in a row, occurred earlier."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._run = 0
        self._seen: set[int] = set()

    @property
    def bound(self) -> int:
        """The most characters of a suffix that occurred earlier."""
        return self.size - 1 + self._run

    def read(self, text: str, known: int) -> None:
        """Count the substrings that end after the first `known` characters of `text`."""
        for end in range(max(known + 1, self.size), len(text) + 1):
            gram = hash(text[end - self.size : end])
            self._run = self._run + 1 if gram in self._seen else 0
            self._seen.add(gram)


def check_repeat_length(length: int) -> None:
    """Check the length of a repeat.

    Raises:
        InputError: it is negative.
    """
    if length < 0:
        raise InputError(f"trim_repeats: {length} must be at least 0")


def _find_repeat(
    text: str, start: int, length: int, first_positions: dict[int, int], read_whole: Callable[[], str]
) -> int | None:
    """The first position whose window of `length` characters occurred earlier.

    Args:
        text: a part of the whole text.
        start: its position in the whole text.
        length: the characters of a window.
        first_positions: where each window first began, by its hash; the windows of `text` are added.
        read_whole: returns the whole text so far; called only when a hash is met again.
    """
    for position in range(start, start + len(text) - length + 1):
        window = text[position - start : position - start + length]
        earlier = first_positions.setdefault(hash(window), position)
        if earlier != position and read_whole()[earlier : earlier + length] == window:
            return position
    return None
