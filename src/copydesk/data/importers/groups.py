"""Which texts a change touches, and what it makes of them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from copydesk.data.importers.git_log import Hunk
from copydesk.data.importers.texts import MachineText


@dataclass
class ChangeGroup:
    """Texts and hunks that touch one another, in line order; `start` and `end` are those of the old file."""

    start: int
    end: int
    texts: list[MachineText]
    hunks: list[Hunk]

    def splice(self) -> tuple[list[bytes], list[bytes]]:
        """All lines from `start` to `end`, and what the hunks make of them."""
        before = [b""] * (self.end - self.start)
        for text in self.texts:
            before[text.start - self.start : text.start - self.start + len(text.lines)] = text.lines
        for hunk in self.hunks:
            before[hunk.start - self.start : hunk.end - self.start] = hunk.removed
        after: list[bytes] = []
        taken = 0
        for hunk in self.hunks:
            after += before[taken : hunk.start - self.start] + hunk.added
            taken = hunk.end - self.start
        return before, after + before[taken:]


def group_changes(texts: Iterable[MachineText], hunks: Iterable[Hunk]) -> Iterator[ChangeGroup]:
    """Texts and hunks of one file, each with those that it touches.

    A hunk touches a text when it replaces one of its lines or puts lines between two of them; lines put in just before
    or after a text do not touch it.
    """
    waiting, coming = deque(texts), deque(hunks)
    while waiting or coming:
        if coming and (not waiting or coming[0].start < waiting[0].start or coming[0].end <= waiting[0].start):
            hunk = coming.popleft()
            group = ChangeGroup(hunk.start, hunk.end, [], [hunk])
        else:
            text = waiting.popleft()
            group = ChangeGroup(text.start, text.start + len(text.lines), [text], [])
        while True:
            if coming and coming[0].start < group.end and group.start < coming[0].end:
                hunk = coming.popleft()
                group.hunks.append(hunk)
                group.start, group.end = min(group.start, hunk.start), max(group.end, hunk.end)
            elif waiting and waiting[0].start < group.end:
                text = waiting.popleft()
                group.texts.append(text)
                group.end = max(group.end, text.start + len(text.lines))
            else:
                break
        yield group
