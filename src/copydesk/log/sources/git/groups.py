"""Which texts a change touches, and what it makes of them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from copydesk.log.sources.git.changes import Hunk
from copydesk.log.sources.git.texts import Text


@dataclass
class Group:
    """Texts and hunks that touch one another, in the order of their lines; `at` and `end` are those of the old file."""

    at: int
    end: int
    texts: list[Text]
    hunks: list[Hunk]

    def spliced(self) -> tuple[list[bytes], list[bytes]]:
        """All lines from `at` to `end`, and what the hunks make of them."""
        before = [b""] * (self.end - self.at)
        for text in self.texts:
            before[text.at - self.at : text.at - self.at + len(text.lines)] = text.lines
        for hunk in self.hunks:
            before[hunk.at - self.at : hunk.end - self.at] = hunk.removed
        after: list[bytes] = []
        taken = 0
        for hunk in self.hunks:
            after += before[taken : hunk.at - self.at] + hunk.added
            taken = hunk.end - self.at
        return before, after + before[taken:]


def groups(texts: Iterable[Text], hunks: Iterable[Hunk]) -> Iterator[Group]:
    """Texts and hunks of one file, each with those that it touches.

    A hunk touches a text when it replaces one of its lines or puts lines between two of them; lines put in just before
    or after a text do not touch it.
    """
    waiting, coming = deque(texts), deque(hunks)
    while waiting or coming:
        if coming and (not waiting or coming[0].at < waiting[0].at or coming[0].end <= waiting[0].at):
            hunk = coming.popleft()
            group = Group(hunk.at, hunk.end, [], [hunk])
        else:
            text = waiting.popleft()
            group = Group(text.at, text.at + len(text.lines), [text], [])
        while True:
            if coming and coming[0].at < group.end and group.at < coming[0].end:
                hunk = coming.popleft()
                group.hunks.append(hunk)
                group.at, group.end = min(group.at, hunk.at), max(group.end, hunk.end)
            elif waiting and waiting[0].at < group.end:
                text = waiting.popleft()
                group.texts.append(text)
                group.end = max(group.end, text.at + len(text.lines))
            else:
                break
        yield group
