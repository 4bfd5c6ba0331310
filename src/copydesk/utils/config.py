"""Base class of all settings: an immutable pydantic model whose errors are one line and whose fields become flags.

A setting is written once, as a field: its type, default, range (`Field(gt=0)`), help text (`Field(description=...)`)
and, where the flag is not simply the field's name, a `Flag`. The command line (`copydesk.cli._options`), error
messages and the reference in `docs/` are made from that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from copydesk.errors import InputError


@dataclass(frozen=True)
class Flag:
    """How a field is shown on the command line, given as `Annotated[float, Flag("--lr"), Field(...)]`.

    Attributes:
        names: the flags, newest first (`("--cooldown", "--rest")`); none: the field's name with dashes.
        default_text: shown in `--help` instead of the default.
        panel: the heading in `--help` under which the flag is listed.
    """

    names: tuple[str, ...]
    default_text: str | None
    panel: str | None

    def __init__(self, *names: str, default_text: str | None = None, panel: str | None = None) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "default_text", default_text)
        object.__setattr__(self, "panel", panel)


class Config(BaseModel):
    """A settings class. Construct it with keywords; it cannot be changed afterwards.

    Raises:
        InputError: a value is not allowed, or there is no setting of that name; one line that names the flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise InputError(describe_validation_error(exc, type(self))) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with other values for some fields, validated as a new one is."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


def get_flag(name: str, field: FieldInfo) -> Flag:
    """The flag of a field, with its names filled in."""
    flag = next((item for item in field.metadata if isinstance(item, Flag)), Flag())
    return flag if flag.names else Flag(f"--{name.replace('_', '-')}", default_text=flag.default_text, panel=flag.panel)


def describe_validation_error(exc: ValidationError, config: type[Config]) -> str:
    """The first error of a validation as one line: which flag, its value, and what is allowed."""
    error = exc.errors(include_url=False)[0]
    field, name, owner = None, "", config
    for part in error["loc"]:
        found = owner.model_fields.get(str(part)) if owner is not None else None
        if found is None:
            break
        field, name = found, str(part)
        owner = next(_iter_nested_configs(found), None)  # type: ignore[assignment]
    if field is None:
        return _describe_unknown(str(error["loc"][0]) if error["loc"] else "", error, config)
    return f"{get_flag(name, field).names[0]}: {_describe_rule(error, field)}"


def _iter_nested_configs(field: FieldInfo) -> Iterator[type[Config]]:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Config):
            yield kind


def _describe_unknown(name: str, error: ErrorDetails, config: type[Config]) -> str:
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    near = get_close_matches(name, config.model_fields, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(config.model_fields)}"
    return f"there is no setting {name!r}; {advice}"


def _describe_rule(error: ErrorDetails, field: FieldInfo) -> str:
    value, kind = error["input"], error["type"]
    if kind == "missing":
        return "a value is required"
    if kind == "literal_error":
        choices = [choice for part in (field.annotation, *get_args(field.annotation)) for choice in get_args(part)]
        named = [str(choice) for choice in choices if isinstance(choice, str)]
        return f"{value!r} is not one of {', '.join(dict.fromkeys(named))}"
    limits = describe_range(field)
    if limits and kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"):
        return f"{value} must be {limits}"
    if kind == "finite_number":
        return f"{value} must be a finite number"
    if kind.startswith(("int_", "float_")):
        return f"{value!r} is not a {'whole ' if kind.startswith('int_') else ''}number"
    return f"{value!r}: {error['msg']}"


def describe_range(field: FieldInfo) -> str:
    """The allowed range of a number in words ("at least 0 and less than 1"); empty where there is none."""
    words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
    return " and ".join(
        f"{text} {limit}"
        for key, text in words.items()
        for item in field.metadata
        if (limit := getattr(item, key, None)) is not None
    )
