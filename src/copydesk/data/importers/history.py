"""The machine's lines, followed from commit to commit."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from copydesk.data.importers.commits import Commit
from copydesk.data.importers.git_log import FileChange
from copydesk.data.importers.groups import group_changes
from copydesk.data.importers.marks import parse_trailer_policy
from copydesk.data.importers.texts import MachineText, TextOutcome


class MachineTextHistory:
    """The machine's texts as they stand after the commits so far, by file."""

    def __init__(self) -> None:
        self._texts: dict[str, list[MachineText]] = {}
        self._commits = 0

    def apply_commit(
        self, commit: Commit, changes: Iterable[FileChange], mark: re.Match[str] | None
    ) -> Iterator[TextOutcome]:
        """Take in the next commit, the machine's if there is a mark; yield the texts that a person changed in it."""
        self._commits += 1
        # The names of two files may be exchanged, so that new ones count only after all old ones.
        moved: dict[str, list[MachineText]] = {}
        for change in changes:
            texts = self._texts.pop(change.old_path, [])
            if change.binary:
                continue
            kept: list[MachineText] = []
            shift = 0
            for group in group_changes(texts, change.hunks):
                at = group.start + shift
                shift += sum(len(hunk.added) - len(hunk.removed) for hunk in group.hunks)
                if not group.hunks:
                    kept.append(replace(group.texts[0], start=at))
                    continue
                before, after = group.splice()
                if mark is not None:
                    if after:
                        policy = parse_trailer_policy(mark)
                        kept.append(
                            MachineText(after, at, commit, self._commits, policy, change.new_path, first_line=at)
                        )
                elif group.texts:
                    latest = max(group.texts, key=lambda text: text.commit_number)
                    text = replace(latest, lines=before, start=group.start)
                    yield TextOutcome(text, change.old_path, after, change.new_path, at, commit)
            if kept:
                moved[change.new_path] = kept
        self._texts |= moved

    def iter_accepted(self) -> Iterator[TextOutcome]:
        """The texts that nobody changed."""
        for path, texts in sorted(self._texts.items()):
            for text in texts:
                yield TextOutcome(text, path)
