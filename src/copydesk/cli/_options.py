"""Command-line options made from settings classes, so that no flag, default, range or help text is written twice."""

import functools
import inspect
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from copydesk.errors import InputError
from copydesk.utils.config import Config, get_flag


def options_from_config(
    *, exclude: Collection[str] = (), classes: Mapping[str, type[Config]] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: each parameter whose type is a `Config` becomes one option for each of its fields.

    A field that is itself a `Config` is expanded in the same way. The command is called with the finished objects. A
    parameter of type `Annotated[dict[str, Any], CONFIG]` gets the same options, and a dictionary of those that were
    given: for a command that lays them over a settings file.

    Args:
        exclude: fields that get no option, as `field` or `outer.field`; they keep their default.
        classes: the settings class of a parameter that is typed as `Config` because its class is built at run time.

    Raises:
        InputError: (when the command runs) a value is out of range; the message names the flag.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        annotations = {name: (classes or {}).get(name, p.annotation) for name, p in signature.parameters.items()}
        configs = {name: annotation for name, annotation in annotations.items() if _is_config(annotation)}
        partial = {name: found for name, p in signature.parameters.items() if (found := _get_partial(p.annotation))}
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.name in configs:
                parameters += list(_iter_options(configs[parameter.name], parameter.name, exclude))
            elif parameter.name in partial:
                parameters += map(_make_unset, _iter_options(partial[parameter.name], parameter.name, exclude))
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        seen = [parameter.name for parameter in parameters]
        assert len(seen) == len(set(seen)), f"two options of one name: {seen}"

        @functools.wraps(command)
        def run(**values: Any) -> None:
            made: dict[str, Any] = {name: _build_config(config, name, values) for name, config in configs.items()}
            made |= {name: _collect_given(config, name, values) for name, config in partial.items()}
            command(**{name: made.get(name, values.get(name)) for name in signature.parameters})

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
        return run

    return decorate


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)


def _get_partial(annotation: Any) -> type[Config] | None:
    """The settings class of `Annotated[dict[str, Any], CONFIG]`."""
    return next((item for item in getattr(annotation, "__metadata__", ()) if _is_config(item)), None)


def _make_unset(parameter: inspect.Parameter) -> inspect.Parameter:
    """The same option, whose value is `None` unless it is given; `--help` goes on showing the default."""
    kind, option = get_args(parameter.annotation)
    if option.show_default is True:
        option.show_default = _format_default(parameter.default)
    return parameter.replace(annotation=Annotated[kind | None, option], default=None)


def _format_default(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse_list(flag: str, text: str, kind: Callable[[str], Any] = str) -> tuple[Any, ...]:
    """The values of an option that takes them with commas between.

    Raises:
        InputError: one is not of that kind.
    """
    try:
        return tuple(kind(word.strip()) for word in text.split(",") if word.strip())
    except ValueError:
        raise InputError(f"{flag} {text}: write numbers with commas between, such as 0,1,2") from None


def _iter_options(
    config: type[Config], prefix: str, exclude: Collection[str], path: str = "", instance: Config | None = None
) -> list[inspect.Parameter]:
    """One keyword parameter for each field, named `prefix__field`, with a Typer option as its annotation."""
    parameters = []
    for name, field in config.get_fields().items():
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
    has_default = default is not None and default is not False and default != () and default != {}
    shown: bool | str = flag.default_text if flag.default_text is not None else has_default
    option = typer.Option(*flag.names, help=field.description, show_default=shown, rich_help_panel=flag.panel)
    if field.is_required():
        default = inspect.Parameter.empty
    elif flag.comma:
        default = _format_default(default)
    elif isinstance(default, tuple):
        default = list(default)
    elif isinstance(default, Mapping):
        default = [f"{key}={value}" for key, value in default.items()]
    return inspect.Parameter(
        parameter,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[str if flag.comma else _to_option_type(field.annotation), option],
        default=default,
    )


def _to_option_type(annotation: Any) -> Any:
    """The type as Typer knows it: a tuple of any length, or a mapping, is an option that may be repeated."""
    if get_origin(annotation) is Annotated:
        return _to_option_type(get_args(annotation)[0])
    if get_origin(annotation) is Mapping:
        return list[str]
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
    for name, field in config.get_fields().items():
        nested: Any = field.annotation
        if _is_config(nested) and any(key.startswith(f"{prefix}__{name}__") for key in values):
            built[name] = _build_config(nested, f"{prefix}__{name}", values)
        elif (key := f"{prefix}__{name}") in values:
            built[name] = _to_field_value(name, field, values[key])
    return config(**built)


def _collect_given(config: type[Config], prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that were given, by field."""
    fields = config.get_fields().items()
    given = {name: values.get(f"{prefix}__{name}") for name, _ in fields}
    return {name: _to_field_value(name, field, given[name]) for name, field in fields if given[name] not in (None, [])}


def _to_field_value(name: str, field: FieldInfo, value: Any) -> Any:
    """The value of an option as its field takes it."""
    flag = get_flag(name, field)
    if flag.comma and isinstance(value, str):
        kind = get_args(field.annotation)[0]
        return parse_list(flag.names[0], value, kind)
    if get_origin(field.annotation) is Mapping:
        numeric = get_args(field.annotation)[1] is float
        return dict((_parse_share if numeric else _parse_pair)(flag.names[0], word) for word in value)
    return tuple(value) if isinstance(value, list) else value


def _parse_pair(flag: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise InputError(f"{flag} {word}: write NAME=SPEC")
    return name, value


def _parse_share(flag: str, word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise InputError(f"{flag} {word}: write NAME=NUMBER, such as base=0.1") from None
