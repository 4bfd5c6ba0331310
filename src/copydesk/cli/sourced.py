"""The source that `copydesk import` was given: a file, a data set, a product's export, or a git history."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from copydesk.cli.collected import parse_since
from copydesk.errors import InputError
from copydesk.log.sources.formats import Format
from copydesk.log.sources.git import MARKS, User, git_source
from copydesk.log.sources.langfuse import langfuse_source
from copydesk.log.sources.open import open_source
from copydesk.log.sources.openai_logs import openai_source
from copydesk.log.sources.source import Source
from copydesk.log.sources.tensorzero import tensorzero_source

Product = Literal["langfuse", "tensorzero", "openai", "git"]
Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "dataset", "langfuse", "tensorzero", "openai", "git"]


@dataclass(frozen=True)
class Given:
    """What the options of `copydesk import` say of its source; each is `None` or empty where it was not given."""

    source: str
    format: Kind | None = None
    split: str | None = None
    config: str | None = None
    edits: str | None = None
    requests: str | None = None
    user_tag: str | None = None
    mark: Sequence[str] = ()
    branch: str | None = None
    since: str | None = None
    author: User | None = None
    rejected: Path | None = None


_GOES_WITH: dict[str, tuple[str, ...]] = {
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


def find_source(given: Given) -> Source:
    """Open the source.

    Raises:
        InputError: there is none, its format is not known, or an option does not go with it.
    """
    _check_options(given)
    source = _open(given)
    return source if given.rejected is None else replace(source, rejected_path=given.rejected)


def _open(given: Given) -> Source:
    match given.format:
        case "git":
            since = None if given.since is None else parse_since(given.since)
            return git_source(
                given.source,
                mark=given.mark or MARKS,
                since=since,
                branch=given.branch or "HEAD",
                user=given.author or "name",
            )
        case "openai":
            if given.edits is None:
                raise InputError("--format openai: name the file of what people made of the answers with --edits FILE")
            requests = None if given.requests is None else open_source(given.requests)
            return openai_source(open_source(given.source), open_source(given.edits), requests=requests)
        case "langfuse":
            return langfuse_source(open_source(given.source), _beside(given))
        case "tensorzero":
            tag = given.user_tag or "user_id"
            return tensorzero_source(open_source(given.source), _beside(given), user_tag=tag)
        case _:
            return open_source(
                given.source, format=_plain(given.format), split=given.split or "train", config=given.config
            )


def _beside(given: Given) -> Source | None:
    return None if given.edits is None else open_source(given.edits)


def _plain(format: Kind | None) -> Format | None:
    return next((known for known in get_args(Format) if known == format), None)


def _check_options(given: Given) -> None:
    for option, formats in _GOES_WITH.items():
        if not getattr(given, option) or given.format in formats:
            continue
        if formats == ("dataset",) and given.format is None:
            continue  # a folder or a hub id is known for a data set without being told
        raise InputError(
            f"--{option.replace('_', '-')} goes with --format {' or '.join(formats)}; leave it out, or add that"
        )
