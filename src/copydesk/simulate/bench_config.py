"""A benchmark's settings in a TOML file."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from copydesk.errors import InputError
from copydesk.simulate.config import ExperimentConfig
from copydesk.utils.atomic import open_to_read

_LIST_FIELDS = ("columns", "methods", "seeds", "arms")
_TABLE_FIELDS = ("users", "recipe")


def read_experiment_config(path: Path) -> dict[str, Any]:
    """The settings in a file, by the names of `ExperimentConfig`.

    `[recipe.rl.cost]` with a setting `epochs` is `cost.epochs` of `[recipe.rl]`.

    Raises:
        InputError: it cannot be read, is no TOML, or names a setting that there is none of.
    """
    with open_to_read(path) as file:
        try:
            found = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise InputError(f"{path}: no TOML file ({fault}); mend it") from None
    known = {one.name: one for one in fields(ExperimentConfig)}
    for name, value in found.items():
        if name not in known:
            raise InputError(f"{path}, field {name}: there is no such setting; choose from {', '.join(known)}")
        if name in _LIST_FIELDS and not isinstance(value, list):
            raise InputError(f"{path}, field {name}: must be a list, such as [{value!r}]")
        if name in _TABLE_FIELDS and not (isinstance(value, dict)):
            raise InputError(f"{path}, field {name}: must be a table; write [{name}] and one setting a line below it")
        usual = known[name].default
        if isinstance(usual, int | float | str) and not _matches_type(value, usual):
            raise InputError(f"{path}, field {name}: {value!r} must be {_TYPE_NAMES[type(usual)]}")
    recipe = {method: _flatten_recipe(path, method, own) for method, own in found.get("recipe", {}).items()}
    lists = {name: tuple(value) for name, value in found.items() if name in _LIST_FIELDS}
    return found | lists | ({"recipe": recipe} if recipe else {})


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text"}


def _matches_type(value: Any, usual: int | float | str) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) if isinstance(usual, float) else isinstance(value, type(usual))


def _flatten_recipe(path: Path, method: str, own: Any) -> dict[str, Any]:
    if not isinstance(own, dict):
        raise InputError(f"{path}, field recipe.{method}: must be a table; write [recipe.{method}]")
    flat: dict[str, Any] = {}
    for name, value in own.items():
        flat |= {f"{name}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat
