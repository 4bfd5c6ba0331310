"""What is wrong with a row that is no `EditRecord`, in one clause."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from copydesk.data.strict_json import describe_json_value

_EXPECTED_VALUES = {
    "id": "text that is not empty, or an integer",
    "context": 'text, or a list of chat messages such as {"role": "user", "content": "..."}',
    "response": "text",
    "edit": "text (the response itself when it was accepted, null while it is pending)",
    "user": "text that is not empty, an integer or null",
    "policy": "text that is not empty, an integer or null",
    "propensity": "a number above 0 and at most 1, or null",
    "created_at": 'a date and time such as "2026-01-31T12:00:00Z", or null',
    "metadata": "an object",
}


def explain_validation_error(detail: ErrorDetails, fields: Mapping[str, Any], found: Mapping[str, str]) -> str:
    """Say which field is wrong, what is expected and what was found.

    Args:
        detail: pydantic's error.
        fields: the row, under the names of `EditRecord`'s fields.
        found: for each field the key it was found under, or was looked for.
    """
    field = str(detail["loc"][0])
    key = found.get(field, field)
    name = f"'{field}'" if key == field else f"'{key}' (the {field})"
    if field not in fields:
        return f"field {name} is missing; every row needs context and response"
    return f"field {name} must be {_EXPECTED_VALUES[field]}; found {describe_json_value(fields[field])}"
