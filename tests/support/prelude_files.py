"""Small files with the columns of PRELUDE's sources, in a folder as COPYDESK_PRELUDE names one."""

import json
from collections.abc import Mapping
from pathlib import Path


def make_row(source: str, number: int) -> dict[str, object]:
    """A row whose document begins with the source's name and the row's number."""
    name = f"{source} {number}"
    return {
        "cnn_dailymail": {"article": f" {name}\n"},
        "slf5k": {"post": name},
        "wikipedia": {"text": name + " word" * 500},
        "arxiv": {"abstract": f"  {name}\n"},
        "imdb": {"text": name},
        "elsevier": {"title": name, "abstract": "A", "author_highlights": ["H"]},
        "ampere": {"text": [name, "Good."]},
        "paper_tweet": {"text": f'"{name}\\n",'},
    }[source]


def write_sources(folder: Path, sizes: Mapping[str, int]) -> Path:
    """Write a file for each source, with that many rows; returns the folder."""
    for source, size in sizes.items():
        lines = [json.dumps(make_row(source, number)) + "\n" for number in range(size)]
        (folder / f"{source}.jsonl").write_text("".join(lines))
    return folder
