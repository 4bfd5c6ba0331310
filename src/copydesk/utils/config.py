"""Base class of all settings: an immutable pydantic model whose errors are one line and whose fields become flags.

A setting is written once, as a field: its type, default, range (`Field(gt=0)`), help text (`Field(description=...)`)
and, where the flag is not simply the field's name, a `Flag`. The command line (`copydesk.cli._options`), error
messages and the reference in `docs/` are made from that.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read

AnyConfig = TypeVar("AnyConfig", bound="Config")


@dataclass(frozen=True)
class Flag:
    """How a field is shown on the command line, given as `Annotated[float, Flag("--lr"), Field(...)]`.

    Attributes:
        names: the flags, newest first (`("--cooldown", "--rest")`); none: the field's name with dashes.
        default_text: shown in `--help` instead of the default.
        panel: the heading in `--help` under which the flag is listed.
        comma: the flag takes one word with commas between the values, instead of being repeated.
    """

    names: tuple[str, ...]
    default_text: str | None
    panel: str | None
    comma: bool

    def __init__(
        self, *names: str, default_text: str | None = None, panel: str | None = None, comma: bool = False
    ) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "default_text", default_text)
        object.__setattr__(self, "panel", panel)
        object.__setattr__(self, "comma", comma)


class ConfigError(InputError):
    """A setting has a value that is not allowed.

    Attributes:
        key: the setting, by the name of its field; that of a nested one after a dot.
        detail: what is allowed, without the setting's name.
    """

    def __init__(self, message: str, key: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.detail = detail or message


def _validate_real(value: Any, validate: ValidatorFunctionWrapHandler) -> float:
    number: float = validate(value)
    return value if type(value) is int else number


Real = Annotated[float, WrapValidator(_validate_real)]
"""A finite number. An `int` stays one in `model_dump`, so that JSON files hold numbers as they were given."""


class Config(BaseModel):
    """A settings class. Construct it with keywords; it cannot be changed afterwards.

    Raises:
        ConfigError: a value is not allowed, or there is no setting of that name; one line that names the flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise make_config_error(exc, type(self)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with other values for some fields, validated as a new one is."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    @classmethod
    def get_fields(cls) -> dict[str, FieldInfo]:
        """The settings by name, as options and messages show them."""
        return cls.model_fields


def get_flag(name: str, field: FieldInfo) -> Flag:
    """The flag of a field, with its names filled in."""
    flag = next((item for item in field.metadata if isinstance(item, Flag)), Flag())
    if flag.names:
        return flag
    dashed = f"--{name.replace('_', '-')}"
    return Flag(dashed, default_text=flag.default_text, panel=flag.panel, comma=flag.comma)


def make_setting_error(config: type[Config], name: str, detail: str) -> ConfigError:
    """The error of one setting, for checks that no range can state; the message begins with the setting's flag."""
    return ConfigError(f"{get_flag(name, config.model_fields[name]).names[0]}: {detail}", name, detail)


def make_config_error(exc: ValidationError, config: type[Config]) -> ConfigError:
    """The first error of a validation as one line: which flag, its value, and what is allowed."""
    error = exc.errors(include_url=False)[0]
    field, name, owner = None, "", config
    path: list[str] = []
    for part in error["loc"]:
        found = owner.model_fields.get(str(part)) if owner is not None else None
        if found is None:
            break
        field, name = found, str(part)
        path.append(name)
        owner = next(_iter_nested_configs(found), None)  # type: ignore[assignment]
    if field is None:
        unknown = str(error["loc"][0]) if error["loc"] else ""
        if error["type"] != "extra_forbidden":
            return ConfigError(str(error["msg"]), unknown)
        advice = _suggest_setting(unknown, config)
        return ConfigError(f"there is no setting {unknown!r}; {advice}", unknown, f"there is no such setting; {advice}")
    detail = _describe_rule(error, field)
    return ConfigError(f"{get_flag(name, field).names[0]}: {detail}", ".".join(path), detail)


def read_toml(path: Path) -> dict[str, Any]:
    """The values in a TOML file; a list is a tuple, as settings keep it.

    Raises:
        InputError: the file cannot be read, or is not TOML.
    """
    with open_to_read(path) as file:
        try:
            values = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise InputError(f"{path}: not a TOML file ({exc}); fix it") from None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def merge_config(
    config: type[AnyConfig], path: Path | None, in_file: Mapping[str, Any], given: Mapping[str, Any]
) -> AnyConfig:
    """Settings from a file and, before those, from the command line.

    Args:
        config: the settings class.
        path: the file; `None` if there is none.
        in_file: its values, by field.
        given: the values of the command line, by field.

    Raises:
        InputError: a value is not allowed; the message names the file and the key, or the flag.
    """
    try:
        return config(**{**in_file, **given})
    except ConfigError as exc:
        name = exc.key.partition(".")[0]
        if path is not None and name in in_file and name not in given:
            raise InputError(f"{path}, field {exc.key}: {exc.detail}") from None
        raise


def _iter_nested_configs(field: FieldInfo) -> Iterator[type[Config]]:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Config):
            yield kind


def _suggest_setting(name: str, config: type[Config]) -> str:
    known = list(config.get_fields())
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"


_KINDS = {
    "tuple_type": "must be a list",
    "mapping_type": "must be a table",
    "dict_type": "must be a table",
    "string_type": "must be text",
}


def _describe_rule(error: ErrorDetails, field: FieldInfo) -> str:
    value, kind = error["input"], error["type"]
    if kind == "missing":
        return "a value is required"
    if kind == "too_short":
        return "there is none; name at least one"
    if kind == "literal_error":
        choices = [choice for part in (field.annotation, *get_args(field.annotation)) for choice in get_args(part)]
        named = [str(choice) for choice in choices if isinstance(choice, str)]
        return f"{value!r} is not one of {', '.join(dict.fromkeys(named))}"
    limits = describe_range(field)
    if limits and kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"):
        return f"{value} must be {limits}"
    if kind in _KINDS:
        return f"{value!r} {_KINDS[kind]}"
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
