"""The source that `copydesk import` was given: a file, a data set, a product's export, or a git history."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from copydesk.cli._shared import parse_since
from copydesk.data.importers.base import ImportSource
from copydesk.data.importers.files import open_row_source
from copydesk.data.importers.formats import ImportFormat
from copydesk.data.importers.git_edits import MACHINE_COMMIT_PATTERNS, EditorNaming, build_git_source
from copydesk.data.importers.langfuse import build_langfuse_source
from copydesk.data.importers.openai_chat import build_openai_source
from copydesk.data.importers.tensorzero import build_tensorzero_source
from copydesk.errors import InputError

ImportProduct = Literal["langfuse", "tensorzero", "openai", "git"]
ImportSourceFormat = Literal[
    "jsonl", "json", "csv", "tsv", "parquet", "dataset", "langfuse", "tensorzero", "openai", "git"
]


@dataclass(frozen=True)
class ImportArgs:
    """What the options of `copydesk import` say of its source; each is `None` or empty where it was not given."""

    source: str
    format: ImportSourceFormat | None = None
    split: str | None = None
    config: str | None = None
    edits: str | None = None
    requests: str | None = None
    user_tag: str | None = None
    mark: Sequence[str] = ()
    branch: str | None = None
    since: str | None = None
    author: EditorNaming | None = None
    rejected: Path | None = None


_OPTION_FORMATS: dict[str, tuple[str, ...]] = {
    "split": ("dataset",),
    "config": ("dataset",),
    "edits": ("openai", "langfuse", "tensorzero"),
    "requests": ("openai",),
    "user_tag": ("tensorzero",),
    "mark": ("git",),
    "branch": ("git",),
    "since": ("git",),
    "author": ("git",),
}
"""Options and the formats they mean something for."""


def open_import_source(given: ImportArgs) -> ImportSource:
    """Open the source.

    Raises:
        InputError: there is none, its format is not known, or an option does not go with it.
    """
    _check_options(given)
    source = _open_source(given)
    return source if given.rejected is None else replace(source, rejected_path=given.rejected)


def _open_source(given: ImportArgs) -> ImportSource:
    match given.format:
        case "git":
            since = None if given.since is None else parse_since(given.since)
            return build_git_source(
                given.source,
                mark=given.mark or MACHINE_COMMIT_PATTERNS,
                since=since,
                branch=given.branch or "HEAD",
                user=given.author or "name",
            )
        case "openai":
            if given.edits is None:
                raise InputError("--format openai: name the file of what people made of the answers with --edits FILE")
            requests = None if given.requests is None else open_row_source(given.requests)
            return build_openai_source(open_row_source(given.source), open_row_source(given.edits), requests=requests)
        case "langfuse":
            return build_langfuse_source(open_row_source(given.source), _open_companion_file(given))
        case "tensorzero":
            tag = given.user_tag or "user_id"
            return build_tensorzero_source(open_row_source(given.source), _open_companion_file(given), user_tag=tag)
        case _:
            return open_row_source(
                given.source, format=_to_file_format(given.format), split=given.split or "train", config=given.config
            )


def _open_companion_file(given: ImportArgs) -> ImportSource | None:
    return None if given.edits is None else open_row_source(given.edits)


def _to_file_format(format: ImportSourceFormat | None) -> ImportFormat | None:
    return next((known for known in get_args(ImportFormat) if known == format), None)


def _check_options(given: ImportArgs) -> None:
    for option, formats in _OPTION_FORMATS.items():
        if not getattr(given, option) or given.format in formats:
            continue
        if formats == ("dataset",) and given.format is None:
            continue  # a folder or a hub id is known for a data set without being told
        raise InputError(
            f"--{option.replace('_', '-')} goes with --format {' or '.join(formats)}; leave it out, or add that"
        )
