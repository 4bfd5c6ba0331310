"""Labels, order, colours and line styles of methods: one place for every table, plot and page."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from copydesk.ensemble.rules import RULES, list_late_methods
from copydesk.method_registry import METHODS

LineStyle = Literal["solid", "dashed", "dotted", "dashdot"]


@dataclass(frozen=True)
class MethodStyle:
    """How a method is shown.

    Attributes:
        label: its name in tables and plots.
        note: what it is, in one line; empty where nothing is known of it.
        light: its colour on a light page.
        dark: its colour on a dark page.
        line: how its line is dashed.
    """

    label: str
    note: str
    light: str
    dark: str
    line: LineStyle = "solid"


# Distinct in any kind of colour vision: the hues follow Okabe and Ito, and lightness differs as well.
METHOD_STYLES = {
    "base": MethodStyle("Base", "the model before it learned anything", "#868e99", "#939ca8", "dashed"),
    "sft": MethodStyle(METHODS["sft"].label, METHODS["sft"].note, "#2c6fb3", "#69aaeb"),
    "dpo": MethodStyle(METHODS["dpo"].label, METHODS["dpo"].note, "#d69207", "#ecb649"),
    "rl": MethodStyle(METHODS["rl"].label, METHODS["rl"].note, "#a8578f", "#dc92c2"),
    "early": MethodStyle(METHODS["early"].label, METHODS["early"].note, "#12876c", "#3cc3a0"),
    "late": MethodStyle(
        "Late ensemble", "a bandit that chooses among the policies, round by round", "#cf4a1d", "#ff7f54"
    ),
}
# Methods that play only where methods are compared. Their lines tell them from the others as well.
_EXPERIMENT_STYLES = {
    "shared": MethodStyle("Shared policy", "learned from everybody's edits", "#3f5fa8", "#8aa5ea"),
    "own": MethodStyle("Own adapter", "learned from the edits of one person alone", "#5c9a1f", "#a2d95c"),
    "oracle": MethodStyle(
        "Oracle", "the only method that has people's taste in its prompt", "#20262e", "#f4f6f8", "dotted"
    ),
}
_PROMPTED_COLOURS = {
    "icl": [("#2cabf0", "#b5dcfd"), ("#4d7f2e", "#93c66f")],
    "cipher": [("#2420b5", "#6a6ef0"), ("#9330f0", "#cf6cff")],
}
_LATE_COLOURS = [("#610a6e", "#a045c8"), ("#8a2c06", "#b85a26")]
"""Colours of the late ensembles by other rules than Algorithm 1's, in the order of `RULES`; later ones take spare
colours."""
_SPARE_COLOURS = [("#6b5bb5", "#a99bf0"), ("#7a6a3a", "#b8a66a"), ("#4d7f2e", "#93c66f"), ("#8c4a4a", "#d59090")]
_BEFORE_TRAINED, _AFTER_TRAINED = ("base", "oracle", "icl", "cipher"), ("shared", "own", "late")


def is_late(method: str) -> bool:
    """Whether a method is a late ensemble: `late`, or `late-` and another rule over the same arms."""
    return method == "late" or method.startswith("late-")


def sort_methods(methods: Iterable[str]) -> list[str]:
    """Sort methods into the order of the tables, each once; unknown ones last, in the order given."""
    return sorted(dict.fromkeys(methods), key=_sort_key)


def exclude_oracle(methods: Iterable[str]) -> list[str]:
    """The methods that others are compared with: all except the oracle, which is given what the others must find out.

    If only the oracle played, it is the oracle.
    """
    played = list(methods)
    return [method for method in played if method != "oracle"] or played


def _sort_key(method: str) -> tuple[int, int, str]:
    order = (*_BEFORE_TRAINED, *METHODS, *_AFTER_TRAINED)
    if prompted := _parse_prompted(method):
        return order.index(prompted[0]), prompted[1], ""
    family = "late" if is_late(method) else method
    return (order.index(family), 0, method) if family in order else (len(order), 0, "")


def _parse_prompted(method: str) -> tuple[str, int] | None:
    """The kind of a prompted method and how many edits it retrieves, e.g. of `icl-3`."""
    match = re.fullmatch(r"(icl|cipher)-([0-9]{1,6})", method)
    return (match[1], int(match[2])) if match else None


def get_method_label(name: str) -> str:
    """The label of a method."""
    return _make_style(name, "", "").label


def method_styles(names: Iterable[str]) -> dict[str, MethodStyle]:
    """The style of each method; one that is not known is labelled by its name and takes a spare colour."""
    styles: dict[str, MethodStyle] = {}
    used = dict.fromkeys([*_PROMPTED_COLOURS, "spare"], 0)
    late = _assign_late_colours()
    for name in names:
        if name in styles:
            continue
        if name in METHOD_STYLES or name in _EXPERIMENT_STYLES:
            styles[name] = _make_style(name, "", "")
            continue
        if name in late:
            styles[name] = _make_style(name, *late[name])
            continue
        prompted = _parse_prompted(name)
        kind, colours = (prompted[0], _PROMPTED_COLOURS[prompted[0]]) if prompted else ("spare", _SPARE_COLOURS)
        styles[name] = _make_style(name, *colours[used[kind] % len(colours)])
        used[kind] += 1
    return styles


def _assign_late_colours() -> dict[str, tuple[str, str]]:
    methods = {rule: method for method, rule in list_late_methods().items() if method not in METHOD_STYLES}
    return dict(zip([methods[rule] for rule in RULES if rule in methods], _LATE_COLOURS, strict=False))


def list_colours() -> list[tuple[str, str]]:
    """Every colour that a method's style can have, as it is on light and on dark ground."""
    named = [(style.light, style.dark) for style in (*METHOD_STYLES.values(), *_EXPERIMENT_STYLES.values())]
    prompted = [colours for family in _PROMPTED_COLOURS.values() for colours in family]
    return list(dict.fromkeys([*named, *_LATE_COLOURS, *prompted, *_SPARE_COLOURS]))


def _make_style(name: str, light: str, dark: str) -> MethodStyle:
    """The style of a method, in these colours if it has none of its own."""
    known = METHOD_STYLES.get(name) or _EXPERIMENT_STYLES.get(name)
    if known:
        return known
    if is_late(name):
        name = name.removeprefix("late-")
        if name in RULES:
            note = f"a late ensemble that {RULES[name].note}"
            return MethodStyle(f"Late, {RULES[name].label}", note, light, dark, "dashdot")
        label = " ".join(RULES[word].label if word in RULES else word for word in name.split("-"))
        return MethodStyle(f"Late, {label}", "", light, dark, "dashdot")
    if name in METHODS:
        return MethodStyle(METHODS[name].label, METHODS[name].note, light, dark)
    prompted = _parse_prompted(name)
    if prompted is None:
        return MethodStyle(name, "", light, dark)
    kind, k = prompted
    retrieved = "the most similar past edit" if k == 1 else f"the {k} most similar past edits"
    note = f"{retrieved} in the prompt"
    if kind == "cipher":
        note = f"what people want, as inferred from {retrieved}, in the prompt"
    return MethodStyle(f"{kind.upper()}-{k}", note, light, dark, "dotted")


def get_css_variable(name: str) -> str:
    """The CSS variable that holds a method's colour."""
    return "--method-" + re.sub(r"[^a-z0-9]", lambda sign: f"_{ord(sign[0]):x}", name.lower())


def render_method_css(shown: Mapping[str, MethodStyle]) -> str:
    """Render CSS rules that set the variable of each method's colour, for light and for dark pages.

    Args:
        shown: the style of each method by its name, which the variable is derived from (`get_css_variable`).
    """
    light = " ".join(f"{get_css_variable(name)}: {style.light};" for name, style in shown.items())
    dark = " ".join(f"{get_css_variable(name)}: {style.dark};" for name, style in shown.items())
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
