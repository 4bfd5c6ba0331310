"""The policies a command is given: NAME=SPEC words, and those a demo run left in a folder."""

from collections.abc import Sequence
from pathlib import Path

from copydesk import embedded, model_registry
from copydesk.errors import InputError


def parse_policy_args(words: Sequence[str], demo: Path | None) -> dict[str, str]:
    """The policies by name, those of a demo run first.

    Raises:
        InputError: a word is not NAME=SPEC, a name is given twice, or the folder holds no policies.
    """
    specs: dict[str, str] = {}
    if demo is not None:
        folders = sorted((demo / "policies").glob("*/policy.json"))
        if not folders:
            raise InputError(f"--from {demo}: no policies there; give the folder that `copydesk demo` wrote")
        specs = {path.parent.name: str(path.parent) for path in folders}
    for word in words:
        name, spec = parse_name_and_spec(word)
        if name in specs:
            raise InputError(f"--policy {word}: there are two policies named {name!r}; choose another name")
        specs[name] = spec
    return specs


def parse_name_and_spec(word: str, option: str = "--policy") -> tuple[str, str]:
    """The name of a policy (or of what an option names else) and what it is.

    Raises:
        InputError: the word is not NAME=SPEC.
    """
    name, equals, spec = word.partition("=")
    if not (name and equals and spec):
        raise InputError(f"{option} {word}: write NAME=SPEC, such as base=embedded")
    return name, spec


def resolve_spec(spec: str) -> str:
    """A spec whose path is found from any folder; one that holds no path as it is."""
    if spec == embedded.NAME or spec in model_registry.PINNED_MODEL_NAMES:
        return spec  # even where a folder here is called so
    before, at, _ = spec.rpartition("@http")
    path = (before if at else spec).removeprefix("vllm:")
    # A hub id that is also a folder here means the folder, as it does to `load_model`.
    return spec.replace(path, str(Path(path).resolve()), 1) if Path(path).exists() else spec
