"""How methods are named and coloured, the same in every table and plot."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """A method's name for people, what it is in one line, and its colours on light and on dark ground."""

    label: str
    note: str
    light: str
    dark: str


# Told apart by people with any kind of colour vision: the hues follow Okabe and Ito, and lightness differs as well.
KNOWN = {
    "base": Look("Base", "the model before it learned anything", "#868e99", "#939ca8"),
    "sft": Look("SFT", "trained to write what people's edits led to", "#2c6fb3", "#69aaeb"),
    "dpo": Look("DPO", "trained to prefer each edit to the response it replaced", "#d69207", "#ecb649"),
    "rl": Look("RL", "trained against a model of the edit cost", "#a8578f", "#dc92c2"),
    "early": Look("Early ensemble", "one policy trained on both losses at once", "#12876c", "#3cc3a0"),
    "late": Look("Late ensemble", "a bandit that chooses among the policies, round by round", "#cf4a1d", "#ff7f54"),
}
_SPARE = [("#6b5bb5", "#a99bf0"), ("#7a6a3a", "#b8a66a"), ("#4d7f2e", "#93c66f"), ("#8c4a4a", "#d59090")]


def label_of(name: str) -> str:
    """A method's name for people."""
    return KNOWN[name].label if name in KNOWN else name


def looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each name; one that is not known keeps its name and gets a spare colour."""
    found: dict[str, Look] = {}
    unknown = 0
    for name in names:
        if name in KNOWN:
            found[name] = KNOWN[name]
        elif name not in found:
            light, dark = _SPARE[unknown % len(_SPARE)]
            found[name] = Look(name, "", light, dark)
            unknown += 1
    return found
