"""The names other logs use for the fields of an `EditRecord`."""

from collections.abc import Mapping
from typing import Any

from copydesk.data.record import EditRecord

FIELD_ALIASES: dict[str, str] = {
    **dict.fromkeys(("prompt", "input", "question", "instruction", "x", "messages"), "context"),
    **dict.fromkeys(("output", "completion", "original", "draft", "rejected", "y"), "response"),
    **dict.fromkeys(
        ("edited", "correction", "chosen", "corrected", "revision", "final", "y_prime", "post_edit"), "edit"
    ),
    "user_id": "user",
}
"""Alias → field. `chosen` and `rejected` are TRL's names for the preferred and the other answer of a pair."""


def apply_aliases(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the keys of a row the names of `EditRecord`'s fields; nothing is dropped.

    A key that is neither a field nor an alias moves into `metadata`.

    Returns:
        The row under the fields' names, and for each field the key it was found under.

    Raises:
        ValueError: two keys mean the same field, or a key that would move is already in `metadata`.
    """
    folded: dict[str, Any] = {}
    found: dict[str, str] = {}
    extra: dict[str, Any] = {}
    for key, value in row.items():
        field = FIELD_ALIASES.get(key, key)
        if field not in EditRecord.model_fields:
            extra[key] = value
        elif field in found:
            raise ValueError(f"fields '{found[field]}' and '{key}' both mean '{field}'; keep one of them")
        else:
            folded[field], found[field] = value, key
    metadata = folded.get("metadata")
    if metadata is None:
        folded["metadata"] = extra
    elif isinstance(metadata, dict):
        if both := sorted(extra.keys() & metadata.keys()):
            raise ValueError(f"field {both[0]!r} stands both beside 'metadata' and in it; keep one of them")
        folded["metadata"] = {**metadata, **extra}
    return folded, found
