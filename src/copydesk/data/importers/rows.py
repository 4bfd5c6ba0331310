"""A text and what became of it, as a row to import."""

import json
from typing import Any, Literal

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.texts import TextOutcome

EditorNaming = Literal["name", "email", "none"]
"""How the person who edited is named: by the author's name or e-mail address (after `.mailmap`), or not at all."""


def build_git_row(place: int, found: TextOutcome, folder: str, user: EditorNaming) -> SourceRow:
    """The row that is read at this place, with the fields of an edit record; faulty where the text is not UTF-8."""
    text, by = found.text, found.edit_commit
    metadata: dict[str, Any] = {
        "repository": folder.removesuffix(".git"),
        "path": found.path,
        "commit": text.commit.name,
        "lines": [text.start, text.start + len(text.lines) - 1],
    }
    if by is not None:
        metadata["edit_commit"] = by.name
        if found.edit_path != found.path:
            metadata["edit_path"] = found.edit_path
        if found.edit:
            metadata["edit_lines"] = [found.edit_start, found.edit_start + len(found.edit) - 1]
    try:
        response = b"".join(text.lines).decode("utf-8")
        edit = response if found.edit is None else b"".join(found.edit).decode("utf-8")
    except UnicodeDecodeError:
        first, last = metadata["lines"]
        fault = f"{found.path}, lines {first} to {last}, of commit {text.commit.name[:12]}: not UTF-8; save it as UTF-8"
        return SourceRow(place, error=fault, raw=json.dumps(metadata, ensure_ascii=False))
    fields: dict[str, Any] = {
        "id": f"{text.commit.name}:{text.path}:{text.first_line}",
        "context": f"{text.path}\n\n{text.commit.message.rstrip()}",
        "response": response,
        "edit": edit,
        "created_at": text.commit.date,
        "metadata": metadata,
    }
    if text.policy is not None:
        fields["policy"] = text.policy
    if by is not None and (person := {"name": by.author, "email": by.email, "none": ""}[user]):
        fields["user"] = person
    return SourceRow(place, fields)
