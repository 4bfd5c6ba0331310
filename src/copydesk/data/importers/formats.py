"""Which format a file is in: as its name says, else as its first bytes say."""

from pathlib import PurePath
from typing import Literal

ImportFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "dataset"]
"""JSON Lines, one JSON array, comma- or tab-separated values, Parquet, a data set of Hugging Face `datasets`."""

_COMPRESSION_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
_FORMAT_BY_SUFFIX: dict[str, ImportFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def guess_format_from_name(name: str) -> ImportFormat | None:
    """The format that the ending of a name stands for; `log.csv.gz` is CSV."""
    endings = [ending.lower() for ending in PurePath(name).suffixes]
    while endings and endings[-1] in _COMPRESSION_SUFFIXES:
        endings.pop()
    return _FORMAT_BY_SUFFIX.get(endings[-1]) if endings else None


def guess_format(name: str, head: bytes) -> ImportFormat | None:
    """The format of a file with this name and these first bytes, unpacked.

    Files called `.json` often are JSON Lines; those that begin with an object are taken for that.
    """
    named = guess_format_from_name(name)
    if named is not None and named != "json":
        return named
    text = head.lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"["):
        return "json"
    return "jsonl" if text.startswith(b"{") or named == "json" else None
