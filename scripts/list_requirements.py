"""Print what Copydesk and all of its extras require, one requirement per line.

    python scripts/list_requirements.py            as pyproject.toml has it
    python scripts/list_requirements.py --beyond   without upper bounds, to test with releases that are newer than these

It needs nothing but Python, since it runs before anything is installed.
"""

import argparse
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def list_requirements(project: Mapping[str, Any], *, beyond: bool = False) -> list[str]:
    """The requirements of a `[project]` table, with those of its extras in the place of `name[extra]`."""
    extras = ",".join(project["optional-dependencies"])
    found = _expand(project, [*project["dependencies"], f"{project['name']}[{extras}]"])
    return sorted({_strip_upper_bound(one) if beyond else one for one in found} | set(_build_requirements()))


def _expand(project: Mapping[str, Any], requirements: Sequence[str]) -> Iterator[str]:
    for requirement in requirements:
        if extras := re.fullmatch(rf"{project['name']}\[(.+)\]", requirement):
            for extra in extras[1].split(","):
                yield from _expand(project, project["optional-dependencies"][extra.strip()])
        else:
            yield requirement


def _build_requirements() -> list[str]:
    with PYPROJECT.open("rb") as file:
        return list(tomllib.load(file)["build-system"]["requires"])


def _strip_upper_bound(requirement: str) -> str:
    """`trl>=1.16,<2; marker` without its `<2`."""
    specifier, semicolon, marker = requirement.partition(";")
    name, bounds = re.fullmatch(r"([\w.-]+(?:\[[^]]*\])?)\s*(.*)", specifier.strip()).groups()  # type: ignore[union-attr]
    kept = [bound for bound in bounds.split(",") if not bound.strip().startswith("<")]
    return name + ",".join(kept) + (f"; {marker.strip()}" if semicolon else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beyond", action="store_true", help="leave out upper bounds")
    with PYPROJECT.open("rb") as file:
        project = tomllib.load(file)["project"]
    print("\n".join(list_requirements(project, beyond=parser.parse_args().beyond)))


if __name__ == "__main__":
    main()
