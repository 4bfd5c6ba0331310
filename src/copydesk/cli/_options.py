"""Command-line options made from settings classes, so that no flag, default, range or help text is written twice."""

import functools
import inspect
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from copydesk.utils.config import Config, get_flag


def options_from_config(*, exclude: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: each parameter whose type is a `Config` becomes one option for each of its fields.

    A field that is itself a `Config` is expanded in the same way. The command is called with the finished objects.

    Args:
        exclude: fields that get no option, as `field` or `outer.field`; they keep their default.

    Raises:
        InputError: (when the command runs) a value is out of range; the message names the flag.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        configs = {name: p.annotation for name, p in signature.parameters.items() if _is_config(p.annotation)}
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.name in configs:
                parameters += list(_iter_options(parameter.annotation, parameter.name, exclude))
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        seen = [parameter.name for parameter in parameters]
        assert len(seen) == len(set(seen)), f"two options of one name: {seen}"

        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = {name: _build_config(config, name, values) for name, config in configs.items()}
            command(**{name: made.get(name, values.get(name)) for name in signature.parameters})

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
        return run

    return decorate


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)


def _iter_options(
    config: type[Config], prefix: str, exclude: Collection[str], path: str = "", instance: Config | None = None
) -> list[inspect.Parameter]:
    """One keyword parameter for each field, named `prefix__field`, with a Typer option as its annotation."""
    parameters = []
    for name, field in config.model_fields.items():
        if path + name in exclude:
            continue
        default = getattr(instance, name) if instance is not None else field.get_default(call_default_factory=True)
        if _is_config(field.annotation):
            nested: Any = field.annotation
            parameters += _iter_options(nested, f"{prefix}__{name}", exclude, f"{path}{name}.", default)
        else:
            parameters.append(_make_option(f"{prefix}__{name}", name, field, default))
    return parameters


def _make_option(parameter: str, name: str, field: FieldInfo, default: Any) -> inspect.Parameter:
    flag = get_flag(name, field)
    shown: bool | str = flag.default_text if flag.default_text is not None else default not in (None, (), False)
    option = typer.Option(*flag.names, help=field.description, show_default=shown, rich_help_panel=flag.panel)
    required = field.is_required()
    return inspect.Parameter(
        parameter,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[_to_option_type(field.annotation), option],
        default=inspect.Parameter.empty if required else list(default) if isinstance(default, tuple) else default,
    )


def _to_option_type(annotation: Any) -> Any:
    """The type as Typer knows it: a tuple of any length is an option that may be repeated."""
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]]  # type: ignore[misc]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(kinds) == 1:
            return _to_option_type(kinds[0]) | None
    return annotation


def _build_config(config: type[Config], prefix: str, values: Mapping[str, Any]) -> Config:
    """The settings object of the options' values; fields without an option keep their default."""
    built: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        nested: Any = field.annotation
        if _is_config(nested) and any(key.startswith(f"{prefix}__{name}__") for key in values):
            built[name] = _build_config(nested, f"{prefix}__{name}", values)
        elif (key := f"{prefix}__{name}") in values:
            value = values[key]
            built[name] = tuple(value) if isinstance(value, list) else value
    return config(**built)
