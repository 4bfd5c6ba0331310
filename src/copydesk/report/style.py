"""How methods are named, ordered and coloured, the same in every table and plot."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

LineStyle = Literal["solid", "dashed", "dotted", "dashdot"]


@dataclass(frozen=True)
class MethodStyle:
    """A method's name for people, what it is in one line, its colours on light and on dark ground, and its line."""

    label: str
    note: str
    light: str
    dark: str
    line: LineStyle = "solid"


# Told apart by people with any kind of colour vision: the hues follow Okabe and Ito, and lightness differs as well.
METHOD_STYLES = {
    "base": MethodStyle("Base", "the model before it learned anything", "#868e99", "#939ca8", "dashed"),
    "sft": MethodStyle("SFT", "trained to write what people's edits led to", "#2c6fb3", "#69aaeb"),
    "dpo": MethodStyle("DPO", "trained to prefer each edit to the response it replaced", "#d69207", "#ecb649"),
    "rl": MethodStyle("RL", "trained against a model of the edit cost", "#a8578f", "#dc92c2"),
    "early": MethodStyle("Early ensemble", "one policy trained on both losses at once", "#12876c", "#3cc3a0"),
    "late": MethodStyle(
        "Late ensemble", "a bandit that chooses among the policies, round by round", "#cf4a1d", "#ff7f54"
    ),
}
_EXPERIMENT_STYLES = {
    "shared": MethodStyle("Shared policy", "learnt from everybody's edits", "#3f5fa8", "#8aa5ea"),
    "own": MethodStyle("Own adapter", "learnt from the edits of one person alone", "#5c9a1f", "#a2d95c"),
    "oracle": MethodStyle("Oracle", "told in its prompt what people want, which no other "
                                    "is", "#20262e", "#f4f6f8", "dotted"),
    "late-discounted-ucb": MethodStyle(
        "Late, discounted UCB", "a late ensemble that forgets what is long past", "#8a2c06", "#b85a26", "dashdot"
    ),
    "late-thompson": MethodStyle(
        "Late, Thompson", "a late ensemble that plays each policy as often as it may be the best", "#610a6e", "#a045c8",
        "dashdot",
    ),
}  # fmt: skip
"""Beside the known ones: methods that play only where methods are compared. Lines tell them apart as well."""
_PROMPTED_COLOURS = {
    "icl": [("#2cabf0", "#b5dcfd"), ("#4d7f2e", "#93c66f")],
    "cipher": [("#2420b5", "#6a6ef0"), ("#9330f0", "#cf6cff")],
}
_SPARE_COLOURS = [("#6b5bb5", "#a99bf0"), ("#7a6a3a", "#b8a66a"), ("#4d7f2e", "#93c66f"), ("#8c4a4a", "#d59090")]
_ORDER = ("base", "oracle", "icl", "cipher", "sft", "dpo", "rl", "early", "shared", "own", "late")


def is_late(method: str) -> bool:
    """Whether a method is a late ensemble: `late`, or `late-` and another rule over the same arms."""
    return method == "late" or method.startswith("late-")


def sort_methods(methods: Iterable[str]) -> list[str]:
    """Methods in the order of the tables, each once; unknown ones last, as they come."""
    return sorted(dict.fromkeys(methods), key=_sort_key)


def exclude_oracle(methods: Iterable[str]) -> list[str]:
    """The methods that others are measured against: all but the oracle, which is told what the others must find out.

    Where nothing else played it is the oracle.
    """
    found = list(methods)
    return [method for method in found if method != "oracle"] or found


def _sort_key(method: str) -> tuple[int, int, str]:
    if prompted := _parse_prompted(method):
        return _ORDER.index(prompted[0]), prompted[1], ""
    family = "late" if is_late(method) else method
    return (_ORDER.index(family), 0, method) if family in _ORDER else (len(_ORDER), 0, "")


def _parse_prompted(method: str) -> tuple[str, int] | None:
    """The kind of a prompt learner and how many edits it draws on, e.g. `icl-3`."""
    found = re.fullmatch(r"(icl|cipher)-([0-9]{1,6})", method)
    return (found[1], int(found[2])) if found else None


def get_method_label(name: str) -> str:
    """A method's name for people."""
    return _style_of(name, "", "").label


def method_styles(names: Iterable[str]) -> dict[str, MethodStyle]:
    """The look of each name; one that is not known keeps its name and gets a spare colour."""
    found: dict[str, MethodStyle] = {}
    given = dict.fromkeys([*_PROMPTED_COLOURS, "spare"], 0)
    for name in names:
        if name in found:
            continue
        if name in METHOD_STYLES or name in _EXPERIMENT_STYLES:
            found[name] = _style_of(name, "", "")
            continue
        prompted = _parse_prompted(name)
        kind, colours = (prompted[0], _PROMPTED_COLOURS[prompted[0]]) if prompted else ("spare", _SPARE_COLOURS)
        found[name] = _style_of(name, *colours[given[kind] % len(colours)])
        given[kind] += 1
    return found


def _style_of(name: str, light: str, dark: str) -> MethodStyle:
    """The look of a method, in these colours where it has none of its own."""
    known = METHOD_STYLES.get(name) or _EXPERIMENT_STYLES.get(name)
    if known:
        return known
    prompted = _parse_prompted(name)
    if prompted is None:
        rule = name.removeprefix("late-")
        late = is_late(name)
        return MethodStyle(f"Late, {rule}" if late else name, "", light, dark, "dashdot" if late else "solid")
    kind, k = prompted
    past = "the most similar past edit" if k == 1 else f"the {k} most similar past edits"
    note = f"{past} in the prompt" if kind == "icl" else f"what people want, as read off {past}, in the prompt"
    return MethodStyle(f"{kind.upper()}-{k}", note, light, dark, "dotted")


def get_css_variable(name: str) -> str:
    """The CSS variable that holds a method's colour."""
    return "--method-" + re.sub(r"[^a-z0-9]", lambda sign: f"_{ord(sign[0]):x}", name.lower())


def render_method_css(shown: Mapping[str, MethodStyle]) -> str:
    """CSS rules that set the variable of each method's colour (`get_css_variable`), for light and for dark pages."""
    light = " ".join(f"{get_css_variable(name)}: {style.light};" for name, style in shown.items())
    dark = " ".join(f"{get_css_variable(name)}: {style.dark};" for name, style in shown.items())
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
