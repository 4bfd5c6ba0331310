"""Values within a row by a key, or by a path such as `meta.user` or `messages[-1].content`."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

MISSING = object()
"""What `lookup` gives where there is no such value; `None` is a value."""

_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d+\])*")
_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


def get_path(row: Mapping[str, Any], path: str) -> Any:
    """The value at a path; a key of the row that looks like a path is taken for a key."""
    if path in row:
        return row[path]
    value: Any = row if _parse_path(path) else MISSING
    for step in _parse_path(path):
        leads_on = isinstance(value, list if isinstance(step, int) else Mapping)
        try:
            value = value[step] if leads_on else MISSING
        except (KeyError, IndexError):
            return MISSING
    return value


def drop_paths(row: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The row but for what is at these paths; an object that is empty then goes too, lists are left whole."""
    rest = dict(row)
    for path in paths:
        if path in rest:
            del rest[path]
            continue
        *way, last = _parse_path(path) or ("",)
        if isinstance(last, str) and all(isinstance(step, str) for step in way) and get_path(rest, path) is not MISSING:
            _remove_nested(rest, [*map(str, way)], last)
    return rest


def _remove_nested(row: dict[str, Any], way: list[str], last: str) -> None:
    if not way:
        del row[last]
        return
    inner = dict(row[way[0]])
    _remove_nested(inner, way[1:], last)
    row[way[0]] = inner
    if not inner:
        del row[way[0]]


@lru_cache
def _parse_path(path: str) -> tuple[str | int, ...]:
    """Keys and places in lists; nothing where it is not a path."""
    if not _PATH.fullmatch(path):
        return ()
    return tuple(key or int(place) for key, place in _STEP.findall(path))
